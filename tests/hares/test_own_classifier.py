"""AudioSet by the encoder's own classifier: no probe, the mean over a clip's crops, scikit-learn's mAP."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from hares.embedding.task_embeddings import TaskEmbeddings
from hares.own_classifier import NOTE, OwnClassifier
from hares.protocol import EVALUATION_ROLE, TRAIN_ROLE, load_protocol
from hares.scoring import TaskScore, score_task
from hares.task import Slot, load_task

CLASSES = 4
SLOTS = (Slot("event", tuple("abcd")),)


def data(crops: int = 3, clips: int = 40) -> TaskEmbeddings:
    """Clips of both splits; an embedding holds the four logits themselves, with noise, crop by crop."""
    random = np.random.default_rng(0)
    labels = [tuple(np.flatnonzero(random.random(CLASSES) < 0.4)) for _ in range(clips)]
    truth = np.zeros((clips, CLASSES), np.float32)
    for clip, own in enumerate(labels):
        truth[clip, list(own)] = 1
    index = np.repeat(np.arange(clips), crops)
    splits = ["train"] * (clips // 2) + ["test"] * (clips - clips // 2)
    role = [TRAIN_ROLE if splits[clip] == "train" else EVALUATION_ROLE for clip in index]
    return TaskEmbeddings(
        embeddings=(truth[index] + 0.8 * random.standard_normal((len(index), CLASSES))).astype(np.float32),
        clip_index=index,
        role=np.asarray(role, np.int8),
        partner=index,
        mix_weight=np.ones(len(index), np.float32),
        clip_ids=tuple(f"clip{i}" for i in range(clips)),
        splits=tuple(splits),
        groups=tuple(f"clip{i}" for i in range(clips)),
        labels=tuple(labels),
    )


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def test_the_score_is_that_of_the_classifiers_averaged_scores() -> None:
    embeddings = data()
    score = score_task(
        load_task("audioset"), SLOTS, embeddings, load_protocol("quick"), OwnClassifier("audioset", sigmoid)
    )
    averaged = sigmoid(embeddings.embeddings).reshape(40, 3, CLASSES).mean(axis=1)[20:]
    truth = np.asarray([[c in labels for c in range(CLASSES)] for labels in embeddings.labels[20:]])
    assert score.value == pytest.approx(average_precision_score(truth, averaged, average="macro"), abs=1e-6)
    assert NOTE in score.deviations and not any("steps" in text for text in score.deviations)


def test_other_tasks_keep_their_probe() -> None:
    embeddings, settings = data(), load_protocol("quick")
    other = OwnClassifier("magnatagatune", lambda _: pytest.fail("asked about a task it does not know"))
    score = score_task(load_task("audioset"), SLOTS, embeddings, settings, other)
    assert score.value == score_task(load_task("audioset"), SLOTS, embeddings, settings).value
    assert NOTE not in score.deviations


def test_another_label_set_is_an_error() -> None:
    wrong = OwnClassifier("audioset", lambda rows: np.zeros((len(rows), 527), np.float32))
    with pytest.raises(ValueError, match=r"gave scores of shape \(60, 527\).* the task has 4 classes"):
        score_task(load_task("audioset"), SLOTS, data(), load_protocol("quick"), wrong)


def test_map_of_few_clips_is_marked_as_biased_upward() -> None:
    """20 test clips; of 4,000 with as many positives each the bias is under a fifth of a point."""

    def score(clips: int, slots: tuple[Slot, ...] = SLOTS) -> TaskScore:
        embeddings = data(crops=1, clips=clips)
        own = OwnClassifier(
            "audioset", lambda rows: np.pad(rows, ((0, 0), (0, len(slots[0].classes) - CLASSES)))
        )
        return score_task(load_task("audioset"), slots, embeddings, load_protocol("quick"), own)

    few, many = score(40), score(8_000)
    (said,) = [text for text in few.deviations if "biased upward" in text]
    assert f"a random ranking of them scores {100 * few.chance:.1f}%" in said and "mAP of 20 clips" in said
    assert not any("biased upward" in text for text in many.deviations)
    assert few.predictions.small_sample_bias() > 0.02 > 0.002 > many.predictions.small_sample_bias() > 0
    assert not any("classes that a test clip has" in text for text in few.deviations)
    wider = score(40, (Slot("event", tuple("abcdef")),))
    assert "mAP is the mean over the 4 of 6 classes that a test clip has." in wider.deviations
