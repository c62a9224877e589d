"""Where a run keeps its checkpoints: where it finds its own again, and never another's."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path

import pytest

pytest.importorskip("tfx")

from models.frontend import FrontendConfig
from models.training.config import TrainingConfig
from pipeline.training import _name_data, _run_digest
from pipeline.workspace import CHECKPOINT_DATA


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"records")
    return [str(tmp_path / "a"), str(tmp_path / "b")]


@pytest.fixture
def custom() -> dict:
    return {
        "training": asdict(TrainingConfig()),
        "frontend": asdict(FrontendConfig()),
        "checkpoint_code": "c",
        "warm_start": None,
    }


def changed(custom: dict, **parts: object) -> dict:
    other = copy.deepcopy(custom)
    for name, value in parts.items():
        other["training" if name in other["training"] else "frontend"][name] = value
    return other


def test_settings_that_leave_the_result_alone_leave_the_folder_alone(custom: dict, files: list[str]) -> None:
    free = {"strategy": "single", "steps_per_loop": 7, "checkpoint_every_steps": 9, "keep_checkpoints": 1}
    for name, value in free.items():
        assert custom["training"][name] != value
        assert _run_digest(changed(custom, **{name: value}), files) == _run_digest(custom, files)


def test_all_that_decides_the_result_decides_the_folder(custom: dict, files: list[str]) -> None:
    others = [
        (changed(custom, seed=1), files),
        (changed(custom, batch_size=8), files),
        (changed(custom, num_mel_bins=64), files),
        ({**custom, "checkpoint_code": "d"}, files),
        ({**custom, "warm_start": {"weights": "w.npz", "digest": "1", "model": "m"}}, files),
        ({**custom, "warm_start": {"weights": "w.npz", "digest": "2", "model": "m"}}, files),
        (custom, files[:1]),
    ]
    digests = [_run_digest(custom, files), *(_run_digest(*other) for other in others)]
    Path(files[0]).write_bytes(b"more records")
    digests.append(_run_digest(custom, files))
    assert len(set(digests)) == len(digests)


def test_checkpoints_name_the_records_they_stand_on(tmp_path: Path) -> None:
    """For `hares workspace gc`: without the records no run goes on from them."""
    for _ in range(2):  # the second is a run that goes on
        _name_data(str(tmp_path / "checkpoints" / "digest"), str(tmp_path / "examples" / "Split-train"))
    text = (tmp_path / "checkpoints" / "digest" / CHECKPOINT_DATA).read_text()
    assert text == str(tmp_path / "examples" / "Split-train")
