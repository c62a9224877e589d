"""BYOL-A's network against the reference outputs of its authors' code, and what those cannot show."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.encoder import load_encoder
from models.encoders._plain_layers import Conv, Dense
from models.encoders.byola_cnn import BYOLACNN
from models.weights import load_weights

CASES = ["2x96x64", "2x300x80"]
NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def our_name(torch_name: str) -> str:
    group, place, leaf = torch_name.split(".")
    if group == "features" and int(place) % 4 == 1:
        return f"{group}/{place}/{NORM[leaf]}"
    return f"{group}/{place}/{'w' if leaf == 'weight' else 'b'}"


def our_layout(weight: np.ndarray) -> np.ndarray:
    """PyTorch's maps have frequency as their height, ours time."""
    return {4: lambda w: w.transpose(3, 2, 1, 0), 2: np.transpose}.get(weight.ndim, lambda w: w)(weight)


@pytest.fixture(scope="module")
def golden(torch_golden):
    return torch_golden("byola_cnn")


def filled(golden, case: str) -> BYOLACNN:
    bins = int(case.split("x")[2])
    encoder = load_encoder("byola_cnn").build(0)
    encoder(tf.zeros([1, 8, bins, 1]))
    weights = golden.weights_at(bins)
    assert len(weights) == 22
    load_weights(encoder, {our_name(name): our_layout(w) for name, w in weights.items()})
    return encoder


@pytest.mark.parametrize("case", CASES)
def test_embedding_and_every_layer_equal_golden(golden, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = filled(golden, case)
    seen: dict[str, np.ndarray] = {}

    def record(function, name_of):
        def call(*args, **kwargs):
            output = function(*args, **kwargs)
            seen[name_of(args)] = output.numpy()
            return output

        return call

    for layer in (Conv, Dense):
        monkeypatch.setattr(layer, "__call__", record(layer.__call__, lambda args: args[0].name))
    pools = iter(("features/3", "features/7", "features/11"))
    monkeypatch.setattr(tf.nn, "max_pool2d", record(tf.nn.max_pool2d, lambda args: next(pools)))
    embedding = encoder(golden.draw_input(case)[..., np.newaxis])["embedding"]
    np.testing.assert_allclose(embedding, golden.values[f"{case}/embedding"], rtol=0, atol=1e-5)
    seen["fc/4"] = np.maximum(seen["fc/3"], 0.0)
    for name, expected in golden.stats(case).items():
        value = seen[name.replace(".", "/")]
        # Maps are (b, c, f, t) there; frames are (b, t, c) in both.
        first = value[0].transpose(2, 1, 0) if value.ndim == 4 else value[0]
        got = [value.mean(dtype=np.float64), value.std(dtype=np.float64), *first.ravel()[:6]]
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5, err_msg=name)


def test_gradient_norms_equal_golden(golden) -> None:
    case = str(golden.values["grad_norm/case"])
    encoder = filled(golden, case)
    variables = {v.name.removesuffix(":0"): v for v in encoder.trainable_variables}
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(encoder(golden.draw_input(case)[..., np.newaxis])["embedding"] ** 2)
    np.testing.assert_allclose(loss, golden.values["grad_norm/loss"], rtol=1e-4)
    norms = {name: tf.norm(gradient) for name, gradient in tape.gradient(loss, variables).items()}
    names, values = golden.values["grad_norm/names"].tolist(), golden.values["grad_norm/values"]
    assert set(norms) == {our_name(name) for name in names}
    for name, value in zip(names, values, strict=True):
        np.testing.assert_allclose(norms[our_name(name)], value, rtol=1e-3, err_msg=name)


def test_parameters_at_80_mel_bins() -> None:
    encoder = load_encoder("byola_cnn").build(0)
    encoder(tf.zeros([1, 8, 80, 1]))
    assert sum(int(tf.size(v)) for v in encoder.trainable_variables) == 5_584_000


def test_another_number_of_mel_bins_is_refused() -> None:
    encoder = load_encoder("byola_cnn_tiny").build(0)
    encoder(tf.zeros([1, 40, 64, 1]))
    with pytest.raises(ValueError, match="made for 64 mel bins and got 80"):
        encoder(tf.zeros([1, 40, 80, 1]))


def test_short_clips_are_filled_with_zeros() -> None:
    encoder = load_encoder("byola_cnn_tiny").build(0)
    short = tf.random.stateless_normal([2, 3, 64, 1], seed=[1, 2])
    expected = encoder(tf.pad(short, [[0, 0], [0, 5], [0, 0], [0, 0]]))["embedding"]
    np.testing.assert_allclose(encoder(short)["embedding"], expected, atol=1e-6)
