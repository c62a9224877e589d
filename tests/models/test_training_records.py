"""Records are found wherever they lie, and an epoch shuffles all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kits import training_kit as KIT
from models.training.records import epoch_order, open_records

CLIPS = [KIT.serialize(f"clip {i}", np.full((i % 5, 2), i), [i]) for i in range(40)]


def write(folder: Path, clips: list[bytes], files: int) -> list[str]:
    folder.mkdir()
    return [KIT.write(folder / f"{file}.tfrecord", clips[file::files]) for file in range(files)]


def test_a_clip_meets_as_many_others_as_in_a_full_shuffle() -> None:
    """12 epochs of 40,960 records in batches of 4,096: about 29,400 of the others."""
    records, batch, epochs = 40_960, 4_096, 12
    watched = np.arange(0, records, 4_000)
    met = np.zeros((len(watched), records), bool)
    for epoch in range(epochs):
        order = epoch_order(records, 0, epoch)
        place = np.argsort(order)
        for row, clip in enumerate(watched):
            first = place[clip] // batch * batch
            met[row, order[first : first + batch]] = True
    expected = (records - 1) * (1 - (1 - (batch - 1) / (records - 1)) ** epochs)
    assert 29_300 < expected < 29_500
    assert (met.sum(axis=1) - 1 >= 0.98 * expected).all()


def test_an_epochs_order_is_a_permutation_of_its_own() -> None:
    orders = {tuple(epoch_order(50, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert epoch_order(6, 7, 8).tolist() == [1, 2, 3, 4, 0, 5], (
        "it may never change: runs are repeated years later"
    )


@pytest.mark.slow
@pytest.mark.parametrize("files", [1, 4, 64])
def test_the_files_decide_nothing(tmp_path: Path, files: int) -> None:
    expected = open_records(write(tmp_path / "one", CLIPS, 1)).read(range(40))
    assert sorted(expected) == sorted(CLIPS) and expected != CLIPS
    records = open_records(write(tmp_path / "other", CLIPS[::-1], files)[::-1])
    assert len(records) == 40
    assert records.read(range(40)) == expected
    assert records.read([7, 3, 7]) == [expected[7], expected[3], expected[7]]


@pytest.mark.slow
def test_records_of_one_id_are_ordered_by_what_they_hold(tmp_path: Path) -> None:
    twice = [KIT.serialize("same", np.full((2, 2), i), []) for i in range(6)]
    first, second = (
        open_records([KIT.write(tmp_path / f"{name}.tfrecord", clips)]).read(range(6))
        for name, clips in (("there", twice), ("back", twice[::-1]))
    )
    assert first == second


@pytest.mark.slow
def test_what_was_found_is_kept_and_found_again(tmp_path: Path) -> None:
    files, index = write(tmp_path / "a", CLIPS, 3), str(tmp_path / "run" / "records.npz")
    found = open_records(files, index).read(range(40))
    body = Path(files[0]).read_bytes()
    Path(files[0]).write_bytes(body[:20] + bytes(len(body) - 20))  # of the same size
    again = open_records(files, index)
    Path(files[0]).write_bytes(body)
    assert again.read(range(40)) == found

    moved = (tmp_path / "a").rename(tmp_path / "b")
    files = [str(moved / Path(file).name) for file in files]
    assert open_records(files, index).read(range(40)) == found


@pytest.mark.slow
def test_an_index_that_is_damaged_or_of_other_files_is_made_anew(tmp_path: Path) -> None:
    files, index = write(tmp_path / "a", CLIPS, 2), tmp_path / "records.npz"
    found = open_records(files, str(index)).read(range(40))
    whole = index.read_bytes()
    for damage in (b"", whole[:-30], b"no archive"):
        index.write_bytes(damage)
        assert open_records(files, str(index)).read(range(40)) == found
        assert index.read_bytes() == whole
    KIT.write(Path(files[0]), CLIPS[:3])
    assert len(open_records(files, str(index))) == 20 + 3
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.slow
def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no TFRecord files"):
        open_records([])
    with pytest.raises(ValueError, match=r"gone\.tfrecord is not there"):
        open_records([str(tmp_path / "gone.tfrecord")])
    packed = KIT.write(tmp_path / "clips.tfrecord.gz", CLIPS)
    with pytest.raises(ValueError, match=r"clips\.tfrecord\.gz is compressed.*write it uncompressed"):
        open_records([packed])
    (file,) = write(tmp_path / "a", CLIPS, 1)
    body = Path(file).read_bytes()
    for damaged in (body[:-9], body[:30] + b"?" + body[31:], Path(packed).read_bytes()):
        (tmp_path / "damaged.tfrecord").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"damaged\.tfrecord cannot be read"):
            open_records([str(tmp_path / "damaged.tfrecord")])
    strange = KIT.write(tmp_path / "strange.tfrecord", [tf.train.Example().SerializeToString()])
    with pytest.raises(ValueError, match=r"strange\.tfrecord cannot be read.*clip_id"):
        open_records([strange])


@pytest.mark.slow
def test_a_file_that_changes_under_a_training_is_noticed(tmp_path: Path) -> None:
    (file,) = write(tmp_path / "a", CLIPS, 1)
    records = open_records([file])
    for clips in ([*CLIPS[1:], CLIPS[0]], CLIPS[:5]):
        KIT.write(Path(file), clips)
        with pytest.raises(ValueError, match="has changed since training began"):
            records.read(range(40))
