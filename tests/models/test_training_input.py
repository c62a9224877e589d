"""The input pipeline is a pure function of (seed, step), whatever the files, hosts and replicas."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from kits import training_kit as KIT
from models.training.input_pipeline import InputSpec, clip_ids, make_dataset
from models.training.records import open_records

pytestmark = pytest.mark.slow

FILES, CLIPS, BATCH, CROP = 4, 7, 6, 10  # 28 clips: 4 batches of 6 an epoch


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """Clips whose frames say which clip and which frame they are: bin 0 the clip, bin 1 the frame."""
    folder = tmp_path_factory.mktemp("records")
    files = []
    for file in range(FILES):
        records = []
        for i in range(CLIPS):
            clip = file * CLIPS + i
            frames = np.arange(4 + clip)  # from shorter than a crop to longer
            content = np.stack([np.full_like(frames, clip), frames, 0 * frames], axis=1)
            records.append(KIT.serialize(str(clip), content, [clip % 3, 3] if clip % 2 else []))
        files.append(KIT.write(folder / f"part-{file}.tfrecord", records))
    return InputSpec(
        records=open_records(files), batch_size=BATCH, num_views=2, mixes=True,
        num_classes=4, noise_size=3, input_kind="log_mel", crop_length=CROP, mel_bins=3,
        mixing_alpha=5.0, mixing_beta=2.0, seed=1, objective_noise_size=5,
    )  # fmt: skip


def take(dataset, count):
    return [{k: v.numpy() for k, v in batch.items()} for batch in dataset.take(count)]


def assert_equal(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def clips_of(batch):
    return batch["clips"][:, 0, 0, 0].astype(int)


def test_shapes_are_static(spec):
    shapes = {name: tuple(s.shape) for name, s in make_dataset(spec).element_spec.items()}
    assert shapes == {
        "clips": (6, 2, 10, 3),
        "labels": (6, 4),
        "noise": (6, 2, 3),
        "objective_noise": (6, 2, 5),
        "partners": (6, 2, 10, 3),
        "partner_labels": (6, 2, 4),
        "ratio": (6, 2),
    }
    assert {s.dtype for s in make_dataset(spec).element_spec.values()} == {tf.float32}


def test_same_seed_same_batches_other_seed_others(spec):
    first = take(make_dataset(spec), 6)
    assert_equal(first, take(make_dataset(spec), 6))
    tf.random.set_seed(99)
    assert_equal(first, take(make_dataset(spec), 6))
    other = take(make_dataset(dataclasses.replace(spec, seed=2)), 6)
    assert any((clips_of(a) != clips_of(b)).any() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("start", [4, 9])
def test_starting_late_is_going_on(spec, start):
    assert_equal(take(make_dataset(spec, start_step=start), 3), take(make_dataset(spec), start + 3)[start:])


@pytest.mark.parametrize("step", [0, 3, 9])
def test_the_clips_of_a_step_are_named_in_the_batchs_order(spec, step):
    (batch,) = take(make_dataset(spec, start_step=step), 1)
    assert clip_ids(spec, step) == tuple(map(str, clips_of(batch)))


def test_an_epoch_holds_each_clip_at_most_once_and_epochs_differ(spec):
    batches = take(make_dataset(spec), 12)
    epochs = [np.concatenate([clips_of(b) for b in batches[i : i + 4]]) for i in (0, 4, 8)]
    for epoch in epochs:
        assert len(set(epoch)) == 24
    assert all((a != b).any() for a, b in itertools.combinations(epochs, 2))
    assert len(set(np.concatenate(epochs))) == 28  # what one epoch leaves over, others have


def test_crops_are_runs_of_frames_and_short_clips_go_round(spec):
    starts = set()
    for batch in take(make_dataset(spec), 200):
        for name in ("clips", "partners"):
            for crop in batch[name].reshape(-1, CROP, 3).astype(int):
                length = 4 + crop[0, 0]
                assert (crop[:, 0] == crop[0, 0]).all()
                np.testing.assert_array_equal(crop[:, 1], (crop[0, 1] + np.arange(CROP)) % length)
                assert length < CROP or crop[0, 1] + CROP <= length
                if crop[0, 0] == 27:
                    starts.add(crop[0, 1])
    assert starts == set(range(31 - CROP + 1))  # every start comes up


def test_partners_are_other_clips_of_the_batch_with_their_labels(spec):
    for batch in take(make_dataset(spec), 8):
        clips = clips_of(batch)
        partners = batch["partners"][:, :, 0, 0].astype(int)
        assert (partners != clips[:, None]).all()
        assert (partners[:, 0] != partners[:, 1]).all()
        assert set(partners.ravel()) == set(clips)
        for clip, labels in zip(
            [*clips, *partners.ravel()],
            [*batch["labels"], *batch["partner_labels"].reshape(-1, 4)],
            strict=True,
        ):
            assert set(np.flatnonzero(labels)) == ({clip % 3, 3} if clip % 2 else set())


def test_what_the_objective_draws_leaves_all_else_as_it_is(spec):
    without = take(make_dataset(dataclasses.replace(spec, objective_noise_size=0)), 3)
    for a, b in zip(take(make_dataset(spec), 3), without, strict=True):
        assert b.pop("objective_noise").shape == (6, 2, 0)
        assert_equal([{key: a[key] for key in b}], [b])


def test_draws_differ_between_views_rows_and_steps(spec):
    batches = take(make_dataset(spec), 16)
    laws = {("ratio",): ("beta", (5, 2)), ("noise", "objective_noise"): ("uniform",)}
    for names, law in laws.items():
        values = np.concatenate([b[name].ravel() for b in batches for name in names])
        assert len(np.unique(values)) == values.size
        assert ((values >= 0) & (values < 1)).all()
        assert scipy.stats.kstest(values, *law).pvalue > 0.01


@pytest.mark.parametrize(("hosts", "replicas"), [(1, 2), (3, 6)])
def test_replicas_and_hosts_share_the_same_global_batches(spec, hosts, replicas):
    whole = take(make_dataset(spec), 5)
    a_host = replicas // hosts
    shares = [take(make_dataset(spec, 0, replicas, h, hosts), 5 * a_host) for h in range(hosts)]
    for step, batch in enumerate(whole):
        parts = [part for share in shares for part in share[step * a_host : (step + 1) * a_host]]
        assert_equal([batch], [{k: np.concatenate([p[k] for p in parts]) for k in batch}])


def test_without_mixing_or_labels_nothing_of_them_comes(spec):
    plain = dataclasses.replace(spec, mixes=False, num_classes=0)
    shapes = {name: tuple(s.shape) for name, s in make_dataset(plain).element_spec.items()}
    assert shapes["partners"] == (6, 0, 10, 3)
    assert shapes["labels"] == (6, 0)
    mixed, unmixed = take(make_dataset(spec), 2), take(make_dataset(plain), 2)
    for a, b in zip(mixed, unmixed, strict=True):
        np.testing.assert_array_equal(a["clips"], b["clips"])


def test_waveforms(tmp_path, spec):
    waves = [np.arange(50) * 100 + i for i in range(6)]
    records = [KIT.serialize(str(i), w, [0], "waveform") for i, w in enumerate(waves)]
    file = KIT.write(tmp_path / "waves.tfrecord", records)
    wave_spec = dataclasses.replace(
        spec, records=open_records([file]), input_kind="waveform", crop_length=20, mixes=False
    )
    (batch,) = take(make_dataset(wave_spec), 1)
    assert batch["clips"].shape == (6, 2, 20)
    samples = np.round(batch["clips"] * 32768).astype(int)
    np.testing.assert_array_equal(np.diff(samples), 100)


def test_the_same_batches_from_any_files(tmp_path, spec):
    """One file, four, and 64 of which most are empty, each holding the clips in another order."""
    first = take(make_dataset(spec), 6)
    contents = spec.records.read(range(len(spec.records)))
    for count in (1, 64):
        mixed = np.random.default_rng(count).permutation(np.array(contents, object)).tolist()
        files = [
            KIT.write(tmp_path / f"{count}-{file}.tfrecord", mixed[file::count]) for file in range(count)
        ]
        records = open_records(files[::-1])
        assert_equal(first, take(make_dataset(dataclasses.replace(spec, records=records)), 6))


def test_a_clip_is_mixed_with_any_other_in_time(spec):
    met = {(int(a), int(b)) for step in take(make_dataset(spec), 600) for a, b in pairs(step)}
    assert len(met) == 28 * 27


def pairs(batch):
    partners = batch["partners"][:, :, 0, 0].astype(int)
    return [(clip, partner) for clip, row in zip(clips_of(batch), partners, strict=True) for partner in row]


def test_a_host_reads_its_own_rows_and_the_partners_of_its_last(spec):
    """Not the whole batch: 4 hosts of 5 rows, and two views."""
    read = []

    class Watched(type(spec.records)):
        def read(self, numbers):
            read.append(len(list(numbers)))
            return super().read(numbers)

    watched = Watched(**vars(spec.records))
    big = dataclasses.replace(spec, records=watched, batch_size=20)
    whole = take(make_dataset(dataclasses.replace(spec, batch_size=20)), 2)
    parts = []
    for host in range(4):
        read.clear()
        parts.append(take(make_dataset(big, 0, 4, host, 4), 2))
        assert set(read) == {5 + 2}
    for step in range(2):
        joined = {k: np.concatenate([part[step][k] for part in parts]) for k in whole[step]}
        assert_equal([whole[step]], [joined])


def test_batches_larger_than_a_piece_are_whole(tmp_path):
    """A share of 40 rows is read as 32 and 8."""
    contents = [np.full((3, 3), clip) for clip in range(90)]
    file = KIT.write(tmp_path / "c.tfrecord", [KIT.serialize(str(i), c, []) for i, c in enumerate(contents)])
    spec = InputSpec(
        records=open_records([file]), batch_size=80, num_views=2, mixes=True, num_classes=0, noise_size=0,
        input_kind="log_mel", crop_length=2, mel_bins=3, mixing_alpha=5.0, mixing_beta=2.0, seed=0,
    )  # fmt: skip
    (whole,) = take(make_dataset(spec), 1)
    assert len(set(clips_of(whole))) == 80
    halves = take(make_dataset(spec, replicas=2), 2)
    assert_equal([whole], [{k: np.concatenate([half[k] for half in halves]) for k in whole}])


def test_unusable_settings_say_why(spec):
    with pytest.raises(ValueError, match="exceeds the 28 training clips"):
        make_dataset(dataclasses.replace(spec, batch_size=29))
    with pytest.raises(ValueError, match="must divide by the 4 replicas; set it to 4"):
        make_dataset(spec, replicas=4)


@pytest.mark.parametrize(
    ("content", "labels", "message"),
    [
        (np.zeros((0, 3)), [0], "a clip without frames"),
        (np.zeros((5, 3)), [4], r"a label id outside 0\.\.3"),
        (np.zeros((5, 7)), [0], "7"),
    ],
)
def test_a_bad_record_stops_the_run(tmp_path, spec, content, labels, message):
    records = [KIT.serialize("odd", content, labels)] * 6
    file = KIT.write(tmp_path / "bad.tfrecord", records)
    bad = dataclasses.replace(spec, records=open_records([file]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        take(make_dataset(bad), 1)
