"""Metrics against scikit-learn; intervals against closed forms and simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import accuracy_score, average_precision_score

from hares.metrics import (
    RankedScores,
    chance_accuracy,
    chance_average_precision,
    commonest_answer,
    mean_average_precision,
    multi_hot,
    share_of_positives,
)
from hares.statistics import (
    difference_of,
    draws_seed,
    group_ids,
    grouped_mean,
    interval,
    mean_of,
    paired_difference,
    resample,
)
from hares.task import load_task, task_names

pytestmark = pytest.mark.slow


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
    accuracy = grouped_mean((truth == answer).astype(float), weights, np.arange(50))
    assert accuracy(np.ones(50)) == pytest.approx(expected)


def test_chance():
    assert commonest_answer([(2,), (1,), (2,), (1,), (0,)]) == (1,)
    assert commonest_answer([(1, 0, 3), (1, 0, 3), (0, 9, 9)]) == (1, 0, 3)
    assert chance_accuracy([(0,), (1,), (1,)], [(1,), (0,), (0,), (0,)]) == 0.25
    _, targets = sample(70, 9, 3)
    targets[:, 2] = False
    constant = mean_average_precision(np.full(targets.shape, 0.3), targets)
    assert share_of_positives(targets) == pytest.approx(constant)


@pytest.mark.parametrize(("clips", "shares"), [(9, (0.12, 0.4)), (30, (0.04, 0.5, 1.0)), (200, (0.005, 0.1))])
def test_chance_of_map_is_the_mean_over_random_rankings(clips, shares):
    """scikit-learn's average precision of shuffled scores, class by class; one class has no positive."""
    random = np.random.default_rng(clips)
    targets = np.zeros((clips, len(shares) + 1), bool)
    for k, share in enumerate(shares):
        targets[: max(1, round(share * clips)), k] = True
    each = [
        [average_precision_score(targets[:, k], random.permutation(clips)) for k in range(len(shares))]
        for _ in range(1500)
    ]
    error = np.std(np.mean(each, axis=1)) / np.sqrt(len(each))
    assert chance_average_precision(targets) == pytest.approx(np.mean(each), abs=4 * error)
    assert chance_average_precision(targets) > share_of_positives(targets) + 3 * error


def test_chance_of_map_at_its_edges():
    one, all_ = np.ones((1, 1), bool), np.ones((5, 2), bool)
    assert chance_average_precision(one) == chance_average_precision(all_) == pytest.approx(1)
    single = np.zeros((4, 1), bool)
    single[2] = True
    assert chance_average_precision(single) == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_multi_hot():
    assert multi_hot([(0, 2), (), (1,)], 3).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def named(groups):
    return [f"group {number}" for number in range(groups)]


def resampled(statistic, groups, resamples=2000, seed=0):
    return resample(statistic, named(groups), resamples, seed)


def accuracy(correct, ids=None):
    correct = np.asarray(correct, float)
    return grouped_mean(correct, np.ones(len(correct)), np.arange(len(correct)) if ids is None else ids)


def test_groups_are_numbered_and_clips_without_one_stand_alone():
    ids, names = group_ids(["a", "", "b", "a", ""], ["1", "2", "3", "4", "a"])
    assert ids.tolist() == [0, 1, 2, 0, 3] and names == ["a", "2", "b", "a"]


def test_resamples_are_those_of_scipys_bootstrap():
    """Draws differ, so the standard errors of many resamples are held against each other."""
    correct = np.random.default_rng(0).random(250) < 0.7
    ours = resampled(accuracy(correct), 250, 5000)
    theirs = scipy.stats.bootstrap((correct.astype(float),), np.mean, n_resamples=5000, random_state=1)
    assert ours.standard_error == pytest.approx(theirs.standard_error, rel=0.05)
    assert ours.values.mean() == pytest.approx(correct.mean(), abs=0.003)


def test_interval_is_wilsons():
    correct = np.arange(900) % 10 < 7
    low, high = interval(resampled(accuracy(correct), 900, 4000))
    expected = scipy.stats.binomtest(630, 900).proportion_ci(0.95, "wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.002)


def test_interval_of_a_perfect_score_says_how_few_clips_there_were():
    low, high = interval(resampled(accuracy(np.ones(30)), 30, 50))
    expected = scipy.stats.binomtest(30, 30).proportion_ci(0.95, "wilson")
    assert high == 1 and low == pytest.approx(expected.low, abs=0.01)
    low, high = interval(resampled(accuracy(np.zeros(30)), 30, 50))
    assert low == 0 and high == pytest.approx(1 - expected.low, abs=0.01)


@pytest.mark.parametrize(
    ("clips", "size", "truth"),
    [(60, 1, 0.6), (200, 1, 0.8), (200, 1, 0.97), (1000, 1, 0.35), (320, 8, 0.75)],
    ids=["few", "some", "near the top", "many", "groups of eight"],
)
def test_intervals_cover_the_truth(clips, size, truth):
    """Clips of one group are right together, with a chance drawn for the group; the truth is its mean."""
    random = np.random.default_rng(clips + size)
    ids, groups = np.arange(clips) // size, named(clips // size)
    inside, simulations = 0, 1500
    for number in range(simulations):
        chance = random.beta(4 * truth, 4 * (1 - truth), clips // size) if size > 1 else np.full(clips, truth)
        correct = random.random(clips) < chance[ids]
        low, high = interval(resample(accuracy(correct, ids), groups, 200, number))
        inside += low <= truth <= high
    assert 0.93 <= inside / simulations <= 0.97


@pytest.mark.parametrize(("clips", "truth", "shared"), [(200, 0.6, 0.0), (400, 0.8, 0.5), (1000, 0.9, 0.7)])
def test_paired_test_is_fooled_one_time_in_twenty(clips, truth, shared):
    """Two encoders of equal accuracy, which agree on a share of the clips."""
    random = np.random.default_rng(clips)
    groups = named(clips)
    rejected, simulations = 0, 2000
    for number in range(simulations):
        base, *own = random.random((3, clips)) < truth
        same = random.random(clips) < shared
        both = [resample(accuracy(np.where(same, base, one)), groups, 200, number) for one in own]
        rejected += paired_difference(difference_of(*both)).p_value < 0.05
    assert 0.04 <= rejected / simulations <= 0.06


def test_paired_test_is_the_paired_t_test():
    random = np.random.default_rng(0)
    first = random.random(400) < 0.8
    second = first & (random.random(400) < 0.97)
    found = paired_difference(difference_of(*(resampled(accuracy(x), 400, 20_000) for x in (first, second))))
    expected = scipy.stats.ttest_rel(first.astype(float), second.astype(float))
    assert found.difference == pytest.approx(first.mean() - second.mean())
    assert found.p_value == pytest.approx(expected.pvalue, rel=0.25)
    bounds = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high), abs=0.002)


def test_encoders_that_answer_alike_do_not_differ():
    correct = np.random.default_rng(0).random(100) < 0.5
    same = paired_difference(
        difference_of(resampled(accuracy(correct), 100), resampled(accuracy(correct), 100))
    )
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    with pytest.raises(ValueError, match="not paired"):
        paired_difference(
            difference_of(resampled(accuracy(correct), 100, 50), resampled(accuracy(correct), 100, 60))
        )


def test_groups_are_resampled_whole():
    correct = np.repeat([True, False] * 20, 25)
    ids, _ = group_ids([f"speaker {i // 25}" for i in range(1000)], [""] * 1000)
    found = resampled(accuracy(correct, ids), 40)
    assert found.standard_error == pytest.approx(np.sqrt(0.25 / 39), rel=0.06)  # 40 speakers, not 1000 clips
    assert resample(accuracy(correct, np.zeros(1000, int)), ["one"], 10, seed=0) is None


def ranked(scores, targets):
    own = RankedScores(scores, targets)
    return lambda counts: np.asarray([own.mean_average_precision(row) for row in counts])


def test_resamples_are_seeded():
    scores, targets = sample(40, 5, 0)
    first, again, other = (resampled(ranked(scores, targets), 40, 50, seed).values for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_interval_skips_resamples_without_positives():
    targets = np.zeros((4, 1), bool)
    targets[0] = True
    found = resampled(ranked(np.eye(4)[:, :1], targets), 4, 200)
    assert np.isnan(found.values).any()
    assert interval(found)[1] == 1


def test_interval_of_mean_average_precision_holds_the_score():
    """Rare classes: the interval lies around the score, as wide as new test sets from the same clips would be."""
    random = np.random.default_rng(0)
    targets = random.random((2000, 40)) < 0.005
    scores = random.normal(size=targets.shape) + 2 * targets
    low, high = interval(resampled(ranked(scores, targets), 2000, 100))
    assert (low + high) / 2 == pytest.approx(mean_average_precision(scores, targets), abs=0.01)
    fresh = []
    for _ in range(60):
        other = random.random(targets.shape) < 0.005
        fresh.append(mean_average_precision(random.normal(size=other.shape) + 2 * other, other))
    assert high - low == pytest.approx(2 * 1.96 * np.std(fresh), rel=0.4)


@pytest.mark.parametrize("groups", [2, 3, 7, 40])
def test_the_standard_error_of_a_mean_is_its_own_for_any_number_of_groups(groups):
    correct = np.random.default_rng(0).random(groups) < 0.5
    correct[:2] = True, False
    found = resampled(accuracy(correct), groups, 40_000)
    assert found.standard_error == pytest.approx(correct.std(ddof=1) / np.sqrt(groups), rel=0.02)


def test_a_mean_of_tasks_adds_up_their_errors():
    random = np.random.default_rng(0)
    parts = [
        resampled(accuracy(random.random(500) < p), 500, seed=seed) for seed, p in enumerate((0.5, 0.7, 0.9))
    ]
    mean = mean_of(parts)
    assert mean.score == pytest.approx(np.mean([part.score for part in parts]))
    assert 1000 < mean.degrees < 3 * 499
    expected = np.sqrt(sum(part.standard_error**2 for part in parts)) / 3
    assert mean.standard_error == pytest.approx(expected, rel=0.06)


def test_a_task_of_two_speakers_widens_its_own_share_of_a_mean_alone():
    """Eleven tasks of 1,000 groups, one of two: the closed form is a twelfth of the root of the summed variances."""
    random = np.random.default_rng(0)
    correct = [random.random(1000) < 0.5 for _ in range(11)] + [
        random.random(400) < np.repeat((0.6, 0.5), 200)
    ]
    ids = [np.arange(1000)] * 11 + [np.repeat((0, 1), 200)]
    parts = [
        resample(accuracy(right, own), named(int(own.max()) + 1), 20_000, seed)
        for seed, (right, own) in enumerate(zip(correct, ids, strict=True))
    ]
    speakers = [correct[-1][:200].mean(), correct[-1][200:].mean()]
    variances = [right.var(ddof=1) / 1000 for right in correct[:-1]] + [np.var(speakers, ddof=1) / 2]
    assert mean_of(parts).standard_error == pytest.approx(np.sqrt(sum(variances)) / 12, rel=0.03)


def test_tasks_that_share_recordings_share_their_draws():
    seeds = {name: draws_seed(load_task(name), 0) for name in task_names()}
    assert seeds["nsynth_pitch"] == seeds["nsynth_instrument"]
    assert seeds["speech_commands_v1"] == seeds["speech_commands_v2"]
    assert len(set(seeds.values())) == 10


def test_the_error_of_tasks_that_share_half_of_their_speakers():
    """Two tasks of 300 speakers each, of whom 150 are in both and as good in both: the covariance is theirs."""
    random = np.random.default_rng(0)
    skill = random.random(450)
    first, second = np.arange(300), np.arange(150, 450)
    parts = [
        resample(accuracy(skill[own]), [f"speaker {i}" for i in own], 20_000, seed=1)
        for own in (first, second)
    ]
    covariance = sum(
        (skill[i] - skill[first].mean()) * (skill[i] - skill[second].mean()) for i in range(150, 300)
    )
    expected = np.sqrt(sum(part.standard_error**2 for part in parts) + 2 * covariance / 300**2) / 2
    assert mean_of(parts).standard_error == pytest.approx(expected, rel=0.03)
    apart = np.sqrt(sum(part.standard_error**2 for part in parts)) / 2
    assert mean_of(parts).standard_error > 1.15 * apart
