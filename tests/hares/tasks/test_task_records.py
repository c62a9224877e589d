"""Every task's record against the paper: table 1 and appendix A, number by number."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from hares.task import DOMAINS, load_task, load_task_module, task_names

# fmt: off
# Copied from the paper. crop, subclip: seconds, None for the whole clip. batch and steps: None for the SVM.
PAPER = {
    # name:                  (domain, samples, classes, logits, metric, probe, crop, rule, subclip, batch,
    # steps)
    "audioset":               ("environment", 1_900_000, 527, 527, "mAP", "mlp", 3, "equally_spaced", 3, 128, 200_000),
    "birdsong":               ("environment", 36_000, 2, 2, "accuracy", "linear", 1, "consecutive", 1, 64, 400_000),
    "tut18":                  ("environment", 8_600, 10, 10, "accuracy", "linear", 5, "consecutive", 5, 64, 400_000),
    "esc50":                  ("environment", 2_000, 50, 50, "accuracy", "svm", None, "whole", None, None, None),
    "speech_commands_v1":     ("speech", 90_000, 12, 12, "accuracy", "linear", None, "whole", None, 64, 400_000),
    "speech_commands_v2":     ("speech", 96_000, 35, 35, "accuracy", "linear", None, "whole", None, 64, 400_000),
    "fluent_speech_commands": ("speech", 27_000, 31, 24, "accuracy", "slots", 3, "consecutive", 3, 64, 400_000),
    "voxforge":               ("speech", 145_000, 6, 6, "accuracy", "linear", 3, "consecutive", 3, 64, 400_000),
    "voxceleb1":              ("speech", 147_000, 1251, 1251, "accuracy", "linear", 3, "consecutive", 3, 64, 400_000),
    "nsynth_instrument":      ("music", 293_000, 11, 11, "accuracy", "linear", None, "whole", None, 64, 400_000),
    "nsynth_pitch":           ("music", 293_000, 128, 128, "accuracy", "linear", 1, "consecutive", 1, 64, 400_000),
    "magnatagatune":          ("music", 26_000, 50, 50, "mAP", "linear", 3, "consecutive", 3, 128, 20_000),
}
TABLE_1 = {  # the rows as they are printed
    "audioset": "AudioSet	Audio tagging	1.9m	527", "birdsong": "Birdsong	Animal sound	36k	2",
    "tut18": "TUT18	Acoustic Scenes	8.6k	10", "esc50": "ESC-50	Acoustic Scenes	2.0k	50",
    "speech_commands_v1": "Speech Comm. v1	Keyword	90k	12",
    "speech_commands_v2": "Speech Comm. v2	Keyword	96k	35",
    "fluent_speech_commands": "Fluent Speech Comm.	Intention	27k	31",
    "voxforge": "VoxForge	Language id	145k	6", "voxceleb1": "VoxCeleb	Speaker id	147k	1251",
    "nsynth_instrument": "NSynth Instrument	Instrument id	293k	11",
    "nsynth_pitch": "NSynth Pitch	Pitch estimation	293k	128",
    "magnatagatune": "MagnaTagATune	Music tagging	26k	50",
}
# fmt: on


def test_there_are_the_twelve() -> None:
    assert task_names() == tuple(sorted(PAPER))
    assert {load_task(name).domain for name in task_names()} == set(DOMAINS)


@pytest.mark.parametrize("name", sorted(PAPER))
def test_record_is_the_papers(name: str) -> None:
    task = load_task(name)
    assert task.name == name
    assert (
        task.domain,
        task.paper_samples,
        task.paper_classes,
        task.num_classes,
        task.metric,
        task.probe,
        task.train_crop,
        task.evaluation,
        task.evaluation_crop,
        task.batch_size,
        task.steps,
    ) == PAPER[name]


@pytest.mark.parametrize("name", sorted(PAPER))
def test_record_is_whole(name: str) -> None:
    task = load_task(name)
    assert (task.clip_seconds is not None) == (task.evaluation == "whole" or name == "nsynth_pitch")
    assert task.layout and task.licence and task.url.startswith("https://") and task.citation
    assert (task.label_kind == "slots") == (len(task.slots) == 3)
    assert (task.label_kind == "multi") == (task.metric == "mAP")
    for slot in task.slots:
        assert len(set(slot.classes)) == len(slot.classes)
    assert load_task_module(name).__doc__.split("\n")[0].endswith("(paper appendix A).")


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("esc50", 5),
        ("speech_commands_v1", 1),
        ("speech_commands_v2", 1),
        ("nsynth_instrument", 4),
        ("nsynth_pitch", 4),
    ],
)
def test_clips_have_the_papers_length(name: str, length: int) -> None:
    assert load_task(name).clip_seconds == length


@pytest.mark.parametrize("name", ["birdsong", "tut18", "voxforge"])
def test_splits_that_no_data_set_ships_are_marked(name: str) -> None:
    assert not load_task(name).split_is_official


@pytest.mark.corpus
def test_table_1_as_printed(shared_corpus: Path) -> None:
    text = (shared_corpus.parent / "paper.txt").read_text(encoding="utf-8")
    for name, row in TABLE_1.items():
        assert row in text
        samples, classes = row.split("\t")[2:]
        scale = {"m": 1_000_000, "k": 1_000}[samples[-1]]
        task = load_task(name)
        assert (task.paper_samples, task.paper_classes) == (round(float(samples[:-1]) * scale), int(classes))


@pytest.mark.corpus
def test_audioset_labels_are_googles(shared_corpus: Path) -> None:
    with open(shared_corpus / "audioset" / "class_labels_indices.csv", encoding="utf-8", newline="") as file:
        names = [row["display_name"] for row in csv.DictReader(file)]
    assert list(load_task("audioset").slots[0].classes) == names


def test_an_unknown_task_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"unknown task 'esc10'; there are audioset, birdsong"):
        load_task("esc10")
