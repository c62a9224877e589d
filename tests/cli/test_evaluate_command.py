"""`hares evaluate` from the command line: options, output, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def hares(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "evaluate", *arguments],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.corpus
def test_scores_as_a_table_and_as_json(shared_corpus, tmp_path):
    arguments = (
        "--encoder",
        "log_mel",
        "--corpus",
        str(shared_corpus),
        "--tasks",
        "birdsong",
        "--protocol",
        "quick",
    )
    shown = hares(*arguments, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "pre-flight passed" in shown.stdout and "birdsong" in shown.stdout
    assert "evaluation/report.html" in shown.stdout
    again = hares(*arguments, "--json", cwd=tmp_path)
    report = json.loads(again.stdout)
    assert report == json.loads((tmp_path / "evaluation/report.json").read_text())
    assert report["encoder"]["name"] == "log_mel"
    record = json.loads((tmp_path / "evaluation/evaluate.json").read_text())
    assert record["cache"]["computed"] == 0 and record["cache"]["found"] > 0


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["--corpus", "birdsong=.", "--encoder", "wav2vec"], "no kind is called 'wav2vec'"),
        (["--corpus", "birdsong=.", "--encoder", "saved_model:nowhere"], "no saved_model.pb in nowhere"),
        (["--corpus", "birdsong=.", "--encoder", "log_mel", "--sample-rate", "48000"], "declares 16000 Hz"),
        (["--encoder", "log_mel", "--tasks", "esc51"], "unknown task 'esc51'"),
        (["--encoder", "log_mel", "--tasks", "esc50"], "--tasks esc50: there is no folder"),
        (["--encoder", "log_mel"], "none of the data sets"),
    ],
)
def test_wrong_settings_are_3(tmp_path, arguments, message):
    result = hares("--corpus", ".", *arguments, cwd=tmp_path)
    assert result.returncode == 3 and message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_failed_preflight_is_3_and_lists_cause_and_remedy(tmp_path):
    (tmp_path / "deaf.py").write_text(
        "import numpy as np\nclass Encoder:\n    sample_rate, embedding_size = 16000, 4\n"
        "    def __call__(self, x):\n        return np.ones((len(x), 4))\n"
    )
    (tmp_path / "birdsong").mkdir()
    result = hares("--corpus", ".", "--encoder", "python:deaf:Encoder", cwd=tmp_path)
    assert result.returncode == 3
    assert (
        "sees its input: noise, a chord, clicks and a sweep have one and the same embedding" in result.stderr
    )
    assert "Are its weights loaded" in result.stderr


def test_nothing_to_score_is_4(tmp_path):
    (tmp_path / "birdsong").mkdir()
    result = hares("--corpus", ".", "--encoder", "log_mel", cwd=tmp_path)
    assert result.returncode == 4 and "no task could be scored" in result.stderr
