"""NFNet-F0 against the reference outputs of an independent implementation, and what those cannot show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from models.encoder import load_encoder
from models.encoders import nfnet
from models.encoders._normalizer_free import Block, StandardisedConv, gelu
from models.encoders.nfnet import NFNet, network_blocks
from models.weights import canonical_variables, load_weights

pytestmark = pytest.mark.slow

CASES = ["2x300x80", "1x208x64"]


def our_name(torch_name: str) -> str:
    """`stages.1.0.conv2b.gain` is `block1/conv1b/gain`, and so on."""
    *module, leaf = torch_name.replace("downsample.conv", "downsample").split(".")
    leaf = {"weight": "w", "skipinit_gain": "skip_gain"}.get(leaf, leaf)
    if module[0] == "stem":
        return f"stem_conv{int(module[1][-1]) - 1}/{leaf}"
    if module[0] == "final_conv":
        return f"final_conv/{leaf}"
    block = f"block{sum(nfnet.F0.depths[: int(module[1])]) + int(module[2])}"
    if len(module) == 3:
        return f"{block}/{leaf}"
    if module[3] == "attn_last":
        return f"{block}/se/{'fc0' if module[4] == 'fc1' else 'fc1'}/{'w' if leaf == 'w' else 'b'}"
    names = {
        "downsample": "conv_shortcut",
        "conv1": "conv0",
        "conv2": "conv1",
        "conv2b": "conv1b",
        "conv3": "conv2",
    }
    return f"{block}/{names[module[3]]}/{leaf}"


def our_layout(name: str, weight: np.ndarray) -> np.ndarray:
    if name.endswith("/gain"):
        return weight.ravel()
    if weight.ndim == 4:
        weight = weight.transpose(2, 3, 1, 0)
    return weight[0, 0] if "/se/" in name and weight.ndim == 4 else weight


@pytest.fixture(scope="module")
def golden(torch_golden):
    return torch_golden("nfnet_f0")


@pytest.fixture(scope="module")
def f0(golden) -> NFNet:
    encoder = load_encoder("nfnet_f0").build(0)
    arrays = {our_name(n): our_layout(our_name(n), w) for n, w in golden.weights.items()}
    assert len(arrays) == len(golden.weights) == 231
    load_weights(encoder, arrays)
    return encoder


@pytest.mark.parametrize("case", CASES)
def test_embedding_and_every_module_equal_golden(
    f0: NFNet,
    golden,
    case: str,
    stats_of_map: Callable[[np.ndarray], np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, np.ndarray] = {}
    for layer in (Block, StandardisedConv):
        original = layer.__call__

        def call(self, *args, original=original):
            output = original(self, *args)
            seen[self.name] = output.numpy()
            return output

        monkeypatch.setattr(layer, "__call__", call)
    embedding = f0(golden.draw_input(case)[..., np.newaxis])["embedding"]
    np.testing.assert_allclose(embedding, golden.values[f"{case}/embedding"], rtol=0, atol=1e-5)
    names = {f"stem.conv{i + 1}": f"stem_conv{i}" for i in range(3)} | {"stem": "stem_conv3"}
    last_blocks = np.cumsum(nfnet.F0.depths) - 1
    names |= {f"stages.{stage}": f"block{last}" for stage, last in enumerate(last_blocks)}
    names |= {"stages.2.0": "block3", "final_conv": "final_conv"}
    stored = golden.stats(case)
    assert len(stored) == 10
    for name, expected in stored.items():
        value = seen[names[name]]
        b, c, t, f = golden.values[f"{case}/shape/{name}"]
        assert value.shape == (b, t, f, c)
        np.testing.assert_allclose(stats_of_map(value), expected, rtol=1e-4, atol=1e-5, err_msg=name)


def test_gradient_norms_equal_golden(f0: NFNet, golden) -> None:
    variables = canonical_variables(f0)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(f0(golden.draw_input(CASES[0])[..., np.newaxis])["embedding"] ** 2)
    np.testing.assert_allclose(loss, golden.values["grad_norm/loss"], rtol=1e-4)
    norms = {name: tf.norm(gradient) for name, gradient in tape.gradient(loss, variables).items()}
    expected = dict(
        zip(golden.values["grad_norm/names"].tolist(), golden.values["grad_norm/values"], strict=True)
    )
    assert set(norms) == {our_name(name) for name in expected}
    for name, value in expected.items():
        np.testing.assert_allclose(norms[our_name(name)], value, rtol=1e-3, err_msg=name)


def test_folding_keeps_the_function(f0: NFNet, golden) -> None:
    x = golden.draw_input(CASES[1])[..., np.newaxis]
    expected, got = f0(x), f0.folded()(x)
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], rtol=0, atol=1e-6, err_msg=name)


def test_beta_and_drop_rates_follow_the_depth() -> None:
    # The sequence that the reference outputs' notes give for NFNet-F0, rounded as there.
    expected = [1, 0.98058, 0.98058, 0.96225, 0.98058, 0.96225]
    expected += [0.94491, 0.92848, 0.91287, 0.89803, 0.98058, 0.96225]
    blocks = network_blocks(nfnet.F0)
    np.testing.assert_allclose([block.beta for block in blocks], expected, atol=1e-5)
    np.testing.assert_allclose([block.drop_rate for block in blocks], 0.1 * np.arange(12) / 12)


def test_a_dropped_block_equals_a_zero_skip_gain() -> None:
    tiny = load_encoder("nfnet_tiny").build(1)
    gains = {name: v for name, v in canonical_variables(tiny).items() if name.endswith("skip_gain")}
    for variable in gains.values():
        variable.assign(0.7)
    x = tf.random.stateless_normal([2, 98, 80, 1], seed=[1, 1])
    assert tiny.noise_size == 4  # the first block is never dropped
    noise = np.zeros((2, 4), np.float32)
    noise[1, 2] = 0.999  # block3 of the second example
    whole, dropped = tiny(x)["embedding"], tiny(x, training=True, noise=tf.constant(noise))["embedding"]
    gains["block3/skip_gain"].assign(0.0)
    np.testing.assert_allclose(dropped[0], whole[0], atol=1e-6)
    np.testing.assert_allclose(dropped[1], tiny(x)["embedding"][1], atol=1e-6)
    assert np.abs(dropped[1] - whole[1]).max() > 1e-4
    with pytest.raises(ValueError, match=r"nfnet: training needs noise \(b, 4\).*got none"):
        tiny(x, training=True)


@pytest.mark.parametrize("dtype, tolerance", [(tf.float32, 2e-7), (tf.bfloat16, 2.0**-8)])
def test_gelu_rounds_once(dtype: tf.DType, tolerance: float) -> None:
    x = tf.cast(tf.linspace(-12.0, 12.0, 4001), dtype)
    exact = tf.cast(x, tf.float64).numpy()
    expected = exact / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (exact + 0.044715 * exact**3)))
    found = tf.cast(gelu(x), tf.float64).numpy()
    # Below about -3 the tanh is -1 but for its last bits, which times `x` is what the second term allows for.
    assert np.all(np.abs(found - expected) <= tolerance * np.abs(expected) + 2e-7 * np.abs(exact))


@pytest.mark.parametrize("kernel, stride", [((1, 1), (1, 1)), ((1, 1), (2, 3)), ((3, 1), (1, 2))])
@pytest.mark.parametrize("dtype, tolerance", [(tf.float32, 1e-6), (tf.bfloat16, 2.0**-6)])
def test_a_folded_convolution_is_the_same_with_and_without_its_gelu(
    kernel: tuple[int, int], stride: tuple[int, int], dtype: tf.DType, tolerance: float
) -> None:
    conv, folded = (StandardisedConv("conv", 4, 6, kernel, stride=stride, seed=seed) for seed in (1, None))
    folded.w.assign(conv.kernel())
    for each in (conv, folded):
        each.bias.assign(np.linspace(-1, 1, 6))
    x = tf.random.stateless_normal([2, 7, 8, 4], seed=[1, 1])
    y = tf.nn.conv2d(x, conv.kernel(), stride, "SAME") + conv.bias
    expected = tf.nn.gelu(y, approximate=True)
    for each in (conv, folded):
        found = tf.cast(each(tf.cast(x, dtype)), tf.float32)
        np.testing.assert_allclose(found, y, rtol=0, atol=tolerance * np.abs(y).max())
        found = tf.cast(each.activated(tf.cast(x, dtype)), tf.float32) / each.gelu_times
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())
