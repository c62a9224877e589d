"""The linear probe at convergence beside scikit-learn, on real recordings and fixed embeddings."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from hares.decoding import decode
from hares.embedding.task_embeddings import TaskEmbeddings
from hares.protocol import ProtocolSettings
from hares.reading import scan
from hares.scoring import score_task
from hares.task import Clip, load_task

# Not those with one or two training clips a class here: such a fit is all but separable and has no optimum.
TASKS = ("birdsong", "tut18", "voxforge", "voxceleb1", "nsynth_instrument")
PENALTY = 1e6  # next to none: the probe has no weight decay


def log_mel_statistics(waveform):
    """Mean and standard deviation over time of 20 log-mel bands, of the first four seconds."""
    samples = waveform[:64_000].astype(np.float32) / 32768
    mel = librosa.feature.melspectrogram(y=samples, sr=16_000, n_fft=512, hop_length=160, n_mels=20)
    bands = np.log(mel + 1e-4)
    return np.concatenate([bands.mean(axis=1), bands.std(axis=1)])


@pytest.mark.corpus
@pytest.mark.parametrize("name", TASKS)
def test_converges_to_logistic_regression_on_real_recordings(shared_corpus, name):
    task = load_task(name)
    root = shared_corpus / task.dataset
    clips = [c for c in scan(name, root) if isinstance(c, Clip) and c.split in ("train", "test")]
    rows = np.stack([log_mel_statistics(decode(root / c.path, c.start, c.duration)) for c in clips])
    # Noise that no band explains keeps few clips in many dimensions from being separable, where there is no
    # optimum to converge to: both fits get the same eight mixtures of the forty numbers.
    random = np.random.default_rng(0)
    points = StandardScaler().fit_transform(rows) @ random.normal(size=(40, 8)) / 6
    points += random.normal(size=points.shape)
    trained = np.asarray([c.split == "train" for c in clips])
    index = np.arange(len(clips))
    data = TaskEmbeddings(
        embeddings=points.astype(np.float32),
        clip_index=index,
        role=(~trained).astype(np.int8),
        partner=index,
        mix_weight=np.ones(len(clips), np.float32),
        clip_ids=tuple(c.clip_id for c in clips),
        splits=tuple(c.split for c in clips),
        groups=tuple(c.group for c in clips),
        labels=tuple(c.labels for c in clips),
    )
    settings = ProtocolSettings(max_steps=6_000, learning_rate=2e-2, probe_seeds=1, bootstrap_resamples=10)
    found = score_task(task, task.slots, data, settings)
    labels = np.asarray([c.labels[0] for c in clips])
    scaler = StandardScaler().fit(points[trained])
    reference = LogisticRegression(C=PENALTY, max_iter=20_000).fit(
        scaler.transform(points[trained]), labels[trained]
    )
    expected = reference.score(scaler.transform(points[~trained]), labels[~trained])
    assert found.value == pytest.approx(expected, abs=0.01)
