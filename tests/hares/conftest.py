"""What several tests of `hares` share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Two data sets in their native layouts: tones whose pitch tells the class."""
    root = tmp_path / "corpus"
    noise = np.random.default_rng(0)

    def tone(path: Path, hertz: float, seconds: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        time_ = np.arange(round(seconds * 16_000)) / 16_000
        wave = 0.3 * np.sin(2 * np.pi * hertz * time_) + 0.01 * noise.standard_normal(time_.size)
        soundfile.write(path, wave, 16_000, subtype="PCM_16")

    commands = root / "speech_commands_v2"
    tested, validated = [], []
    for kind, word in enumerate(("yes", "no", "up")):
        for speaker in range(9):
            name = f"{word}/{speaker:08x}_nohash_0.wav"
            tone(commands / name, 300.0 * (kind + 1), 0.9)
            if speaker >= 5:
                (tested if speaker < 8 else validated).append(name)
    (commands / "testing_list.txt").write_text("\n".join(tested) + "\n")
    (commands / "validation_list.txt").write_text("\n".join(validated) + "\n")
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for kind in range(2):
            name = f"{fold}-{1000 + fold}{kind}-A-{kind}.wav"
            tone(root / "esc50/audio" / name, 500.0 * (kind + 1), 2.0)
            rows.append(f"{name},{fold},{kind},{('dog', 'rooster')[kind]},False,{1000 + fold}{kind},A")
    (root / "esc50/meta").mkdir(parents=True)
    (root / "esc50/meta/esc50.csv").write_text("\n".join(rows) + "\n")
    return root
