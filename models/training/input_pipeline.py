"""From TF Transform's records to batches of random crops, as a pure function of (seed, step, global batch).

Paper, section 3: random 3-second crops. What is read: tf.Examples in TFRecord files (plain, or all of them
.gz) with `clip_id` (bytes), `label` (any number of int64), and `log_mel` (bytes: a serialised float16 tensor
(t, f) of the whole clip) or `waveform` (bytes: int16 little-endian PCM). Clips shorter than a crop are
repeated in time, from a random phase.

How order is made a function of (seed, step), so that a run can stop at any step and go on exactly:

- An epoch is `records // batch size` steps, so no clip is twice in a batch, where it would be its own
  negative. The records left over are taken from both ends of the epoch in shares that are drawn anew each
  time: always from its end, they would be the last ones of the same files, and never be seen.
- Each epoch puts the files in an order of its own, reads them interleaved, and shuffles within consecutive
  blocks of `shuffle_buffer` records. `tf.data`'s own shuffle would depend on the process's global seed.
- Every number of a clip (crops, mixing ratio, noise of encoder and objective) is drawn from (seed, step, row in
  the batch).
- Starting at a step reads, without decoding, the records of the current epoch up to it.

With several hosts each reads all records and decodes only its rows and their mixing partners: partners come
from the global batch, at the price of reading the same bytes on every host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from models.objective import Batch
from models.training.mixing import mixing_ratio, partners

_INTERLEAVED_FILES = 16
_END = 2**62  # more epochs than any run has
# What a stateless draw is for: the first word of its seed, so that no two draws share a stream.
_FILES, _RECORDS, _LEFT_OVER, _PARTNERS, _CLIP = range(5)
_CROP, _PARTNER_CROP, _RATIO, _NOISE, _OBJECTIVE_NOISE = range(5)


@dataclass(frozen=True)
class InputSpec:
    """What the batches of a run look like.

    Attributes:
        files: TFRecord files; their order does not matter.
        num_examples: records in all files together.
        batch_size: B, the global batch.
        num_views: v, crops of each clip.
        mixes: whether crops of other clips come with the batch.
        num_classes: k; 0 leaves the labels unread.
        noise_size: uniform numbers the encoder needs for one view.
        input_kind: "log_mel" or "waveform".
        crop_length: frames, or samples of a waveform.
        mel_bins: f.
        mixing_alpha, mixing_beta: the mixing ratio is drawn from Beta(alpha, beta).
        shuffle_buffer: records shuffled together.
        seed: decides everything that is drawn.
        objective_noise_size: uniform numbers the objective needs for one view.
    """

    files: tuple[str, ...]
    num_examples: int
    batch_size: int
    num_views: int
    mixes: bool
    num_classes: int
    noise_size: int
    input_kind: Literal["log_mel", "waveform"]
    crop_length: int
    mel_bins: int
    mixing_alpha: float
    mixing_beta: float
    shuffle_buffer: int
    seed: int
    objective_noise_size: int = 0

    @property
    def steps_per_epoch(self) -> int:
        """Full global batches in the records."""
        return self.num_examples // self.batch_size

    @property
    def crop_shape(self) -> tuple[int, ...]:
        """One crop's: (t, f), or (n,) of a waveform."""
        return (self.crop_length, self.mel_bins) if self.input_kind == "log_mel" else (self.crop_length,)


def count_records(files: Sequence[str]) -> int:
    """Records in TFRecord files, by reading them all.

    Raises:
        ValueError: there are no files, some are compressed and some not, or one is damaged.
    """
    if not files:
        raise ValueError("training: there are no TFRecord files; give Transform's output of the train split")
    compressed = {_compression(file) for file in files}
    if len(compressed) > 1:
        raise ValueError(f"training: some of {len(files)} files end in .gz and some do not; give one kind")
    dataset = tf.data.TFRecordDataset(list(files), compressed.pop(), num_parallel_reads=_INTERLEAVED_FILES)
    try:
        return int(dataset.reduce(tf.constant(0, tf.int64), lambda count, _: count + 1))
    except (tf.errors.DataLossError, tf.errors.NotFoundError) as error:
        raise ValueError(
            f"training: a TFRecord file cannot be read ({error.message}); write it anew"
        ) from error


def make_dataset(
    spec: InputSpec, start_step: int = 0, replicas: int = 1, host: int = 0, num_hosts: int = 1
) -> tf.data.Dataset:
    """Endless batches from `start_step` on; each element is one replica's share of a global batch.

    The rows of a global batch go to hosts and replicas in order: its elements follow one another.

    Args:
        spec: what the batches look like.
        start_step: step of the first batch.
        replicas: replicas on all hosts together.
        host: which host this is.
        num_hosts: hosts that read.

    Returns:
        A dataset of `models.objective.Batch` with static shapes and b = B / replicas.

    Raises:
        ValueError: there are fewer records than a batch needs, or the batch does not divide by the replicas.
    """
    if spec.steps_per_epoch == 0:
        raise ValueError(
            f"training: batch_size={spec.batch_size} exceeds the {spec.num_examples} training clips; set it "
            f"to at most {spec.num_examples}, or give more clips"
        )
    if spec.batch_size % replicas:
        raise ValueError(
            f"training: batch_size={spec.batch_size} must divide by the {replicas} replicas; set it to "
            f"{max(1, spec.batch_size // replicas) * replicas}"
        )
    rows = spec.batch_size // num_hosts
    dataset = _records(spec, start_step).batch(spec.batch_size, drop_remainder=True)
    dataset = dataset.enumerate(start=start_step)
    dataset = dataset.map(lambda step, records: _rows(spec, step, records, host * rows, rows)).unbatch()
    dataset = dataset.map(
        lambda row: _example(spec, row), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    dataset = dataset.batch(spec.batch_size // replicas, drop_remainder=True).prefetch(
        2 * replicas // num_hosts
    )
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options)


def clip_ids(spec: InputSpec, step: int) -> tuple[str, ...]:
    """Ids of the clips of one step's global batch, in its order."""
    (records,) = _records(spec, step).batch(spec.batch_size).take(1)
    parsed = tf.io.parse_example(records, {"clip_id": tf.io.FixedLenFeature([], tf.string)})
    return tuple(clip_id.decode("utf-8", "backslashreplace") for clip_id in parsed["clip_id"].numpy())


def _compression(file: str) -> str:
    return "GZIP" if file.endswith(".gz") else ""


def _records(spec: InputSpec, start_step: int) -> tf.data.Dataset:
    """All serialised records from `start_step` on, epoch after epoch."""
    start_epoch, step_in_epoch = divmod(start_step, spec.steps_per_epoch)
    per_epoch = spec.steps_per_epoch * spec.batch_size
    left_over = spec.num_examples - per_epoch

    def epoch_records(epoch: tf.Tensor) -> tf.data.Dataset:
        seed = _seed(spec.seed, _LEFT_OVER, epoch)
        first = tf.random.stateless_uniform([], seed, 0, left_over + 1, tf.int64, alg="philox")
        done = tf.where(epoch == start_epoch, step_in_epoch * spec.batch_size, 0)
        return _epoch(spec, epoch).skip(first).take(per_epoch).skip(tf.cast(done, tf.int64))

    return tf.data.Dataset.range(start_epoch, _END).flat_map(epoch_records)


def _epoch(spec: InputSpec, epoch: tf.Tensor) -> tf.data.Dataset:
    files = tf.constant(sorted(spec.files))
    order = _permutation(len(spec.files), _seed(spec.seed, _FILES, epoch))
    records = tf.data.Dataset.from_tensor_slices(tf.gather(files, order)).interleave(
        lambda file: tf.data.TFRecordDataset(file, _compression(spec.files[0])),
        cycle_length=min(_INTERLEAVED_FILES, len(spec.files)),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    seed = _seed(spec.seed, _RECORDS, epoch)

    def shuffled(block: tf.Tensor, records: tf.Tensor) -> tf.Tensor:
        return tf.gather(records, _permutation(tf.shape(records)[0], _fold(seed, block)))

    return records.batch(spec.shuffle_buffer).enumerate().map(shuffled).unbatch()


def _rows(
    spec: InputSpec, step: tf.Tensor, records: tf.Tensor, first: int, rows: int
) -> dict[str, tf.Tensor]:
    """This host's rows of a global batch of serialised records (B,), with those of their partners."""
    views = spec.num_views if spec.mixes else 0
    others = partners(spec.batch_size, views, _seed(spec.seed, _PARTNERS, step)) if views else None
    row = tf.range(first, first + rows)
    seeds = tf.map_fn(lambda r: _fold(_seed(spec.seed, _CLIP, step), r), row)
    found = {"record": records[first : first + rows], "seed": seeds}
    if others is not None:
        found["partners"] = tf.gather(records, others[first : first + rows])  # (rows, v)
    return found


def _example(spec: InputSpec, row: dict[str, tf.Tensor]) -> Batch:
    """One row: its crops, its partners' crops, and what is drawn for it; shapes as in `Batch` without b."""
    content, labels = _decode(spec, row["record"])
    streams = [_fold(row["seed"], stream) for stream in range(5)]
    views = range(spec.num_views)
    clips = tf.stack([_crop(spec, content, _fold(streams[_CROP], view)) for view in views])
    noise, own_noise = (
        tf.random.stateless_uniform([spec.num_views, size], streams[stream], alg="philox")
        for stream, size in ((_NOISE, spec.noise_size), (_OBJECTIVE_NOISE, spec.objective_noise_size))
    )
    if not spec.mixes:
        no_labels = tf.zeros([0, spec.num_classes])
        return Batch(
            clips=clips, labels=labels, noise=noise, objective_noise=own_noise,
            partners=clips[:0], partner_labels=no_labels, ratio=tf.ones([spec.num_views]),
        )  # fmt: skip
    decoded = [_decode(spec, row["partners"][view]) for view in views]
    others = [_crop(spec, decoded[view][0], _fold(streams[_PARTNER_CROP], view)) for view in views]
    return Batch(
        clips=clips,
        labels=labels,
        noise=noise,
        objective_noise=own_noise,
        partners=tf.stack(others),
        partner_labels=tf.stack([labels for _, labels in decoded]),
        ratio=mixing_ratio(spec.num_views, spec.mixing_alpha, spec.mixing_beta, streams[_RATIO]),
    )


def _decode(spec: InputSpec, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The clip of one record, (t, f) float16 or (n, 1) int16, and its labels (k,)."""
    scalar = tf.io.FixedLenFeature([], tf.string)
    features = {"clip_id": scalar, "label": tf.io.RaggedFeature(tf.int64), spec.input_kind: scalar}
    example = tf.io.parse_single_example(record, features)
    if spec.input_kind == "log_mel":
        content = tf.ensure_shape(tf.io.parse_tensor(example["log_mel"], tf.float16), [None, spec.mel_bins])
    else:
        content = tf.io.decode_raw(example["waveform"], tf.int16, little_endian=True)[:, tf.newaxis]
    length = tf.shape(content)[0]
    checks = [tf.debugging.Assert(length > 0, ["training: a clip without frames:", example["clip_id"]])]
    labels = tf.zeros([0])
    if spec.num_classes:
        ids = example["label"]
        known = tf.reduce_all((ids >= 0) & (ids < spec.num_classes))
        message = [f"training: a label id outside 0..{spec.num_classes - 1}:", example["clip_id"], ids]
        checks.append(tf.debugging.Assert(known, message))
        labels = tf.minimum(tf.reduce_sum(tf.one_hot(ids, spec.num_classes), axis=0), 1.0)
    with tf.control_dependencies(checks):
        return tf.identity(content), labels


def _crop(spec: InputSpec, content: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """A random crop: (crop_length, f) float32, or (crop_length,) in [-1, 1) of a waveform."""
    length = tf.shape(content)[0]
    spare = length - spec.crop_length
    starts = tf.where(spare >= 0, spare + 1, length)  # a short clip may start anywhere: it goes round
    start = tf.random.stateless_uniform([], seed, maxval=starts, dtype=tf.int32, minval=0, alg="philox")
    crop = tf.gather(content, (start + tf.range(spec.crop_length)) % length)
    if spec.input_kind == "waveform":
        return tf.cast(crop[:, 0], tf.float32) / 32768.0
    return tf.cast(crop, tf.float32)


def _seed(seed: int, purpose: int, number: tf.Tensor) -> tf.Tensor:
    return _fold(tf.constant([purpose, seed]), number)


def _fold(seed: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
    return tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int32), alg="philox")


def _permutation(count: tf.Tensor | int, seed: tf.Tensor) -> tf.Tensor:
    return tf.argsort(tf.random.stateless_uniform([count], seed, alg="philox"), stable=True)
