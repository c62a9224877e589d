"""Slowfast NF-ResNet-50 has no public reference: its blocks and its variance are worked out here by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.encoder import load_encoder
from models.encoders._slowfast_resnet import BlockConfig
from models.encoders.sf_nf_resnet50 import RELU_GAIN, NFBottleneck
from models.weights import canonical_variables


def standardised(values: dict[str, tf.Variable], name: str) -> np.ndarray:
    """The kernel in use, by the formula of [27], from (time, frequency, in, out)."""
    w = values[f"{name}/w"].numpy().astype(np.float64)
    fan_in = w.shape[0] * w.shape[1] * w.shape[2]
    flat = w.reshape(fan_in, -1)
    scaled = (flat - flat.mean(0)) / np.sqrt(np.maximum(flat.var(0) * fan_in, 1e-4))
    return scaled.reshape(w.shape) * values[f"{name}/gain"].numpy()


def test_relu_gain_makes_the_variance_one() -> None:
    exact = np.sqrt(2 / (1 - 1 / np.pi))
    assert pytest.approx(exact, rel=1e-3) == RELU_GAIN


@pytest.mark.parametrize("out_channels", [8, 12])
def test_a_block_is_its_formula(out_channels: int) -> None:
    """On a map of one frame and one bin, of which a SAME convolution sees the kernel's middle alone."""
    config = BlockConfig("block", 1, 1, 8, out_channels, time_kernel=3, frequency_stride=1)
    beta, alpha = 0.9, 0.2
    block = NFBottleneck(config, beta, alpha, seed=3)
    values = canonical_variables(block)
    rng = np.random.default_rng(1)
    for name, variable in values.items():
        if not name.endswith("/w"):
            variable.assign(0.5 + rng.random(variable.shape))
    x = rng.standard_normal((2, 8)).astype(np.float32)

    def conv(rows: np.ndarray, name: str) -> np.ndarray:
        kernel = standardised(values, f"block/{name}")
        middle = kernel[kernel.shape[0] // 2, kernel.shape[1] // 2]
        return rows @ middle + values[f"block/{name}/bias"].numpy()

    def activated(rows: np.ndarray) -> np.ndarray:
        return RELU_GAIN * np.maximum(rows, 0)

    scaled = activated(x) * beta
    residual = conv(activated(conv(activated(conv(scaled, "conv_a")), "conv_b")), "conv_c")
    shortcut = x if out_channels == 8 else conv(scaled, "shortcut")
    expected = shortcut + alpha * values["block/skip_gain"].numpy() * residual
    got = block(tf.constant(x[:, np.newaxis, np.newaxis]))
    np.testing.assert_allclose(got[:, 0, 0], expected, rtol=1e-4, atol=1e-5)


def test_parameters_are_those_of_the_normalised_network_and_the_skip_gains() -> None:
    normalised, free = load_encoder("sf_resnet50_bn"), load_encoder("sf_nf_resnet50")
    assert free.parameters == normalised.parameters + 2 * (3 + 4 + 6 + 3)
    assert free.embedding_size == normalised.embedding_size == 2304


def test_kernels_are_those_of_the_normalised_network() -> None:
    shapes = []
    for name in ("sf_resnet50_bn_tiny", "sf_nf_resnet50_tiny"):
        values = canonical_variables(load_encoder(name).build(0))
        shapes.append({key: tuple(v.shape) for key, v in values.items() if key.endswith("/w")})
    assert shapes[0] == shapes[1]


def test_blocks_are_dropped_as_often_as_they_are_deep() -> None:
    """From 0 to almost 0.1 in each pathway, as the public normaliser-free networks; what is left is not rescaled."""
    encoder = load_encoder("sf_nf_resnet50_tiny").build(0)
    for variable in encoder.trainable_variables:
        if variable.name.endswith("skip_gain:0"):
            variable.assign(0.7)
    depth = sum(len(stage) for stage in encoder.fast_stages)
    assert encoder.noise_size == 2 * (depth - 1)  # the first block of each pathway is never dropped
    x = tf.random.stateless_normal([1, 98, 80, 1], seed=[1, 2])
    whole = encoder(x)["embedding"]
    for column in range(encoder.noise_size):
        rate = 0.1 * (column % (depth - 1) + 1) / depth
        noise = np.zeros((1, encoder.noise_size), np.float32)
        for value, same in ((1 - rate - 1e-4, True), (1 - rate + 1e-4, False)):
            noise[0, column] = value
            got = encoder(x, training=True, noise=tf.constant(noise))["embedding"]
            assert (np.abs(got - whole).max() < 1e-5) == same, column
    last = encoder.slow_stages[-1][-1]
    last.skip_gain.assign(0.0)
    np.testing.assert_allclose(got, encoder(x)["embedding"], atol=1e-5)
