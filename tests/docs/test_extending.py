"""The files that docs/extending.md shows work as they stand."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from kits.pages import blocks
from kits.pipeline_runs import PROJECT, copy_project
from models.encoder import built_encoder, load_encoder
from models.frontend import FrontendConfig
from models.objective import Batch, Replicas, load_objective
from models.training.config import TrainingConfig
from pipeline.plugin import load_plugin

pytestmark = pytest.mark.slow

SHOWN = {block.title: block.text for block in blocks("extending.md") if block.title}
COMMANDS = [
    line for block in blocks("extending.md") if block.language == "sh" for line in block.text.splitlines()
]


def hares(line: str, folder: Path, packages: Path) -> str:
    words = [sys.executable, "-m", "cli.main", *shlex.split(line)[1:]]
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def score(report: Path, task: str, kind: str = "tasks") -> float:
    return json.loads((report / "report.json").read_text())[kind][task]["value"]


def tones(folder: Path, names: list[tuple[str, float]], seconds: float = 1.0) -> None:
    """Noisy tones: their pitch tells the class."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    for name, hertz in names:
        time = np.arange(round(seconds * 16_000)) / 16_000
        wave = 0.3 * np.sin(2 * np.pi * hertz * time) + 0.01 * noise.standard_normal(time.size)
        soundfile.write(folder / name, wave, 16_000)


def test_an_encoder(tmp_path: Path) -> None:
    (tmp_path / "mean_bands.py").write_text(SHOWN["mean_bands.py"])
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    clips = [(f"{fold}-{fold}{kind}-A-{kind}.wav", fold, kind) for fold in range(1, 6) for kind in (0, 1)]
    tones(
        tmp_path / "corpora/esc50/audio", [(name, 500.0 * (kind + 1)) for name, _, kind in clips], seconds=5
    )
    rows += [
        f"{name},{fold},{kind},{('dog', 'rooster')[kind]},False,{fold}{kind},A" for name, fold, kind in clips
    ]
    (tmp_path / "corpora/esc50/meta").mkdir()
    (tmp_path / "corpora/esc50/meta/esc50.csv").write_text("\n".join(rows) + "\n")
    (line,) = [line for line in COMMANDS if "mean_bands" in line]
    hares(line, tmp_path, PROJECT)
    assert score(tmp_path / "evaluation", "esc50") > 0.5


def test_an_objective(tmp_path: Path) -> None:
    (tmp_path / "agree.py").write_text(SHOWN["agree.py"])
    load_plugin(tmp_path / "agree.py")
    objective_record, record = load_objective("agree"), load_encoder("byola_cnn_tiny")
    encoder = built_encoder(record, FrontendConfig(), seed=0)
    objective = objective_record.build(TrainingConfig(), record, 0, (96, 80))
    clip = tf.random.stateless_normal([4, 1, 96, 80], seed=[0, 1])
    none = tf.zeros([4, 0])
    batch = Batch(
        clips=tf.repeat(clip, 2, axis=1), labels=none, noise=tf.zeros([4, 2, encoder.noise_size]),
        objective_noise=none, partners=none, partner_labels=none, ratio=none,
    )  # fmt: skip
    loss, metrics = objective.loss(encoder, batch, Replicas())
    assert float(loss) == pytest.approx(1 - float(metrics["cosine"]), abs=1e-6)
    assert set(metrics) == set(objective_record.metrics)


@pytest.mark.parametrize("probe", ["linear", "nearest_mean"])
def test_a_task_and_a_probe(tmp_path: Path, probe: str) -> None:
    packages = tmp_path / "project"
    copy_project(PROJECT, packages)
    if probe == "linear":
        (tmp_path / "drums.py").write_text(SHOWN["drums.py"])
    else:  # in the repository
        text = SHOWN["drums.py"].replace('probe="linear"', f'probe="{probe}"')
        (packages / "hares/tasks/drums.py").write_text(text)
        (packages / "hares/probes/nearest_mean.py").write_text(SHOWN["hares/probes/nearest_mean.py"])
    drums = [
        (f"{kind}{player}.wav", kind, player) for kind in ("kick", "snare", "tom") for player in range(8)
    ]
    pitches = {"kick": 200.0, "snare": 900.0, "tom": 2500.0}
    tones(tmp_path / "corpora/drums/audio", [(name, pitches[kind] + player) for name, kind, player in drums])
    rows = [
        f"{name},{kind},player{player},{'test' if player > 4 else 'train'}" for name, kind, player in drums
    ]
    (tmp_path / "corpora/drums/meta.csv").write_text("\n".join(["file,drum,player,split", *rows]) + "\n")
    lines = [line for line in COMMANDS if "drums" in line]
    check, evaluation, bundle = (
        lines if probe == "linear" else [s.replace("--plugin drums.py", "") for s in lines]
    )
    assert "test:9 train:15" in hares(check, tmp_path, packages)
    hares(evaluation, tmp_path, packages)
    assert score(tmp_path / "drums", "drums", "own_tasks" if probe == "linear" else "tasks") == 1.0
    hares(bundle, tmp_path, packages)
