"""`hares evaluate` from the command line: options, output, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cli.main import main
from hares.lock import held
from hares.synthesis.corpus import LAYOUTS
from hares.synthesis.plan import write_recording

pytestmark = pytest.mark.slow

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
        (["--encoder", "log_mel", "--tasks", "esc50"], "task esc50: there is no folder"),
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


@pytest.fixture
def esc50(tmp_path) -> Path:
    """A corpus of ESC-50 with twenty clips, whose pitch tells the class."""
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    (tmp_path / "c/esc50/audio").mkdir(parents=True)
    (tmp_path / "c/esc50/meta").mkdir()
    for number in range(20):
        name = f"{number % 5 + 1}-{number}-A-{number % 2}.wav"
        wave = 0.3 * np.sin(2 * np.pi * (300 + 600 * (number % 2)) * np.arange(32_000) / 16_000)
        soundfile.write(tmp_path / "c/esc50/audio" / name, wave, 16_000)
        rows.append(f"{name},{number % 5 + 1},{number % 2},{('dog', 'rooster')[number % 2]},False,{number},A")
    (tmp_path / "c/esc50/meta/esc50.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "c"


HEAR = """
import numpy as np
class Model:
    sample_rate, scene_embedding_size = 16000, 2
def load_model(path=""):
    return Model()
def get_scene_embeddings(audio, model):
    if len(audio) != 4 and audio.shape[1] == 80000:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return np.stack([audio.std(1), np.abs(np.diff(audio)).mean(1)], 1)
"""


def test_an_encoder_that_fails_midway_is_5_and_its_traceback_in_the_log(esc50, tmp_path, monkeypatch, capfd):
    (tmp_path / "fails_midway.py").write_text(HEAR)
    arguments = [
        "--encoder",
        "hear:fails_midway",
        "--corpus",
        "c",
        "--protocol",
        "quick",
        "--batch-size",
        "6",
    ]
    code, error = in_process(arguments, tmp_path, monkeypatch, capfd)
    assert code == 5 and "esc50: the encoder raised RuntimeError: CUDA out of memory" in error
    assert (
        "audio/1-0-A-0.wav" in error
        and "one crop at a time does not fit" in error
        and "Traceback" not in error
    )
    (log,) = (tmp_path / "evaluation/logs").iterdir()
    assert "Traceback" in log.read_text() and "in get_scene_embeddings" in log.read_text()
    report = json.loads((tmp_path / "evaluation/report.json").read_text())
    assert report["tasks"]["esc50"]["reason"].startswith("failed: ")


def test_a_sigterm_is_6_and_the_same_command_goes_on(esc50, tmp_path, monkeypatch, capfd):
    before = signal.getsignal(signal.SIGTERM)
    stops = 'if not os.path.exists("stopped"):\n            open("stopped", "w")\n            '
    stops += "signal.raise_signal(signal.SIGTERM)"
    source = "import os, signal\n" + HEAR.replace(
        'raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")', stops
    )
    (tmp_path / "stops_midway.py").write_text(source)
    arguments = ["--encoder", "hear:stops_midway", "--corpus", "c", "--protocol", "quick"]
    code, error = in_process(arguments, tmp_path, monkeypatch, capfd)
    assert code == 6 and "goes on" in error and signal.getsignal(signal.SIGTERM) == before
    main()
    assert json.loads((tmp_path / "evaluation/report.json").read_text())["tasks"]["esc50"]["clips"] == 20


@pytest.mark.parametrize(
    "source,reason",
    [
        ("import argparse; argparse.ArgumentParser().parse_args()", "SystemExit: 2"),
        ("print('words of its own'); raise SystemExit(0)", "SystemExit: 0"),
        ("import os; os._exit(0)", "SystemExit: 0"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
@pytest.mark.parametrize("kind", ["encoder", "plugin"])
def test_code_that_ends_the_process_is_3_and_says_why(tmp_path, monkeypatch, capfd, source, reason, kind):
    (tmp_path / "birdsong").mkdir()
    name = f"ends_{abs(hash((source, kind)))}"
    (tmp_path / f"{name}.py").write_text(source)
    encoder = (
        ["--encoder", f"hear:{name}"]
        if kind == "encoder"
        else ["--encoder", "log_mel", "--plugin", f"{name}.py"]
    )
    code, error = in_process(["--corpus", ".", *encoder], tmp_path, monkeypatch, capfd)
    assert code == 3 and reason in error and name in error and "Traceback" not in error
    assert os.getcwd() == str(tmp_path)
    (log,) = (tmp_path / "evaluation/logs").iterdir()
    assert source.splitlines()[0] in log.read_text()
    assert ("words of its own" in log.read_text()) == ("words" in source)


@pytest.mark.parametrize("line", ["raise SystemExit(2)", "1 / 0"])
def test_a_plugins_encoder_that_cannot_be_built_is_3(tmp_path, monkeypatch, capfd, line):
    (tmp_path / "birdsong").mkdir()
    name = f"unbuilt_{len(line)}"
    (tmp_path / f"{name}.py").write_text(
        f"from models.encoder import EncoderRecord\ndef build(seed):\n    {line}\n"
        f"ENCODERS = {{'{name}': EncoderRecord('{name}', 'log_mel', 7, 1, build)}}\n"
    )
    arguments = ["--corpus", ".", "--plugin", f"{name}.py", "--encoder", f"untrained:{name}"]
    code, error = in_process(arguments, tmp_path, monkeypatch, capfd)
    assert code == 3 and f"untrained:{name}" in error and "Traceback" not in error


def test_a_second_evaluation_in_the_folder_is_10(esc50, tmp_path, monkeypatch, capfd):
    arguments = ["--encoder", "log_mel", "--corpus", "c", "--protocol", "quick"]
    with held(tmp_path / "evaluation/evaluate.lock"):
        code, error = in_process(arguments, tmp_path, monkeypatch, capfd)
    assert code == 10 and f"process {os.getpid()}" in error and "--output" in error
    assert not (tmp_path / "evaluation/logs").exists(), "its log is no business of the other's folder"


def test_the_chosen_output_is_said_and_recorded(esc50, tmp_path, monkeypatch, capfd):
    import tensorflow as tf

    def call(sound):
        level = tf.stack([tf.math.reduce_std(sound, -1), tf.reduce_mean(tf.abs(sound), -1)], -1)
        return {"output_0": tf.nn.softmax(level), "output_1": level}

    module = tf.Module()
    module.call = tf.function(call, input_signature=[tf.TensorSpec([None, None], tf.float32, name="sound")])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": module.call})
    arguments = ["--encoder", "saved_model:m", "--corpus", "c", "--protocol", "quick"]
    code, error = in_process(arguments, tmp_path, monkeypatch, capfd)
    assert code == 3 and "output_0 (None, 2), output_1 (None, 2)" in error and "--output-name" in error
    monkeypatch.setattr(sys, "argv", ["hares", "evaluate", *arguments, "--output-name", "output_1"])
    main()
    assert "the embedding is output output_1 of output_0, output_1" in capfd.readouterr().out
    for name in ("evaluate.json", "report.json"):
        encoder = json.loads((tmp_path / "evaluation" / name).read_text())["encoder"]
        assert (encoder["output"], encoder["outputs"]) == ("output_1", ["output_0", "output_1"])


OUTPUTS = {
    "evaluate": ["evaluate", "--encoder", "hear:no_such_module", "--corpus", ".", "--output", "{}/out"],
    "cache": [
        "evaluate",
        "--encoder",
        "hear:no_such_module",
        "--corpus",
        ".",
        "--output",
        "free",
        "--cache",
        "{}/out",
    ],
    "run": ["run", "--corpus", ".", "--workspace", "{}/w"],
    "study": ["study", "--corpus", ".", "--workspace", "{}/w"],
    "demo": ["demo", "--workspace", "{}/w"],
    "report": ["report", ".", "--html", "{}/page.html"],
    "page": ["lineage", "page", "--output", "{}/page.html"],
    "compile": ["compile", "--target", "vertex", "--cluster", "x.yaml", "--output", "{}/p.json"],
}


@pytest.mark.parametrize("words", OUTPUTS.values(), ids=OUTPUTS)
def test_a_place_that_cannot_be_written_to_is_3_before_anything_is_read(tmp_path, monkeypatch, capfd, words):
    """Each would fail with another message if it read anything: there is no module, no report, no store, no cluster."""
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)

    def refused(target: Path, reason: str) -> None:
        monkeypatch.setattr(sys, "argv", ["hares", *(word.format(target) for word in words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        error = capfd.readouterr().err
        assert stopped.value.code == 3 and str(target) in error and reason in error, error
        assert error.count("\n") == 1

    (tmp_path / "file").write_text("")
    (tmp_path / "theirs").mkdir(mode=0o555)
    (tmp_path / "free").mkdir()
    (tmp_path / "free").chmod(0o777)
    refused(tmp_path / "file", "Not a directory")
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may write anywhere
    try:
        refused(tmp_path / "theirs", "Permission denied")
    finally:
        os.seteuid(user)


def test_a_full_disk_is_5(tmp_path, monkeypatch, capfd):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    code, error = in_process(["--encoder", "log_mel", "--corpus", "."], tmp_path, monkeypatch, capfd)
    assert code == 5 and "No space left" in error


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
