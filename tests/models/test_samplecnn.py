"""SampleCNN against the same function written with numpy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from models.encoder import load_encoder
from models.encoders import samplecnn
from models.encoders.samplecnn import SampleCNN, SampleCNNConfig
from models.weights import canonical_variables

SMALL = SampleCNNConfig(first=3, widths=(4, 5), last=6)  # 3^3 samples a frame


@pytest.fixture(scope="module")
def small() -> SampleCNN:
    """Four convolutions, every weight and statistic off its first value."""
    encoder = SampleCNN(SMALL, seed=1)
    rng = np.random.default_rng(0)
    for name, variable in canonical_variables(encoder).items():
        noise = rng.normal(size=variable.shape).astype(np.float32)
        variable.assign_add(0.3 * (np.abs(noise) if name.endswith(("gamma", "variance")) else noise))
    return encoder


def by_numpy(encoder: SampleCNN, clip: np.ndarray) -> np.ndarray:
    """One clip (n,), in float64, as CLMR describes the layers; windows that are part empty count what is there."""
    v = {name: variable.numpy().astype(np.float64) for name, variable in canonical_variables(encoder).items()}

    def convolve(x: np.ndarray, i: int) -> np.ndarray:
        w, b = v[f"conv{i}/w"][:, 0], v[f"conv{i}/b"]  # (3, in, out)
        if i == 0:
            filled = np.pad(x, ((0, -len(x) % 3), (0, 0)))
            starts = range(0, len(filled), 3)
        else:
            filled, starts = np.pad(x, ((1, 1), (0, 0))), range(len(x))
        return np.stack([np.einsum("kc,kco->o", filled[s : s + 3], w) + b for s in starts])

    x = clip[:, np.newaxis].astype(np.float64)
    last = len(SMALL.widths) + 1
    for i in range(last + 1):
        x = convolve(x, i)
        x = (x - v[f"bn{i}/moving_mean"]) / np.sqrt(v[f"bn{i}/moving_variance"] + 1e-5)
        x = np.maximum(0.0, x * v[f"bn{i}/gamma"] + v[f"bn{i}/beta"])
        if 0 < i < last:
            x = np.stack([x[s : s + 3].max(axis=0) for s in range(0, len(x), 3)])
    return x.mean(axis=0)


@pytest.mark.parametrize("samples", [27, 54, 20, 55, 100, 1])
def test_embedding_equals_numpy(small: SampleCNN, samples: int) -> None:
    clips = np.random.default_rng(samples).uniform(-1, 1, (2, samples)).astype(np.float32)
    expected = np.stack([by_numpy(small, clip) for clip in clips])
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(small(clips)["embedding"], expected, atol=1e-5)
    free = tf.function(small, input_signature=[tf.TensorSpec([None, None])])
    np.testing.assert_allclose(free(clips)["embedding"], expected, atol=1e-5)


def test_parameters_are_those_of_the_described_layers() -> None:
    """Kernels of 3, a bias, and two numbers of the normalisation a channel; counted from CLMR's list of widths."""
    channels = [1, 128, 128, 128, 256, 256, 256, 256, 256, 256, 512, 512]
    expected = sum(3 * before * after + 3 * after for before, after in itertools.pairwise(channels))
    assert load_encoder("samplecnn").parameters == expected


@pytest.mark.parametrize(("samples", "frames"), [(3**10, 1), (3**10 + 1, 2), (16000, 1), (80000, 2)])
def test_a_frame_is_59049_samples(samples: int, frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    pool = samplecnn.global_average
    monkeypatch.setattr(samplecnn, "global_average", lambda x: seen.append(x.shape) or pool(x))
    load_encoder("samplecnn_tiny").build(0)(tf.zeros([1, samples]))
    assert seen == [(1, frames, 1, 64)]


def test_other_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"waveforms \(b, n\)"):
        load_encoder("samplecnn_tiny").build(0)(tf.zeros([1, 98, 80, 1]))
