"""Metrics against scikit-learn; intervals against closed forms and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score

from hares.metrics import (
    RankedScores,
    chance_accuracy,
    chance_average_precision,
    commonest_answer,
    mean_average_precision,
    multi_hot,
    weighted_accuracy,
)
from hares.statistics import bootstrap_interval, paired_difference


def sample(clips, classes, seed, levels=None):
    random = np.random.default_rng(seed)
    scores = random.random((clips, classes)).astype(np.float32)
    if levels:
        scores = np.floor(scores * levels) / levels
    return scores, random.random((clips, classes)) < random.uniform(0.02, 0.5, classes)


@pytest.mark.parametrize("levels", [None, 1, 2, 7])
@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_scikit_learns(seed, levels):
    scores, targets = sample(90, 30, seed, levels)
    targets[:, 4] = False
    present = targets.any(axis=0)
    expected = np.mean(
        [average_precision_score(targets[:, k], scores[:, k]) for k in np.flatnonzero(present)]
    )
    assert mean_average_precision(scores, targets) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("levels", [None, 3])
@pytest.mark.parametrize("seed", range(5))
def test_multiplicities_equal_repeated_clips(seed, levels):
    scores, targets = sample(60, 8, seed, levels)
    counts = np.random.default_rng(seed).integers(0, 4, 60)
    repeated = np.repeat(np.arange(60), counts)
    expected = [
        average_precision_score(targets[repeated, k], scores[repeated, k])
        for k in range(8)
        if targets[repeated, k].any()
    ]
    found = RankedScores(scores, targets).mean_average_precision(counts.astype(float))
    assert found == pytest.approx(np.mean(expected), abs=1e-9)


def test_average_precision_undefined_and_malformed():
    assert np.isnan(mean_average_precision(np.zeros((3, 2)), np.zeros((3, 2), bool)))
    with pytest.raises(ValueError, match="not finite"):
        mean_average_precision(np.full((3, 2), np.nan), np.ones((3, 2), bool))
    with pytest.raises(ValueError, match=r"\(clips, classes\)"):
        mean_average_precision(np.zeros((3, 2)), np.zeros((3, 3), bool))


def test_accuracy_is_scikit_learns():
    random = np.random.default_rng(0)
    truth, answer, weights = random.integers(0, 3, 50), random.integers(0, 3, 50), random.random(50)
    expected = accuracy_score(truth, answer, sample_weight=weights)
    assert weighted_accuracy(truth == answer, weights) == pytest.approx(expected)


def test_chance():
    assert commonest_answer([(2,), (1,), (2,), (1,), (0,)]) == (1,)
    assert commonest_answer([(1, 0, 3), (1, 0, 3), (0, 9, 9)]) == (1, 0, 3)
    assert chance_accuracy([(0,), (1,), (1,)], [(1,), (0,), (0,), (0,)]) == 0.25
    _, targets = sample(70, 9, 3)
    targets[:, 2] = False
    constant = mean_average_precision(np.full(targets.shape, 0.3), targets)
    assert chance_average_precision(targets) == pytest.approx(constant)


def test_multi_hot():
    assert multi_hot([(0, 2), (), (1,)], 3).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_interval_of_a_proportion_matches_the_normal_approximation():
    correct = np.arange(900) % 10 < 7
    low, high = bootstrap_interval(lambda w: weighted_accuracy(correct, w), [""] * 900, 2000, seed=0)
    half = 1.96 * np.sqrt(0.7 * 0.3 / 900)
    assert low == pytest.approx(0.7 - half, abs=0.004)
    assert high == pytest.approx(0.7 + half, abs=0.004)


def test_groups_are_resampled_whole():
    correct = np.repeat([True, False] * 20, 25)
    groups = [f"speaker {i // 25}" for i in range(1000)]
    statistic = lambda w: weighted_accuracy(correct, w)  # noqa: E731
    low, high = bootstrap_interval(statistic, groups, 2000, seed=0)
    half = 1.96 * np.sqrt(0.25 / 40)  # 40 speakers, not 1000 clips
    assert high - low == pytest.approx(2 * half, rel=0.1)
    assert bootstrap_interval(statistic, ["one"] * 1000, 10, seed=0) is None


def test_intervals_are_seeded():
    scores, targets = sample(40, 5, 0)
    statistic = RankedScores(scores, targets).mean_average_precision
    first = bootstrap_interval(statistic, [""] * 40, 50, seed=3)
    assert first == bootstrap_interval(statistic, [""] * 40, 50, seed=3)
    assert first != bootstrap_interval(statistic, [""] * 40, 50, seed=4)


def test_interval_skips_resamples_without_positives():
    targets = np.zeros((4, 1), bool)
    targets[0] = True
    found = bootstrap_interval(
        RankedScores(np.eye(4)[:, :1], targets).mean_average_precision, [""] * 4, 200, 0
    )
    assert found == (1.0, 1.0)


def test_interval_of_mean_average_precision_holds_the_score():
    """Rare classes, whose resamples all score too high before they are centred."""
    random = np.random.default_rng(0)
    targets = random.random((2000, 40)) < 0.005
    scores = random.normal(size=targets.shape) + 2 * targets
    statistic = RankedScores(scores, targets).mean_average_precision
    value = statistic(np.ones(2000))
    low, high = bootstrap_interval(statistic, [""] * 2000, 100, seed=0)
    assert (low + high) / 2 == pytest.approx(value, abs=0.01)
    # Its width is that of new test sets drawn from where this one came.
    fresh = []
    for _ in range(60):
        other = random.random(targets.shape) < 0.005
        fresh.append(mean_average_precision(random.normal(size=other.shape) + 2 * other, other))
    assert high - low == pytest.approx(2 * 1.96 * np.std(fresh), rel=0.4)


def test_paired_difference():
    random = np.random.default_rng(0)
    first = random.random(400) < 0.8
    second = first & (random.random(400) < 0.9)
    accuracy = lambda correct: lambda w: weighted_accuracy(correct, w)  # noqa: E731
    found = paired_difference(accuracy(first), accuracy(second), [""] * 400, 999, seed=0)
    assert found.difference == pytest.approx(first.mean() - second.mean())
    spread = 1.96 * (first.astype(float) - second).std() / 20  # of the paired differences, not of two samples
    assert found.high - found.low == pytest.approx(2 * spread, rel=0.15)
    assert found.p_value == pytest.approx(2 / 1000)
    same = paired_difference(accuracy(first), accuracy(first), [""] * 400, 999, seed=0)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
