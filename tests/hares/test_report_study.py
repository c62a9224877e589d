"""The study's table: correlations, paired claims and their means against numpy and scipy, and hostile names."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import stats

from hares.benchmark import build_report
from hares.predictions import Predictions
from hares.protocol import ProtocolSettings
from hares.report import write_report
from hares.report.paper import PaperRow, paper_column
from hares.report.runs import load_run
from hares.report.study import StudyCell, build_study, claims, correlation, render_study
from hares.scoring import TaskScore
from hares.statistics import draws_seed
from hares.task import DOMAINS, load_task, task_names

SETTINGS = ProtocolSettings(name="quick", bootstrap_resamples=100)
TASKS = [load_task(name) for name in task_names()]
CLIPS = 60


def answers(task, right: np.ndarray) -> Predictions:
    """Test clips of two classes, right where `right` (clips,) says so."""
    labels = np.random.default_rng(0).integers(0, 2, CLIPS)
    scores = np.zeros((1, CLIPS, task.num_classes), np.float32)
    edges = np.cumsum([0] + [len(slot.classes) for slot in task.slots])[:-1]
    for clip in range(CLIPS):
        scores[0, clip, edges + (labels[clip] if right[clip] else 1 - labels[clip])] = 1
    ids = tuple((int(v),) * len(task.slots) for v in labels)
    names = tuple(f"{i}.wav" for i in range(CLIPS))
    return Predictions(task.metric, task.slots, names, ("",) * CLIPS, ids, scores, np.ones(CLIPS))


def scored(task, predictions: Predictions) -> TaskScore:
    return TaskScore(
        task=task, value=predictions.score(), chance=0.5,
        resampled=predictions.resampled(100, draws_seed(task, 0)), seed_scores=tuple(predictions.seed_scores()),
        clips=CLIPS, train_clips=CLIPS, classes_trained=2, classes=task.num_classes, deviations=(), details={},
        predictions=predictions, reason="",
    )  # fmt: skip


CELLS = {  # encoder, objective, share of right answers
    "classification_resnet50_tiny": ("resnet50_tiny", "classification", 0.5),
    "simclr_resnet50_tiny": ("resnet50_tiny", "simclr", 0.6),
    "classification_sf_resnet50_bn_tiny": ("sf_resnet50_bn_tiny", "classification", 0.7),
    "simclr_sf_resnet50_bn_tiny": ("sf_resnet50_bn_tiny", "simclr", 0.9),
    "simclr_sf_nf_resnet50_tiny": ("sf_nf_resnet50_tiny", "simclr", 0.8),
    "byola_byola_cnn_tiny": ("byola_cnn_tiny", "byola", 0.65),
}
ROWS = {
    "classification_resnet50_tiny": PaperRow("table6", "ResNet50"),
    "simclr_resnet50_tiny": PaperRow("table7", "ResNet50"),
    "classification_sf_resnet50_bn_tiny": PaperRow("table8", "SF ResNet50"),
    "simclr_sf_resnet50_bn_tiny": PaperRow("table9", "SF ResNet50"),
    "simclr_sf_nf_resnet50_tiny": PaperRow("table9", "SF NF-ResNet50"),
}


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> list[StudyCell]:
    root = tmp_path_factory.mktemp("cells")
    found = []
    for number, (name, (encoder, objective, share)) in enumerate(CELLS.items()):
        random = np.random.default_rng(number + 1)
        scores = {task.name: scored(task, answers(task, random.random(CLIPS) < share)) for task in TASKS}
        report = build_report(TASKS, scores, {}, {}, SETTINGS, {"name": encoder})
        write_report(report, {n: s.predictions for n, s in scores.items()}, root / name)
        run = load_run(root / name, name)
        found.append(StudyCell(name, encoder, objective, 500_000, ROWS.get(name), run, seconds=1.0))
    return found


@pytest.fixture(scope="module")
def study(cells):
    return json.loads(json.dumps(build_study("try", cells), allow_nan=False))


def test_scores_are_the_reports_and_the_papers_stand_beside(cells, study) -> None:
    for cell, said in zip(cells, study["cells"], strict=True):
        report = cell.run.report
        assert said["state"] == "done" and said["scores"]["hares"] == report["hares"]
        assert said["scores"]["audioset"] == report["tasks"]["audioset"]["value"]
        assert said["intervals"]["hares"] == list(report["intervals"]["hares"])
        assert all(said["scores"][domain] == report["domains"][domain] for domain in DOMAINS)
    assert study["cells"][3]["paper"]["hares"] == pytest.approx(
        paper_column("table9", "SF ResNet50")["hares"] / 100
    )
    assert study["cells"][5]["paper"] is None


def test_correlations_are_numpys_and_scipys() -> None:
    random = np.random.default_rng(0)
    first = random.normal(size=8)
    second = 0.7 * first + random.normal(size=8)
    found = correlation(list(first), list(second))
    r = np.corrcoef(first, second)[0, 1]
    half = stats.norm.ppf(0.975) / np.sqrt(8 - 3)
    assert found["pearson"] == pytest.approx(r) and found["count"] == 8
    assert found["interval"] == pytest.approx(list(np.tanh(np.arctanh(r) + np.array([-half, half]))))
    ranks = [np.argsort(np.argsort(v)) for v in (first, second)]
    assert found["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_no_correlation_of_too_few_or_of_constants() -> None:
    assert correlation([0.1, 0.2], [0.1, 0.2]) is None and correlation([1, 1, 1], [1, 2, 3]) is None
    assert correlation([1, 2, 3], [1, 2, 4])["interval"] is None


def test_correlations_are_over_the_encoders_of_an_objective(cells, study) -> None:
    simclr = [cell.run.report for cell in cells if cell.objective == "simclr"]
    audioset = [report["tasks"]["audioset"]["value"] for report in simclr]
    rows = {(row["objective"], row["with"]): row for row in study["correlations"]}
    # two cells of classification and one of BYOL-A are too few
    assert {objective for objective, _ in rows} == {"simclr", "all"}
    for name in ("speech", "hares"):
        values = [r["hares"] if name == "hares" else r["domains"][name] for r in simclr]
        assert rows["simclr", name]["found"]["pearson"] == pytest.approx(np.corrcoef(audioset, values)[0, 1])
        assert rows["simclr", name]["found"]["count"] == 3 and rows["all", name]["found"]["count"] == 6
    paper = [
        paper_column("table7", "ResNet50"),
        paper_column("table9", "SF ResNet50"),
        paper_column("table9", "SF NF-ResNet50"),
    ]
    expected = np.corrcoef([c["tasks"]["audioset"] for c in paper], [c["hares"] for c in paper])[0, 1]
    assert rows["simclr", "hares"]["paper"]["pearson"] == pytest.approx(expected)


def test_claims_pair_cells_that_differ_in_one_thing(cells) -> None:
    found = {claim.name: [(a.name, b.name) for a, b in claim.pairs] for claim in claims(cells)}
    assert found == {
        "simclr_above_classification": [
            ("classification_resnet50_tiny", "simclr_resnet50_tiny"),
            ("classification_sf_resnet50_bn_tiny", "simclr_sf_resnet50_bn_tiny"),
        ],
        "slowfast_above_plain": [
            ("classification_resnet50_tiny", "classification_sf_resnet50_bn_tiny"),
            ("simclr_resnet50_tiny", "simclr_sf_resnet50_bn_tiny"),
        ],
        "normaliser_free_not_below": [("simclr_sf_resnet50_bn_tiny", "simclr_sf_nf_resnet50_tiny")],
    }


def test_a_full_size_encoder_is_not_paired_with_a_tiny_one() -> None:
    sizes = [
        StudyCell(f"simclr_{encoder}", encoder, "simclr", 1, None, run=object())  # type: ignore[arg-type]
        for encoder in ("nfnet_f0", "nfnet_tiny", "sf_nfnet_f0", "sf_nfnet_tiny")
    ]
    (slowfast,) = (claim for claim in claims(sizes) if claim.name == "slowfast_above_plain")
    assert [(a.encoder, b.encoder) for a, b in slowfast.pairs] == [
        ("nfnet_f0", "sf_nfnet_f0"),
        ("nfnet_tiny", "sf_nfnet_tiny"),
    ]


def test_differences_and_their_means(cells, study) -> None:
    by_name = {cell.name: cell.run.report for cell in cells}
    (claim,) = (claim for claim in study["claims"] if claim["name"] == "simclr_above_classification")
    for name in (*DOMAINS, "hares"):
        value = lambda report: report["hares"] if name == "hares" else report["domains"][name]  # noqa: B023, E731
        apart = [value(by_name[p["second"]]) - value(by_name[p["first"]]) for p in claim["pairs"]]
        assert [p["scores"][name]["difference"] for p in claim["pairs"]] == pytest.approx(apart)
        mean = claim["mean"][name]
        assert mean["difference"] == pytest.approx(np.mean(apart))
        assert mean["above"] == sum(a > 0 for a in apart) and mean["pairs"] == 2
        low, high = mean["interval"]
        assert low < mean["difference"] < high
    hares = claim["mean"]["hares"]
    # Table 2: ResNet50 61.4/67.8, SF ResNet50 63.3/71.7
    assert hares["paper"] == pytest.approx(np.mean([0.678 - 0.614, 0.717 - 0.633]))
    assert (hares["paper_above"], hares["paper_pairs"]) == (2, 2)


def test_the_mean_of_one_pair_twice_is_as_unsure_as_the_pair(cells, study) -> None:
    """Encoders share the clips: saying one thing twice must not make it surer."""
    twice = [
        *(cell for cell in cells if cell.encoder == "resnet50_tiny"),
        *(
            StudyCell(f"{c.name}2", "other", c.objective, 1, None, c.run)
            for c in cells
            if c.encoder == "resnet50_tiny"
        ),
    ]
    (claim,) = (claim for claim in build_study("x", twice)["claims"] if claim["pairs"])
    pair = claim["pairs"][0]["scores"]["hares"]
    assert claim["mean"]["hares"]["pairs"] == 2
    assert claim["mean"]["hares"]["interval"] == pytest.approx(pair["interval"])
    assert claim["mean"]["hares"]["p_value"] == pytest.approx(pair["p_value"])


class Text(HTMLParser):
    """Tags of a page, and what it would load."""

    def __init__(self):
        super().__init__()
        self.tags: set[str] = set()
        self.loads: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href")]


def test_a_page_holds_the_table_and_escapes_what_it_is_given(cells) -> None:
    hostile = "<script>alert('x')</script>"
    some = [
        *cells,
        StudyCell("failed", hostile, "simclr", 1, None, None, error=f"it broke: {hostile}"),
        StudyCell("pending", "vit_tiny", "simclr", 1, None, None),
    ]
    page = render_study(build_study(hostile, some))
    parser = Text()
    parser.feed(page)
    assert "script" not in parser.tags and not parser.loads and "svg" in parser.tags
    assert "&lt;script&gt;" in page and "not run yet" in page and "it broke" in page
    for cell in cells:
        assert f"{100 * cell.run.report['hares']:.1f}" in page
    assert "6 of 8 cells" in " ".join(page.split())


def test_a_study_of_nothing_yet_is_a_page_too() -> None:
    study = build_study("new", [StudyCell("simclr_a", "a", "simclr", 1, None, None)])
    assert study["cells"][0]["state"] == "pending" and "not run yet" in render_study(study)
    assert all(row["found"] is None for row in study["correlations"])
