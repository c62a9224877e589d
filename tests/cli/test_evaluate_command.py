"""`hares evaluate` from the command line: options, output, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import main
from hares.synthesis.corpus import LAYOUTS
from hares.synthesis.plan import write_recording

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


def in_process(arguments: list[str], folder: Path, monkeypatch, capfd) -> tuple[int, str]:
    """Exit code and stderr of the command; a process of its own would spend its time on imports."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["hares", "evaluate", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code, capfd.readouterr().err


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
def test_wrong_settings_are_3(tmp_path, monkeypatch, capfd, arguments, message):
    code, error = in_process(["--corpus", ".", *arguments], tmp_path, monkeypatch, capfd)
    assert code == 3 and message in error
    assert "Traceback" not in error


def test_a_failed_preflight_is_3_and_lists_cause_and_remedy(tmp_path, monkeypatch, capfd):
    (tmp_path / "deaf_encoder.py").write_text(
        "import numpy as np\nclass Encoder:\n    sample_rate, embedding_size = 16000, 4\n"
        "    def __call__(self, x):\n        return np.ones((len(x), 4))\n"
    )
    (tmp_path / "birdsong").mkdir()
    arguments = ["--corpus", ".", "--encoder", "python:deaf_encoder:Encoder"]
    code, error = in_process(arguments, tmp_path, monkeypatch, capfd)
    assert code == 3
    assert "sees its input: noise, a chord, clicks and a sweep have one and the same embedding" in error
    assert "Are its weights loaded" in error


def test_nothing_to_score_is_4(tmp_path, monkeypatch, capfd):
    (tmp_path / "birdsong").mkdir()
    code, error = in_process(["--corpus", ".", "--encoder", "log_mel"], tmp_path, monkeypatch, capfd)
    assert code == 4 and "no task could be scored" in error


def test_a_task_of_whose_data_nothing_can_be_used_is_4_and_the_others_are_scored(
    tmp_path, monkeypatch, capfd
):
    """An index that breaks off half way gives no score over its first half."""
    plans = [LAYOUTS["birdsong"](0, 0.05), LAYOUTS["nsynth"](0, 0.02)]
    for plan in plans:
        for recording in plan.recordings:
            write_recording(recording, tmp_path)
        for name, text in plan.files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
    index = tmp_path / "nsynth/nsynth-test/examples.json"
    index.write_text(index.read_text()[: len(index.read_text()) // 2])
    arguments = ["--corpus", ".", "--encoder", "log_mel", "--protocol", "quick"]
    code, error = in_process([*arguments, "--tasks", "birdsong,nsynth_pitch"], tmp_path, monkeypatch, capfd)
    assert code == 4 and "nsynth_pitch" in error and "birdsong" not in error
    tasks = json.loads((tmp_path / "evaluation/report.json").read_text())["tasks"]
    assert tasks["birdsong"]["value"] is not None
    assert tasks["nsynth_pitch"]["value"] is None and "examples.json" in tasks["nsynth_pitch"]["reason"]
