"""Counting a corpus that is partly there, partly broken and partly elsewhere."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hares.corpus import check_corpus, dataset_root
from hares.task import load_task, task_names

HEADER = "filename,fold,target,category,esc10,src_file,take\n"


@pytest.fixture
def esc50(tmp_path: Path) -> Path:
    root = tmp_path / "ESC-50-master"
    (root / "meta").mkdir(parents=True)
    (root / "audio").mkdir()
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 32_000).astype(np.float32)
    names = {
        "1-1-A-0.wav": sound,
        "2-2-A-1.wav": sound,
        "3-3-A-1.wav": sound[:100],
        "4-4-A-0.wav": sound * np.nan,
    }
    for name, samples in names.items():
        soundfile.write(root / "audio" / name, samples, 16_000, subtype="FLOAT")
    (root / "audio/5-5-A-0.wav").write_bytes((root / "audio/1-1-A-0.wav").read_bytes()[:900])
    rows = ""
    for name in (*names, "5-5-A-0.wav", "1-9-A-0.wav"):
        fold, source, _, target = name.removesuffix(".wav").split("-")
        rows += f"{name},{fold},{target},{('dog', 'rooster')[int(target)]},True,{source},A\n"
    (root / "meta/esc50.csv").write_text(HEADER + rows)
    return root


def test_what_is_broken_is_counted_by_reason(esc50: Path) -> None:
    seen: list[str] = []
    (check,) = check_corpus(None, {"esc50": esc50}, ["esc50"], on_clip=seen.append)
    assert (check.found, check.error, check.files, check.clips) == (True, None, 5, 2)
    assert check.clips_per_split == {"fold1": 1, "fold2": 1}
    assert check.rejected == {"absent": 1, "non_finite": 1, "too_short": 1, "truncated": 1}
    assert check.hours == pytest.approx(4 / 3600)
    assert (check.slots[0].classes_defined, check.slots[0].classes_present) == (50, 2)
    assert {item.path for item in check.examples} >= {"audio/5-5-A-0.wav", "audio/1-9-A-0.wav"}
    assert seen == ["esc50"] * 5
    assert json.loads(json.dumps(asdict(check)))["rejected"]["absent"] == 1


def test_headers_alone_do_not_show_what_is_in_the_samples(esc50: Path) -> None:
    (check,) = check_corpus(None, {"esc50": esc50}, ["esc50"], decode_audio=False)
    assert check.rejected == {"absent": 1, "too_short": 1, "truncated": 1}


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "tut18").mkdir()
    checks = {check.name: check for check in check_corpus(tmp_path)}
    assert tuple(checks) == task_names()
    assert not checks["esc50"].found and "there is no folder" in str(checks["esc50"].error)
    assert checks["tut18"].found and "meta.csv cannot be opened" in str(checks["tut18"].error)


def test_places(tmp_path: Path) -> None:
    pitch, other = load_task("nsynth_pitch"), tmp_path / "other"
    assert dataset_root(tmp_path, pitch, {}) == tmp_path / "nsynth"
    assert dataset_root(tmp_path, pitch, {"nsynth": other}) == other
    assert dataset_root(None, pitch, {"nsynth_pitch": other, "nsynth": tmp_path}) == other
    with pytest.raises(ValueError, match="no place for the data set 'nsynth'"):
        dataset_root(None, pitch, {"esc50": other})
    with pytest.raises(ValueError, match="no data set is called esc10"):
        check_corpus(tmp_path, {"esc10": other})
