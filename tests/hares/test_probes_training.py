"""Probes against scikit-learn, Keras' Adam, differences of the loss, and the paper's schedule."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from hares.embedding.task_embeddings import TaskEmbeddings
from hares.metrics import mean_average_precision, multi_hot
from hares.probes import load_probe
from hares.probes._layers import loss_and_gradients, sigmoid_loss, softmax_loss
from hares.probes._standard import standardisation
from hares.probes._training import learning_rate
from hares.protocol import PAPER_PENALTIES, ProbeSchedule, ProtocolSettings
from hares.task import FOLDS, Slot, load_task

SETTINGS = ProtocolSettings(max_steps=4_000, learning_rate=5e-3, probe_seeds=1)


def classes(count):
    return Slot("class", tuple(f"c{i}" for i in range(count)))


def scored(kind):
    """The probe of a kind, with the scores of its only seed."""
    run = load_probe(kind)

    def run_one(*arguments):
        outcome = run(*arguments)
        assert len(outcome.scores) == 1
        return replace(outcome, scores=outcome.scores[0])

    return run_one


def one_crop_each(embeddings, labels, splits, roles=None):
    count = len(labels)
    roles = roles or [0 if split == "train" else 1 for split in splits]
    return TaskEmbeddings(
        embeddings=embeddings.astype(np.float32),
        clip_index=np.arange(count),
        role=np.asarray(roles, np.int8),
        partner=np.arange(count),
        mix_weight=np.ones(count, np.float32),
        clip_ids=tuple(f"clip {i}" for i in range(count)),
        splits=tuple(splits),
        groups=("",) * count,
        labels=tuple(tuple(int(v) for v in np.atleast_1d(row)) for row in labels),
    )


def blobs(count, size, classes, seed, spread=1.0):
    """Overlapping Gaussian classes at odd scales and offsets, as embeddings have."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, size))
    truth = random.integers(0, classes, count)
    points = centres[truth] + spread * random.normal(size=(count, size))
    return points * random.uniform(0.01, 30, size) + random.uniform(-5, 5, size), truth


def test_linear_probe_converges_to_logistic_regression():
    points, truth = blobs(3000, 12, 6, seed=0, spread=2.0)
    splits = ["train"] * 1500 + ["test"] * 1500
    data = one_crop_each(points, truth, splits)
    outcome = scored("linear")(load_task("tut18"), (classes(6),), data, SETTINGS)
    scaler = StandardScaler().fit(points[:1500])
    reference = LogisticRegression(C=1e6, max_iter=5000).fit(scaler.transform(points[:1500]), truth[:1500])
    expected = reference.predict_proba(scaler.transform(points[1500:]))
    accuracy = (outcome.scores.argmax(axis=1) == truth[1500:]).mean()
    assert abs(accuracy - (expected.argmax(axis=1) == truth[1500:]).mean()) < 0.01
    assert 0.5 < accuracy < 0.95
    assert np.abs(outcome.scores - expected).mean() < 0.02
    np.testing.assert_allclose(outcome.scores.sum(axis=1), 1, rtol=1e-5)


def test_multi_label_probe_converges_to_one_logistic_regression_a_class():
    random = np.random.default_rng(1)
    points = random.normal(size=(2400, 10))
    labels = (points @ random.normal(size=(10, 4)) + 2 * random.normal(size=(2400, 4))) > 1
    lists = [tuple(np.flatnonzero(row)) for row in labels]
    data = one_crop_each(points, lists, ["train"] * 1200 + ["test"] * 1200)
    data = replace(data, labels=tuple(tuple(int(v) for v in row) for row in lists))
    outcome = scored("linear")(load_task("magnatagatune"), (classes(4),), data, SETTINGS)
    expected = np.stack(
        [
            LogisticRegression(C=1e6).fit(points[:1200], labels[:1200, k]).predict_proba(points[1200:])[:, 1]
            for k in range(4)
        ],
        axis=1,
    )
    ours = mean_average_precision(outcome.scores, labels[1200:])
    assert abs(ours - average_precision_score(labels[1200:], expected, average="macro")) < 0.01
    assert np.abs(outcome.scores - expected).mean() < 0.02


def test_slots_are_three_independent_softmaxes():
    points, first = blobs(1600, 8, 3, seed=2)
    second = (points[:, 0] > np.median(points[:, 0])).astype(int)
    third = np.zeros(1600, int)
    labels = np.stack([first, second, third], axis=1)
    data = one_crop_each(points, labels, ["train"] * 800 + ["test"] * 800)
    slots = (classes(3), classes(2), classes(4))
    outcome = scored("slots")(load_task("fluent_speech_commands"), slots, data, SETTINGS)
    assert outcome.scores.shape == (800, 9)
    scaler = StandardScaler().fit(points[:800])
    for part, truth in ((slice(0, 3), first), (slice(3, 5), second)):
        np.testing.assert_allclose(outcome.scores[:, part].sum(axis=1), 1, rtol=1e-5)
        reference = LogisticRegression(C=1e6, max_iter=5000).fit(scaler.transform(points[:800]), truth[:800])
        expected = reference.score(scaler.transform(points[800:]), truth[800:])
        assert abs((outcome.scores[:, part].argmax(axis=1) == truth[800:]).mean() - expected) < 0.01
    assert (outcome.scores[:, 5:].argmax(axis=1) == 0).all()


def test_mlp_solves_what_no_linear_probe_can():
    random = np.random.default_rng(3)
    points = random.normal(size=(3000, 6))
    labels = [(0,) if a * b > 0 else (1,) for a, b in points[:, :2]]
    data = one_crop_each(points, labels, ["train"] * 2000 + ["test"] * 1000)
    targets = multi_hot(data.labels[2000:], 2)
    settings = ProtocolSettings(max_steps=1_500, learning_rate=2e-3, probe_seeds=1)
    mlp = scored("mlp")(load_task("audioset"), (classes(2),), data, settings)
    linear = scored("linear")(load_task("magnatagatune"), (classes(2),), data, settings)
    assert mean_average_precision(mlp.scores, targets) > 0.97
    assert mean_average_precision(linear.scores, targets) < 0.6


def test_mixed_targets_are_learnt_in_their_shares():
    """Every crop is the same point, its own clip without labels, mixed with a clip that has class 0."""
    count = 40
    data = TaskEmbeddings(
        embeddings=np.ones((count + 1, 2), np.float32),
        clip_index=np.arange(count + 1),
        role=np.asarray([0] * count + [1], np.int8),
        partner=np.asarray([count + 1] * count + [count]),
        mix_weight=np.asarray([0.7] * count + [1], np.float32),
        clip_ids=tuple(map(str, range(count + 2))),
        splits=("train",) * count + ("test", "train"),
        groups=("",) * (count + 2),
        labels=((),) * (count + 1) + ((0,),),
    )
    outcome = scored("linear")(load_task("magnatagatune"), (classes(1),), data, SETTINGS)
    assert outcome.scores[0, 0] == pytest.approx(0.3, abs=0.01)


def test_scores_are_means_over_a_clips_crops():
    points, truth = blobs(600, 5, 3, seed=4)
    splits = ["train"] * 400 + ["test"] * 200
    single = one_crop_each(points, truth, splits)
    outcome = scored("linear")(load_task("tut18"), (classes(3),), single, SETTINGS)
    # The same test crops, but two to a clip.
    index = np.concatenate([np.arange(400), 400 + np.arange(200) // 2])
    paired = TaskEmbeddings(
        embeddings=single.embeddings,
        clip_index=index,
        role=single.role,
        partner=index,
        mix_weight=single.mix_weight,
        clip_ids=single.clip_ids[:500],
        splits=single.splits[:500],
        groups=single.groups[:500],
        labels=single.labels[:500],
    )
    means = scored("linear")(load_task("tut18"), (classes(3),), paired, SETTINGS).scores
    np.testing.assert_allclose(means, outcome.scores.reshape(100, 2, 3).mean(axis=1), atol=1e-6)


def test_clips_weigh_the_same_whatever_their_number_of_crops():
    """Clip 0 has 30 crops of class 0, clip 1 one crop of class 1, at the same point: the probe must say half."""
    clip = np.asarray([0] * 30 + [1, 2])
    data = TaskEmbeddings(
        embeddings=np.ones((32, 2), np.float32),
        clip_index=clip,
        role=np.asarray([0] * 31 + [1], np.int8),
        partner=clip,
        mix_weight=np.ones(32, np.float32),
        clip_ids=("a", "b", "c"),
        splits=("train", "train", "test"),
        groups=("",) * 3,
        labels=((0,), (1,), (0,)),
    )
    scores = scored("linear")(load_task("tut18"), (classes(2),), data, SETTINGS).scores
    assert scores[0, 0] == pytest.approx(0.5, abs=0.03)


def test_training_is_deterministic_and_seeded():
    points, truth = blobs(300, 6, 3, seed=5)
    data = one_crop_each(points, truth, ["train"] * 200 + ["test"] * 100)
    settings = ProtocolSettings(max_steps=200, learning_rate=1e-3, probe_seeds=1)
    run = scored("linear")
    first = run(load_task("tut18"), (classes(3),), data, settings).scores
    np.testing.assert_array_equal(first, run(load_task("tut18"), (classes(3),), data, settings).scores)
    other = run(load_task("tut18"), (classes(3),), data, replace(settings, seed=1)).scores
    assert not np.array_equal(first, other)


def test_one_step_is_kerass_adam():
    """With one clip, every batch is the same: the loop must give what Keras' Adam gives step by step."""
    tf = pytest.importorskip("tensorflow", reason="TensorFlow, whose Adam is asked, is not installed")
    points = np.asarray([[3.0, -1.0], [3.5, 2.0]], np.float32)
    data = one_crop_each(points[[0, 0, 1]], [0, 0, 1], ["train", "train", "test"])
    settings = ProtocolSettings(max_steps=40, learning_rate=0.1, probe_seeds=1)
    found = scored("linear")(load_task("tut18"), (classes(2),), data, settings).scores[0]

    schedule = settings.schedule(load_task("tut18"))
    weight, bias = tf.Variable(tf.zeros((2, 2))), tf.Variable(tf.zeros((2,)))
    adam = tf.keras.optimizers.Adam(epsilon=1e-8)
    inputs = tf.zeros((1, 2))  # a point standardised by itself
    for step in range(schedule.steps):
        adam.learning_rate = float(learning_rate(step, schedule))
        with tf.GradientTape() as tape:
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits([0], inputs @ weight + bias)
        adam.apply_gradients(zip(tape.gradient(loss, [weight, bias]), [weight, bias], strict=True))
    expected = tf.nn.softmax((points[1:] - points[:1]) @ weight + bias).numpy()[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("widths", [(7, 5), (7, 6, 5)])
@pytest.mark.parametrize("kind", ["sigmoid", "slots"])
def test_gradients_are_the_slopes_of_the_loss(widths, kind):
    """Along a random direction, against a central difference in float64."""
    random = np.random.default_rng(0)
    shapes = [shape for sizes in pairwise(widths) for shape in (sizes, sizes[1:])]
    weights, direction = ([random.normal(size=shape) for shape in shapes] for _ in range(2))
    inputs = random.normal(size=(9, 7))
    targets = np.stack([random.integers(0, 3, 9), random.integers(0, 2, 9)], axis=1)
    loss = softmax_loss((3, 2))
    if kind == "sigmoid":
        loss, targets = sigmoid_loss, random.random((9, 5))

    def at(step):
        gradients = [np.empty(shape) for shape in shapes]
        moved = [w + step * d for w, d in zip(weights, direction, strict=True)]
        return loss_and_gradients(moved, inputs.copy(), targets, loss, gradients), gradients

    slope = sum(float((g * d).sum()) for g, d in zip(at(0.0)[1], direction, strict=True))
    assert abs(slope) > 0.1
    assert (at(1e-5)[0] - at(-1e-5)[0]) / 2e-5 == pytest.approx(slope, rel=1e-3)


def test_learning_rate_schedule_of_appendix_a():
    schedule = ProbeSchedule(steps=400_000, batch_size=64, learning_rate=2e-4, warmup_steps=5_000)
    rate = lambda step: float(learning_rate(step, schedule))  # noqa: E731
    assert rate(0) == 0
    assert rate(2_500) == pytest.approx(1e-4)
    assert rate(5_000) == pytest.approx(2e-4)
    assert rate(5_000 + 395_000 // 4) == pytest.approx(1e-4 * (1 + math.cos(math.pi / 4)), rel=1e-4)
    assert rate(202_500) == pytest.approx(1e-4, rel=1e-3)
    assert rate(399_999) == pytest.approx(0, abs=1e-8)


def test_constant_numbers_are_not_blown_up():
    rows = np.asarray([[0.1, 1.0, 0.0], [0.1, 3.0, 0.0]], np.float32)
    mean, deviation = standardisation(rows, np.arange(2))
    np.testing.assert_allclose(mean, [0.1, 2, 0], rtol=1e-6)
    assert deviation.tolist() == [1, 1, 1]


def esc_like(seed=6, copies=2, clips_per_fold=30, absent_class=None):
    """Five folds, augmented training crops and one evaluation crop a clip, as the protocol makes them."""
    count = 5 * clips_per_fold
    points, truth = blobs(count, 10, 4, seed=seed, spread=1.5)
    if absent_class is not None:
        truth[truth == absent_class] = 0
        truth[0] = absent_class
    folds = [FOLDS[i // clips_per_fold] for i in range(count)]
    random = np.random.default_rng(seed)
    rows = np.repeat(points, copies + 1, axis=0)
    clip = np.repeat(np.arange(count), copies + 1)
    role = np.tile([0] * copies + [1], count)
    rows = rows + (role == 0)[:, None] * random.normal(size=rows.shape) * rows.std(axis=0) * 0.1
    data = TaskEmbeddings(
        embeddings=rows.astype(np.float32),
        clip_index=clip,
        role=role.astype(np.int8),
        partner=clip,
        mix_weight=np.ones(len(clip), np.float32),
        clip_ids=tuple(map(str, range(count))),
        splits=tuple(folds),
        groups=("",) * count,
        labels=tuple((int(v),) for v in truth),
    )
    return data, truth, np.asarray(folds)


def test_svm_equals_a_plain_script():
    data, truth, folds = esc_like()
    settings = ProtocolSettings()
    outcome = scored("svm")(load_task("esc50"), (classes(4),), data, settings)

    def accuracy(held_out, penalty):
        train = (data.role == 0) & (folds[data.clip_index] != held_out)
        test = (data.role == 1) & (folds[data.clip_index] == held_out)
        scaler = StandardScaler().fit(data.embeddings[train])
        machine = LinearSVC(C=penalty, random_state=0, dual="auto")
        machine.fit(scaler.transform(data.embeddings[train]), truth[data.clip_index[train]])
        return machine.score(scaler.transform(data.embeddings[test]), truth[data.clip_index[test]])

    sweep = {penalty: accuracy("fold1", penalty) for penalty in PAPER_PENALTIES}
    chosen = min(penalty for penalty in sweep if sweep[penalty] == max(sweep.values()))
    expected = [accuracy(fold, chosen) for fold in FOLDS]
    assert outcome.details["C"] == chosen
    tested = np.concatenate([fold.test for fold in outcome.folds])
    right = outcome.scores.argmax(axis=1) == truth[tested]
    np.testing.assert_allclose([right[folds[tested] == fold].mean() for fold in FOLDS], expected)


def test_svm_with_a_class_that_some_training_folds_lack():
    data, truth, _ = esc_like(absent_class=3)
    assert (truth == 3).sum() == 1
    outcome = scored("svm")(load_task("esc50"), (classes(4),), data, ProtocolSettings())
    assert np.isfinite(outcome.scores).all()
    assert not (outcome.scores[: len(outcome.folds[0].test)].argmax(axis=1) == 3).any()


def test_svm_with_two_classes():
    data, truth, _ = esc_like()
    data = replace(data, labels=tuple((int(v > 1),) for v in truth))
    outcome = scored("svm")(load_task("esc50"), (classes(2),), data, ProtocolSettings())
    assert outcome.scores.shape == (150, 2)
    assert (outcome.scores.argmax(axis=1) == (truth > 1)).mean() > 0.7


def test_divergence_is_an_error():
    data = one_crop_each(np.eye(4), [0, 1, 0, 1], ["train", "train", "train", "test"])
    with pytest.raises(ValueError, match="lower the learning rate"):
        settings = ProtocolSettings(max_steps=50, learning_rate=1e38, probe_seeds=1)
        load_probe("mlp")(load_task("audioset"), (classes(2),), data, settings)


def test_an_svm_in_the_space_that_its_crops_span_is_the_same_svm():
    """60 numbers and 30 crops a fold: the rotated fit must have scikit-learn's margins of the crops as they are."""
    random = np.random.default_rng(3)
    points = random.normal(size=(30, 60)).astype(np.float32)
    labels = [i % 3 for i in range(30)]
    folds = [FOLDS[i // 6] for i in range(30)]
    rows = np.repeat(points, 2, axis=0)
    rows[::2] += 0.1
    data = TaskEmbeddings(
        embeddings=rows,
        clip_index=np.repeat(np.arange(30), 2),
        role=np.tile([0, 1], 30).astype(np.int8),
        partner=np.repeat(np.arange(30), 2),
        mix_weight=np.ones(60, np.float32),
        clip_ids=tuple(map(str, range(30))),
        labels=tuple((label,) for label in labels),
        splits=tuple(folds),
        groups=("",) * 30,
    )
    found = scored("svm")(load_task("esc50"), (classes(3),), data, ProtocolSettings(penalties=(1e-2,)))
    for number, held_out in enumerate(FOLDS):
        train = [i for i in range(30) if folds[i] != held_out]
        test = [i for i in range(30) if folds[i] == held_out]
        own = rows[::2][train]
        scale = lambda x: (x - own.mean(axis=0)) / own.std(axis=0)  # noqa: B023, E731
        machine = LinearSVC(C=1e-2, random_state=0, dual=True).fit(scale(own), np.asarray(labels)[train])
        expected = machine.decision_function(scale(rows[1::2][test]))
        np.testing.assert_allclose(found.scores[number * 6 : number * 6 + 6], expected, atol=1e-3)
