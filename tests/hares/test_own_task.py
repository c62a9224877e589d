"""Tasks of one's own, by a plugin: scored, reported and compared beside the twelve, and in no mean."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import hares
from cli.main import main
from hares.plugin import PREFIX, load_plugin
from hares.protocol import ProtocolSettings
from hares.report.board import build_board, render_board
from hares.report.bundle import bundle_bytes, load_bundle
from hares.report.page import render_page
from hares.report.runs import differences, load_run
from hares.report.summary import summary_rows
from hares.task import load_task, own_task_names, task_names
from kits.loaded_plugins import forget_plugins, forgotten

__all__ = ["forgotten"]

PROTOCOL = ProtocolSettings(
    name="quick", max_steps=60, learning_rate=2e-3, bootstrap_resamples=20, probe_seeds=1
)
PLUGIN = """
import csv
from hares.task import Clip, CorpusIndexError, Reason, Rejected, Slot, Task, TaskIndex

CLASSES = ("low", "high")
TASK = Task(
    name="tones", domain="music", title="Tones, register", dataset="tones", slots=(Slot("register", CLASSES),),
    label_kind="single", metric="accuracy", probe="linear", train_crop=None, evaluation="whole", evaluation_crop=None,
    clip_seconds=1.0, batch_size=8, steps=400_000, paper_samples=0, paper_classes=2, split_is_official=True,
    layout=("list.csv: file,label,split",), licence="none", url="", citation="",
)

def index(root):
    if not (root / "list.csv").is_file():
        raise CorpusIndexError(f"tones: no list.csv in {root}")
    return TaskIndex(TASK.slots, split_is_official=True)

def read(root):
    for row in csv.DictReader((root / "list.csv").open()):
        if row["label"] not in CLASSES:
            yield Rejected(row["file"], Reason.UNKNOWN_LABEL, f"{row['label']} is neither low nor high", row["split"])
        else:
            yield Clip(row["file"], row["file"], (CLASSES.index(row["label"]),), row["split"], group=row["file"])
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "my_tones.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture
def tones(corpus: Path) -> Path:
    """The small corpus and, in it, the plugin's data set."""
    rows = ["file,label,split"]
    folder = corpus / "tones"
    folder.mkdir()
    time = np.arange(16_000) / 16_000
    for number in range(24):
        kind = ("low", "high")[number % 2]
        name = f"{number}.wav"
        hertz = (200.0, 3000.0)[number % 2] + number
        soundfile.write(folder / name, 0.3 * np.sin(2 * np.pi * hertz * time), 16_000, subtype="PCM_16")
        rows.append(f"{name},{kind},{'test' if number >= 12 else 'train'}")
    rows.append("none.wav,middle,test")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return corpus


def evaluated(tones: Path, plugin: Path, output: Path, encoder: str = "log_mel") -> hares.Result:
    return hares.evaluate(
        encoder, tones, ["tones", "speech_commands_v2"], PROTOCOL, output=output, plugins=[plugin]
    )


@pytest.mark.slow
def test_it_is_scored_beside_the_twelve_and_is_in_no_mean(tones: Path, plugin: Path, tmp_path: Path) -> None:
    result = evaluated(tones, plugin, tmp_path / "own")
    assert [one.task for one in result.tasks] == ["speech_commands_v2", "tones"]
    assert result["tones"].score == 1.0 and result["tones"].clips == 12 and result["tones"].chance == 0.5
    report = json.loads((tmp_path / "own/report.json").read_text())
    assert tuple(report["tasks"]) == task_names()
    entry = report["own_tasks"]["tones"]
    assert entry["missing"] == {"unknown_label": 1} and entry["expected_clips"] == 13
    assert entry["plugin"]["file"] == "my_tones.py" and len(entry["plugin"]["sha256"]) == 64
    alone = hares.evaluate("log_mel", tones, ["speech_commands_v2"], PROTOCOL)
    for mean in ("domains", "hares", "partial_mean", "intervals"):
        assert report[mean] == alone.report[mean], mean
    assert report["partial_mean"]["scored_tasks"] == 1 and report["partial_mean"]["of_tasks"] == 12
    assert "tones" in repr(result) and (tmp_path / "own/manifests/tones.clips.jsonl").is_file()


@pytest.mark.slow
def test_all_that_is_found_is_scored_where_no_task_is_named(tones: Path, plugin: Path) -> None:
    found = hares.evaluate("log_mel", tones, protocol=PROTOCOL, plugins=[plugin])
    assert {one.task for one in found.tasks} == {"esc50", "speech_commands_v2", "tones"}


@pytest.mark.slow
def test_it_is_shown_compared_bundled_and_ranked_without_the_plugin(
    tones: Path, plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    (tmp_path / "noise.py").write_text(
        "import numpy as np\ndef build():\n"
        "    class Level:\n        sample_rate, embedding_size = 16000, 2\n"
        "        def __call__(self, x):\n            return np.stack([x.max(1), x[:, 0]], 1)\n    return Level()\n"
    )
    monkeypatch.chdir(tmp_path)
    evaluated(tones, plugin, tmp_path / "a")
    evaluated(tones, plugin, tmp_path / "b", "python:noise:build")
    hares.evaluate("log_mel", tones, ["speech_commands_v2"], PROTOCOL, output=tmp_path / "without")
    forget_plugins()  # as in another person's process
    for name in ("a", "b"):
        (tmp_path / f"{name}.zip").write_bytes(bundle_bytes(tmp_path / name))
    a, b = load_bundle(tmp_path / "a.zip", "a.zip"), load_bundle(tmp_path / "b.zip", "b.zip")
    assert a.predictions["tones"].score() == 1.0
    (rows,) = differences([a, b])
    assert rows[-1].kind == "own" and rows[-1].name == "tones" and rows[-2].name == "HARES"
    assert rows[-1].paired and rows[-1].paired.difference == pytest.approx(
        b.report["own_tasks"]["tones"]["value"] - 1
    )
    (rows,) = differences([a, load_run(tmp_path / "without", "without")])
    assert rows[-1].paired is None and rows[-1].note == "no answers of without"
    page = render_page([a, b])
    assert "Tones, register" in page and "my_tones.py" in page and "one&#39;s own, in no mean" in page
    assert [row.kind for row in summary_rows(a.report)][-2:] == ["hares", "own"]
    board = build_board([a, load_run(tmp_path / "without", "without")])
    assert board["columns"][-1] == {"name": "tones", "title": "Tones (own)"}
    assert {row["file"]: row["scores"]["tones"] for row in board["tables"][0]["rows"]} == {
        "a.zip": 1.0,
        "without": None,
    }
    assert "Tones (own)" in render_board(board)
    monkeypatch.setattr(sys, "argv", ["hares", "report", "a.zip", "b.zip", "without"])
    main()
    assert "tones" in capsys.readouterr().out


@pytest.mark.slow
def test_a_bundle_whose_own_score_is_not_that_of_its_answers_is_refused(
    tones: Path, plugin: Path, tmp_path: Path
) -> None:
    evaluated(tones, plugin, tmp_path / "a")
    report = json.loads((tmp_path / "a/report.json").read_text())
    report["own_tasks"]["tones"]["value"] = 0.25
    (tmp_path / "a/report.json").write_text(json.dumps(report))
    with pytest.raises(ValueError, match=r"it says 0\.25 for tones, and its predictions give 1\.0"):
        bundle_bytes(tmp_path / "a")
    for name in ("../x", "esc50", "hares", "music"):
        own = {"own_tasks": {name: report["own_tasks"]["tones"]}}
        (tmp_path / "a/report.json").write_text(json.dumps({**report, **own}))
        with pytest.raises(ValueError, match="no name of a task of one's own"):
            load_run(tmp_path / "a", "a")


@pytest.mark.slow
def test_the_command_line_scores_checks_and_imports_no_tensorflow(
    tones: Path, plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["hares", "corpus", "check", str(tones), "--plugin", str(plugin), "--task", "tones", "--json"]
    monkeypatch.setattr(sys, "argv", command)
    main()
    assert json.loads(capsys.readouterr().out)[0]["clips_per_split"] == {"test": 12, "train": 12}
    command = [
        "hares", "evaluate", "--plugin", str(plugin), "--encoder", "log_mel", "--corpus", str(tones),
        "--tasks", "tones", "--protocol", "quick", "--output", "out",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", command)
    main()
    said = capsys.readouterr().out
    assert "tones" in said[said.index("HARES") :] and (tmp_path / "out/predictions/tones.npz").is_file()


RECORDS = [
    ('name="tones"', 'name="esc50"', "one of the twelve"),
    ('name="tones"', 'name="music"', "one of the twelve tasks' or of the means"),
    ('name="tones"', 'name="Tones!"', "lower-case letters"),
    ("TASK = Task(", "TASK = dict(", "must be a hares.task.Task"),
    ('licence="none", ', "", r"it failed \(TypeError: .*'licence'"),
    ('domain="music"', 'domain="noise"', "domain 'noise'; expected one of environment, speech, music"),
    ('label_kind="single"', 'label_kind="one"', "label_kind 'one'; expected one of single, multi, slots"),
    ('label_kind="single"', 'label_kind="multi"', "the metric is 'mAP'"),
    ('probe="linear"', 'probe="slots"', "the probe one of linear, svm"),
    ('probe="linear"', 'probe="svm"', "the SVM is scored on hares.task.FOLDS"),
    ('slots=(Slot("register", CLASSES),)', 'slots=(Slot("register", ("low", "low")),)', "different names"),
    ("batch_size=8", "batch_size=None", "batch_size None"),
    ("clip_seconds=1.0", "clip_seconds=None", "neither clip_seconds"),
    ("clip_seconds=1.0", "clip_seconds='1'", "expected seconds"),
    ('evaluation="whole"', 'evaluation="consecutive"', "no evaluation_crop"),
    ('dataset="tones"', 'dataset="../tones"', "name of a folder below the corpus"),
    ("def index(root)", "def index()", r"no function index\(root\)"),
    ("def read(root)", "def lies(root)", r"no function read\(root\)"),
    ("import csv", "import csv, nowhere", "it failed .ModuleNotFoundError"),
    ("import csv", "import sys; sys.exit(2)", "wanted to end the process"),
    ("TASK = Task(", "OTHER = Task(", "it failed .NameError|neither a TASK nor ENCODERS"),
]


@pytest.mark.parametrize(("before", "after", "message"), RECORDS, ids=[after for _, after, _ in RECORDS])
def test_a_plugin_that_is_no_task_is_refused_by_file_and_leaves_nothing(
    before: str, after: str, message: str, plugin: Path
) -> None:
    assert before in PLUGIN
    plugin.write_text(PLUGIN.replace(before, after))
    with pytest.raises(ValueError, match=message) as caught:
        load_plugin(plugin)
    assert str(plugin) in str(caught.value)
    assert own_task_names() == () and not [name for name in sys.modules if name.startswith(PREFIX)]


LABELS = '(CLASSES.index(row["label"]),)'
READERS = [
    (LABELS, "(7,)", r"clip '0.wav' with labels \(7,\); a label set of sizes \[2\] has none"),
    (LABELS, "(0, 1)", "label_kind 'single' has 1 a clip"),
    (LABELS, "(row['label'],)", "places of their classes"),
    (LABELS, "0", "expected a tuple of whole numbers"),
    ('row["split"], group', '"dev", group', "split 'dev'; expected one of train, test, validation"),
    ('group=row["file"]', "group=None", "group None"),
    ("    for row in csv", "    1 / 0\n    for row in csv", "failed .ZeroDivisionError"),
    ("return TaskIndex(TASK.slots, split_is_official=True)", "return TASK.slots", "expected a hares.task.TaskIndex"),
    ('            yield Rejected(row["file"]', '            yield ("no Rejected"', "expected a hares.task.Clip, or"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "message"), READERS, ids=[after for _, after, _ in READERS])
def test_a_reader_that_cannot_be_scored_is_refused_before_the_encoder_is_loaded(
    before: str, after: str, message: str, plugin: Path, tones: Path
) -> None:
    assert before in PLUGIN
    plugin.write_text(PLUGIN.replace(before, after))
    with pytest.raises(ValueError, match=message) as caught:
        hares.evaluate("saved_model:nowhere", tones, ["tones"], PROTOCOL, plugins=[plugin])
    assert str(plugin) in str(caught.value)


@pytest.mark.slow
def test_an_index_that_cannot_be_used_is_reported_as_of_the_twelve(tones: Path, plugin: Path) -> None:
    (tones / "tones/list.csv").unlink()
    found = evaluated(tones, plugin, tones.parent / "out")
    assert found["tones"].score is None and "no list.csv in" in found["tones"].reason
    assert found["speech_commands_v2"].score is not None


def test_names_are_taken_by_other_plugins_too(plugin: Path, tmp_path: Path) -> None:
    assert load_plugin(plugin).task == "tones" and load_plugin(plugin).task == "tones"
    assert load_task("tones").title == "Tones, register" and "tones" not in task_names()
    (tmp_path / "other.py").write_text(PLUGIN + "# another\n")
    with pytest.raises(ValueError, match="so is the task of another plugin"):
        load_plugin(tmp_path / "other.py")
    with pytest.raises(ValueError, match=r"unknown task 'drums'; there are .*voxforge, tones"):
        load_task("drums")
