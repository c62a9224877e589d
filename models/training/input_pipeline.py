"""From TF Transform's records to batches of random crops, as a pure function of (seed, step, global batch).

Paper, section 3: random 3-second crops. What is read: tf.Examples in TFRecord files with `clip_id` (bytes), `label`
(any number of int64), and `log_mel` (bytes: a serialised float16 tensor (t, f) of the whole clip) or `waveform` (bytes:
int16 little-endian PCM). Clips shorter than a crop are repeated in time, from a random phase.

How order is made a function of (seed, step), so that a run can stop at any step and go on exactly:

- An epoch is a permutation of all records of its own (`models.training.records`), whatever files they are in.
- It is cut into `records // batch size` batches, so no clip is twice in a batch, where it would be its own negative.
  The records left over are others in every epoch.
- Every number of a clip (crops, mixing ratio, noise of encoder and objective) is drawn from (seed, step, row in
  the batch).
- Starting at a step reads nothing of the steps before it.

Row r of a global batch is mixed with rows r + 1, r + 2, ..., which are clips drawn at random as all rows are. So each
of several hosts reads its own rows and the few that follow them, and nothing else. What is in memory are the batches
that are made ahead, and some tens of records that are being read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import tensorflow as tf

from models.objective import Batch
from models.training.mixing import mixing_ratio
from models.training.records import Records, epoch_order

_END = 2**62  # more than any run has
_PIECE = 32  # rows read at once; the partners of the last ones come on top
_READERS = 8  # pieces read at the same time
# What a stateless draw of a clip is for, so that no two draws share a stream.
_CROP, _PARTNER_CROP, _RATIO, _NOISE, _OBJECTIVE_NOISE = range(5)


@dataclass(frozen=True)
class InputSpec:
    """What the batches of a run look like.

    Attributes:
        records: all clips.
        batch_size: B, the global batch.
        num_views: v, crops of each clip.
        mixes: whether crops of other clips come with the batch.
        num_classes: k; 0 leaves the labels unread.
        noise_size: uniform numbers the encoder needs for one view.
        input_kind: "log_mel" or "waveform".
        crop_length: frames, or samples of a waveform.
        mel_bins: f.
        mixing_alpha, mixing_beta: the mixing ratio is drawn from Beta(alpha, beta).
        seed: decides everything that is drawn.
        objective_noise_size: uniform numbers the objective needs for one view.
    """

    records: Records
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
    seed: int
    objective_noise_size: int = 0

    @property
    def steps_per_epoch(self) -> int:
        """Full global batches in the records."""
        return len(self.records) // self.batch_size

    @property
    def crop_shape(self) -> tuple[int, ...]:
        """One crop's: (t, f), or (n,) of a waveform."""
        return (self.crop_length, self.mel_bins) if self.input_kind == "log_mel" else (self.crop_length,)


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
            f"training: batch_size={spec.batch_size} exceeds the {len(spec.records)} training clips; set it "
            f"to at most {len(spec.records)}, or give more clips"
        )
    if spec.batch_size % replicas:
        raise ValueError(
            f"training: batch_size={spec.batch_size} must divide by the {replicas} replicas; set it to "
            f"{max(1, spec.batch_size // replicas) * replicas}"
        )
    share, rows = spec.batch_size // replicas, spec.batch_size // num_hosts
    dataset = _rows(spec, start_step, range(host * rows, (host + 1) * rows), share)
    dataset = dataset.map(
        lambda row: _example(spec, row), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    dataset = dataset.batch(share, drop_remainder=True).prefetch(2 * replicas // num_hosts)
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options)


def clip_ids(spec: InputSpec, step: int) -> tuple[str, ...]:
    """Ids of the clips of one step's global batch, in its order."""
    feature = {"clip_id": tf.io.FixedLenFeature([], tf.string)}
    records = (spec.records.read([number])[0] for number in _batch(spec, step))
    ids = (tf.io.parse_single_example(record, feature)["clip_id"].numpy() for record in records)
    return tuple(clip_id.decode("utf-8", "backslashreplace") for clip_id in ids)


def _batch(spec: InputSpec, step: int) -> np.ndarray:
    """Numbers of the records of a step's global batch, (B,) in its order."""
    epoch, step_in_epoch = divmod(step, spec.steps_per_epoch)
    first = step_in_epoch * spec.batch_size
    return epoch_order(len(spec.records), spec.seed, epoch)[first : first + spec.batch_size]


def _rows(spec: InputSpec, start_step: int, rows: range, share: int) -> tf.data.Dataset:
    """Serialised records of the same rows of every global batch from `start_step` on, each with its partners.

    They are read a piece of at most `_PIECE` rows at a time, none across the border of two shares.
    """
    pieces = [
        range(first, min(first + _PIECE, border + share))
        for border in rows[::share]
        for first in range(border, border + share, _PIECE)
    ]
    views = spec.num_views if spec.mixes else 0

    def read(number: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        step, piece = divmod(int(number), len(pieces))
        wanted = np.arange(pieces[piece].start, pieces[piece].stop + views) % spec.batch_size
        found = spec.records.read(_batch(spec, step)[wanted])
        return np.array(step, np.int32), np.array(pieces[piece], np.int32), np.array(found, object)

    def piece_of(number: tf.Tensor) -> dict[str, tf.Tensor]:
        # It has no state: tf.data may call it for several numbers at once, in whatever order.
        step, row, records = tf.numpy_function(
            read, [number], [tf.int32, tf.int32, tf.string], stateful=False
        )
        step, row = tf.ensure_shape(step, []), tf.ensure_shape(row, [None])
        records = tf.ensure_shape(records, [None])
        count = tf.size(row)
        others = tf.range(count)[:, tf.newaxis] + tf.range(1, views + 1)  # (rows, v)
        return {
            "record": records[:count],
            "partners": tf.gather(records, others),
            "step": tf.fill([count], step),
            "row": row,
        }

    dataset = tf.data.Dataset.range(start_step * len(pieces), _END)
    return dataset.map(piece_of, num_parallel_calls=_READERS, deterministic=True).unbatch()


def _example(spec: InputSpec, row: dict[str, tf.Tensor]) -> Batch:
    """One row: its crops, its partners' crops, and what is drawn for it; shapes as in `Batch` without b."""
    content, labels = _decode(spec, row["record"])
    seed = _fold(_fold(tf.constant([spec.seed, 0]), row["step"]), row["row"])
    streams = [_fold(seed, stream) for stream in range(5)]
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


def _fold(seed: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
    return tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int32), alg="philox")
