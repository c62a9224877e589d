"""`hares import-weights` from outside: an export that `hares evaluate` can load, and errors of one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cli.errors import CommandError, ExitCode
from cli.main import hares
from hares.adapters import encode_crops
from hares.adapters import load_adapter as load_frozen
from models.encoder import load_encoder
from models.weights import save_weights

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]


def call(*arguments: str | Path):
    return CliRunner().invoke(hares, ["import-weights", *map(str, arguments)])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vit.npz"
    save_weights(load_encoder("vit_tiny").build(1), path)
    return path


def test_what_it_writes_can_be_scored(weights: Path, tmp_path: Path) -> None:
    line = [
        "import-weights",
        "--encoder",
        "vit_tiny",
        "--from",
        str(weights),
        "--output",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *line],
        cwd=PROJECT, env={name: value for name, value in os.environ.items() if "MIN_LOG_LEVEL" not in name},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), "nothing that TensorFlow says of an export"
    assert "369,504 parameters" in done.stdout and "hares evaluate --encoder saved_model:" in done.stdout
    encoder = load_frozen(f"saved_model:{tmp_path / 'out'}")
    clips = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 16000)).astype(np.float32)
    assert encoder.sample_rate == 16000
    assert encode_crops(encoder)(clips).shape == (2, 96)


def test_errors_are_settings(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for encoder, file, output, message in (
        ("vit_tiny", weights, "full", "not empty"),
        ("vit_huge", weights, "out", "unknown encoder 'vit_huge'"),
        ("samplecnn_tiny", weights, "out", "missing: bn0/beta, .*unexpected: blocks/0/attn/proj/b"),
        ("vit_tiny", tmp_path / "none.npz", "out", "no such file"),
    ):
        done = call("--encoder", encoder, "--from", file, "--output", tmp_path / output)
        assert isinstance(done.exception, CommandError)
        assert done.exception.code == ExitCode.SETTINGS
        with pytest.raises(CommandError, match=message):
            raise done.exception
        assert not (tmp_path / "out").exists()
