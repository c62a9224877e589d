"""Scores, report and page: the schema, the means, and hostile names."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score

from hares.benchmark import CorpusSummary, build_report, corpus_summary
from hares.embedding.task_embeddings import TaskEmbeddings, empty_embeddings
from hares.predictions import encode_predictions, load_predictions
from hares.protocol import ProtocolSettings
from hares.report import percent, summary_rows, write_report
from hares.scoring import score_task
from hares.statistics import difference_of, paired_difference
from hares.task import DOMAINS, load_task, task_names

SETTINGS = ProtocolSettings(
    name="quick",
    max_steps=60,
    learning_rate=5e-2,
    crops_per_clip=2,
    augmented_epochs=2,
    penalties=(1e-2,),
    bootstrap_resamples=200,
    probe_seeds=2,
)
TASKS = [load_task(name) for name in task_names()]
HOSTILE = "<script>alert('x')</script>/clip"


def synthetic(task, seed, informative=True, clips=40):
    """Embeddings of a data set of the task's kind, with two crops a role and groups of two clips."""
    random = np.random.default_rng(seed)
    sizes = [min(3, len(slot.classes)) for slot in task.slots]
    if task.label_kind == "multi":
        labels = [tuple(sorted(set(random.integers(0, 3, 2).tolist()))) for _ in range(clips)]
    else:
        labels = [tuple(int(random.integers(0, size)) for size in sizes) for _ in range(clips)]
    if task.folds:
        splits = [f"fold{1 + i % 5}" for i in range(clips)]
    else:
        splits = ["train" if i < clips // 2 else "test" for i in range(clips)]
    code = np.zeros((clips, 12))
    for clip, ids in enumerate(labels):
        for slot, label in enumerate(ids):
            code[clip, (0 if task.label_kind == "multi" else 3 * slot) + label] = 1
    roles = [[0, 0, 1, 1] if task.folds else [int(split == "test")] * 2 for split in splits]
    index = np.concatenate([[clip] * len(role) for clip, role in enumerate(roles)])
    signal = code[index] if informative else 0
    return TaskEmbeddings(
        embeddings=(signal + 0.3 * random.normal(size=(len(index), 12))).astype(np.float32),
        clip_index=index,
        role=np.concatenate(roles).astype(np.int8),
        partner=index,
        mix_weight=np.ones(len(index), np.float32),
        clip_ids=tuple(f"{HOSTILE} {i}" for i in range(clips)),
        splits=tuple(splits),
        groups=tuple(f"g{i // 2}" for i in range(clips)),
        labels=tuple(labels),
    )


@pytest.fixture(scope="module")
def scores():
    return {task.name: score_task(task, task.slots, synthetic(task, 0), SETTINGS) for task in TASKS}


@pytest.fixture(scope="module")
def untrained():
    return {
        task.name: score_task(task, task.slots, synthetic(task, 0, informative=False), SETTINGS)
        for task in TASKS
    }


SOURCES = {
    task.name: CorpusSummary(
        50,
        {"absent": 9, "undecodable": 1},
        task.split_is_official,
        ("a stand-in corpus",),
        listed=100,
        used=90,
    )
    for task in TASKS
}
ENCODER = {"name": "sf_nfnet_tiny", "weights_digest": "0" * 64}


@pytest.fixture(scope="module")
def report(scores, untrained):
    return build_report(TASKS, scores, untrained, SOURCES, SETTINGS, ENCODER)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_task_is_scored_as_scikit_learn_scores_it(task, scores):
    score = scores[task.name]
    answers = score.predictions
    if task.metric == "mAP":
        targets = np.zeros(answers.scores.shape[1:], bool)
        for clip, ids in enumerate(answers.labels):
            targets[clip, list(ids)] = True
        present = targets.any(axis=0)
        expected = [
            average_precision_score(targets[:, present], seed[:, present], average="macro")
            for seed in answers.scores
        ]
    else:
        edges = np.cumsum([0] + [len(slot.classes) for slot in task.slots])
        expected = []
        for seed in answers.scores:
            chosen = [seed[:, a:b].argmax(1) for a, b in pairwise(edges)]
            joint = [str(tuple(map(int, j))) for j in zip(*chosen, strict=True)]
            expected.append(accuracy_score(list(map(str, answers.labels)), joint))
    assert len(expected) == (1 if task.folds else 2)
    assert score.seed_scores == pytest.approx(expected, abs=1e-6)
    assert score.value == pytest.approx(np.mean(expected), abs=1e-6)
    assert score.value > score.chance
    assert score.interval[0] <= score.value <= score.interval[1]
    assert score.clips == (40 if task.folds else 20)
    assert score.reason == ""
    assert any("paper:" in sentence for sentence in score.deviations) or task.name == "esc50"


def test_folds_of_unequal_size_weigh_the_same():
    task = load_task("esc50")
    data = synthetic(task, 1)
    splits = tuple("fold1" if i < 20 else f"fold{2 + i % 4}" for i in range(40))
    score = score_task(task, task.slots, replace(data, splits=splits), SETTINGS)
    right = dict(zip(score.predictions.clip_ids, score.predictions.correct()[0], strict=True))
    means = [
        np.mean([right[name] for name, split in zip(data.clip_ids, splits, strict=True) if split == fold])
        for fold in ("fold1", "fold2", "fold3", "fold4", "fold5")
    ]
    assert score.value == pytest.approx(np.mean(means))


def test_report_schema_and_means(report):
    assert set(report["tasks"]) == set(task_names())
    for entry in report["tasks"].values():
        assert (entry["small_sample_bias"] is None) == (entry["metric"] == "accuracy")
    needed = {"domain", "metric", "value", "chance", "untrained", "clips", "expected_clips", "deviations"}
    for entry in report["tasks"].values():
        assert needed | {"interval", "train_clips", "missing", "split_official", "paper", "leakage"} <= set(
            entry
        )
        assert entry["manifest"] == {
            "expected": 100,
            "present": 90,
            "missing": 9,
            "unreadable": 1,
            "share": 0.9,
            "split_official": entry["split_official"],
        }
        assert entry["expected_clips"] == 50
        assert entry["deviations"][-1] == "a stand-in corpus"
        assert entry["above_untrained"]["difference"] == pytest.approx(entry["value"] - entry["untrained"])
    for part, key in ((report, "value"), (report["untrained"], "untrained")):
        by_domain = {
            domain: np.mean([e[key] for e in report["tasks"].values() if e["domain"] == domain])
            for domain in DOMAINS
        }
        assert part["domains"] == pytest.approx(by_domain)
        assert part["hares"] == pytest.approx(np.mean([e[key] for e in report["tasks"].values()]))
        assert part["partial_mean"]["hares"] == pytest.approx(part["hares"])
    assert report["protocol"]["name"] == "quick"
    assert report["encoder"] == ENCODER
    assert report["paper"]["sf_nfnet_f0_simclr"]["hares"] == 0.746
    assert report["tasks"]["nsynth_pitch"]["paper"]["sf_nfnet_f0_classification"] == 0.799
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_a_missing_task_leaves_no_mean_that_could_be_mistaken_for_hares(scores, untrained):
    partial = {name: score for name, score in scores.items() if name not in ("esc50", "voxforge")}
    partial["voxforge"] = score_task(
        load_task("voxforge"), load_task("voxforge").slots, empty_embeddings(), SETTINGS
    )
    report = build_report(TASKS, partial, {}, {}, SETTINGS, ENCODER)
    assert report["hares"] is None
    assert report["domains"]["environment"] is None
    assert report["domains"]["speech"] is None
    assert report["domains"]["music"] is not None
    values = [s.value for s in partial.values() if s.value is not None]
    assert report["partial_mean"]["hares"] == pytest.approx(np.mean(values))
    assert report["partial_mean"]["scored_tasks"] == 10
    assert report["tasks"]["voxforge"]["reason"] == "no training clips"
    assert report["tasks"]["esc50"]["reason"] == "not part of this run"
    assert report["tasks"]["tut18"]["untrained"] is None
    assert report["tasks"]["tut18"]["expected_clips"] is None
    rows = {row.name: row for row in summary_rows(report)}
    assert rows["HARES"].note.startswith("10 of 12 tasks scored")
    assert rows["esc50"].value is None


def only(data, keep):
    clips = [i for i in range(len(data.clip_ids)) if keep(data.splits[i], data.labels[i])]
    place = {clip: i for i, clip in enumerate(clips)}
    rows = [row for row, clip in enumerate(data.clip_index) if clip in place]
    index = np.asarray([place[data.clip_index[row]] for row in rows], np.int64)
    return TaskEmbeddings(
        data.embeddings[rows],
        index,
        data.role[rows],
        index,
        data.mix_weight[rows],
        *(
            tuple(values[i] for i in clips)
            for values in (data.clip_ids, data.splits, data.groups, data.labels)
        ),
    )


@pytest.mark.parametrize(
    ("name", "keep", "reason"),
    [
        ("tut18", lambda split, labels: split == "test", "no training clips"),
        ("tut18", lambda split, labels: split == "train", "no test clips"),
        ("tut18", lambda split, labels: split == "test" or labels == (1,), "fewer than two classes"),
        ("fluent_speech_commands", lambda s, ids: s == "test" or ids == (1, 1, 1), "fewer than two classes"),
        ("esc50", lambda split, labels: split not in ("fold2", "fold4"), "no clips in fold2, fold4"),
        ("magnatagatune", lambda split, labels: False, "no training clips"),
    ],
)
def test_not_scored_with_the_reason(name, keep, reason):
    task = load_task(name)
    data = synthetic(task, 0)
    if name == "fluent_speech_commands":
        data = replace(data, labels=((1, 1, 1), *data.labels[1:]))
    score = score_task(task, task.slots, only(data, keep), SETTINGS)
    assert score.value is None
    assert score.reason.startswith(reason)


def test_multi_label_test_clips_without_any_label():
    task = load_task("audioset")
    data = synthetic(task, 0)
    labels = tuple(() if s == "test" else ids for s, ids in zip(data.splits, data.labels, strict=True))
    score = score_task(task, task.slots, replace(data, labels=labels), SETTINGS)
    assert score.reason == "no test clip has any of the classes"


def test_labels_outside_the_label_set_are_named():
    task = load_task("tut18")
    data = synthetic(task, 0)
    with pytest.raises(ValueError, match=r"clip 7. has labels \(10,\)"):
        score_task(
            task, task.slots, replace(data, labels=(*data.labels[:7], (10,), *data.labels[8:])), SETTINGS
        )


def test_predictions_round_trip_and_paired_comparison(tmp_path, scores, untrained):
    for name in ("fluent_speech_commands", "audioset"):
        answers = scores[name].predictions
        (tmp_path / "p.npz").write_bytes(encode_predictions(answers))
        back = load_predictions(tmp_path / "p.npz")
        np.testing.assert_array_equal(back.scores, answers.scores)
        assert replace(back, scores=0, weights=0) == replace(answers, scores=0, weights=0)
        assert back.score() == scores[name].value
        other = untrained[name].predictions
        assert back.about_same_clips(other)
        found = paired_difference(difference_of(back.resampled(99, seed=0), other.resampled(99, seed=0)))
        assert found.difference == pytest.approx(scores[name].value - untrained[name].value)
        assert found.low > 0
        assert found.p_value < 0.05
    assert not scores["tut18"].predictions.about_same_clips(scores["audioset"].predictions)


def test_manifest_of_ingestion_becomes_a_summary():
    manifest = {
        "splits": {"train": {"listed": 5, "used": 4}, "test": {"listed": 3, "used": 2}},
        "rejected": {"absent": 2},
        "split_is_official": True,
        "deviations": ["d"],
    }
    assert corpus_summary(manifest) == CorpusSummary(3, {"absent": 2}, True, ("d",), listed=8, used=6)
    manifest["splits"] = {f"fold{i}": {"listed": 400, "used": 400} for i in range(1, 6)}
    assert corpus_summary(manifest).expected_clips == 2000


class Page(HTMLParser):
    """What a browser would find: tags, where they point, and the text."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.links, self.text, self.open = [], [], "", []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for key, value in attributes if key in ("src", "href", "srcset", "xlink:href")]
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_files_of_a_report(tmp_path, report, untrained):
    answers = {name: score.predictions for name, score in untrained.items()}
    write_report(report, answers, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert sorted(p.stem for p in (tmp_path / "predictions").iterdir()) == list(task_names())
    first = {p: p.read_bytes() for p in tmp_path.rglob("*.*")}
    write_report(report, answers, tmp_path)
    assert first == {p: p.read_bytes() for p in tmp_path.rglob("*.*")}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report({**report, "hares": float("nan")}, {}, tmp_path)


def test_page_is_self_contained_complete_and_escaped(tmp_path, report, untrained):
    answers = {name: score.predictions for name, score in untrained.items()}
    write_report(report, answers, tmp_path)
    source = (tmp_path / "report.html").read_text()
    page = Page(source)
    assert page.open == []
    assert "script" not in page.tags
    assert HOSTILE in page.text  # shown, as text
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not re.search(r"url\(|@import|https?://", source)
    assert "prefers-color-scheme: dark" in source
    assert 'name="viewport"' in source
    for entry in report["tasks"].values():
        assert entry["title"] in page.text
        assert percent(entry["value"]) in page.text
        assert percent(entry["paper"]["sf_nfnet_f0_simclr"]) in page.text
        assert all(sentence in page.text for sentence in entry["deviations"])
    assert "9 absent, 1 undecodable" in page.text
    assert percent(report["hares"]) in page.text
    assert "not comparable with the paper's" in re.sub(r"\s+", " ", page.text)


def test_page_of_an_empty_run(tmp_path):
    report = build_report(TASKS, {}, {}, {}, ProtocolSettings(), {})
    write_report(report, {}, tmp_path)
    text = Page((tmp_path / "report.html").read_text()).text
    assert "0 of 12 tasks are scored" in re.sub(r"\s+", " ", text)
    assert percent(None) == "–"


def test_summary_rows_follow_the_domains(report):
    rows = summary_rows(report)
    assert [row.kind for row in rows] == (
        ["task"] * 4 + ["domain"] + ["task"] * 5 + ["domain"] + ["task"] * 3
    ) + [
        "domain",
        "hares",
    ]
    assert rows[-1].value == report["hares"]
    assert rows[-1].paper["sf_nfnet_f0_simclr"] == 0.746
    assert rows[-1].chance == pytest.approx(np.mean([e["chance"] for e in report["tasks"].values()]))
