"""ResNet-50 and EfficientNet-B0 against Keras' own networks with the same weights."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from models.encoder import Encoder, load_encoder
from models.weights import canonical_variables, weights_digest

pytestmark = pytest.mark.slow

APPLICATIONS = {
    "resnet50": tf.keras.applications.ResNet50,
    # Keras would draw the dropped blocks from a global state.
    "efficientnet_b0": functools.partial(tf.keras.applications.EfficientNetB0, drop_connect_rate=0.0),
}
# B0 has 16 blocks in 7 stages; each but the first of its stage has a shortcut and can be dropped.
B0_BLOCKS = [
    f"block{stage}{chr(97 + i)}" for stage, depth in enumerate((1, 2, 2, 3, 3, 4, 1), 1) for i in range(depth)
]
B0_RATES = {block: 0.2 * index / 16 for index, block in enumerate(B0_BLOCKS) if not block.endswith("a")}


@pytest.fixture(scope="module", params=sorted(APPLICATIONS))
def pair(request: pytest.FixtureRequest) -> tuple[Encoder, tf.keras.Model]:
    """Ours and Keras', with the same weights; what ours lacks is 0 in Keras'."""
    ours = load_encoder(request.param).build(0)
    keras = APPLICATIONS[request.param](
        include_top=False, weights=None, pooling="avg", input_shape=(None, None, 1)
    )
    rng = np.random.default_rng(0)
    values = canonical_variables(ours)
    for name, variable in values.items():
        if name.endswith(("moving_mean", "beta", "bias")):
            variable.assign(0.1 * rng.standard_normal(variable.shape))
        elif name.endswith(("moving_variance", "gamma")):
            variable.assign(1.0 + 0.1 * np.abs(rng.standard_normal(variable.shape)))
    unmatched = set(values)
    for variable in keras.variables:
        name = variable.name.removesuffix(":0")
        if name in values:
            variable.assign(values[name])
            unmatched.discard(name)
        elif name.endswith("/bias"):
            variable.assign(tf.zeros_like(variable))
        else:
            assert name.split("/")[0].startswith("normalization"), name
    assert not unmatched
    return ours, keras


def pixels(ours: Encoder, x: tf.Tensor) -> tf.Tensor:
    """What Keras' network takes: EfficientNet divides by 255 first."""
    return 255.0 * x if ours.name == "efficientnet_b0" else x


def test_inference_equals_keras(pair: tuple[Encoder, tf.keras.Model]) -> None:
    ours, keras = pair
    x = tf.random.stateless_normal([2, 97, 64, 1], seed=[1, 1])
    expected = keras(pixels(ours, x), training=False)
    assert np.std(expected) > 1e-2
    scale = np.abs(expected).max()
    np.testing.assert_allclose(ours(x)["embedding"], expected, rtol=0, atol=1e-5 * scale)


def test_padding_is_kerass_for_an_unknown_size() -> None:
    """As COLA's public code has it, which gives Keras no number of frames: Keras would pad odd ones differently."""
    ours = load_encoder("efficientnet_b0").build(0)
    padded = {name: layer.padding for name, layer in ours.parts.items() if name.endswith("_pad")}
    paddings = [
        {layer.name: layer.padding for layer in keras.layers if layer.name.endswith("_pad")}
        for keras in (
            tf.keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=shape)
            for shape in ((None, 64, 1), (97, 64, 1))
        )
    ]
    assert padded == paddings[0] != paddings[1]
    assert set(padded.values()) == {((0, 1), (0, 1)), ((1, 2), (1, 2))}


def test_the_maximum_is_kerass_pooling() -> None:
    ours = load_encoder("efficientnet_b0_max").build(0)
    keras = APPLICATIONS["efficientnet_b0"](
        include_top=False, weights=None, pooling="max", input_shape=(None, None, 1)
    )
    values = canonical_variables(ours)
    for variable in keras.variables:
        name = variable.name.removesuffix(":0")
        if name in values:
            variable.assign(values[name])
    x = tf.random.stateless_normal([2, 97, 64, 1], seed=[1, 1])
    expected = keras(255.0 * x, training=False)
    np.testing.assert_allclose(ours(x)["embedding"], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_training_equals_keras_and_moves_the_statistics(pair: tuple[Encoder, tf.keras.Model]) -> None:
    """With noise 0 no block is dropped, and residual branches are scaled by 1 / (1 - rate)."""
    ours, keras = pair
    if ours.noise_size:
        assert len(B0_RATES) == ours.noise_size == 9
        for block, rate in B0_RATES.items():
            norm = keras.get_layer(f"{block}_project_bn")
            norm.gamma.assign(norm.gamma / (1 - rate))
            norm.beta.assign(norm.beta / (1 - rate))
    x = tf.random.stateless_normal([3, 98, 64, 1], seed=[2, 1])
    got = ours(x, training=True, noise=tf.zeros([3, ours.noise_size]))["embedding"]
    expected = keras(pixels(ours, x), training=True)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    values = canonical_variables(ours)
    for variable in keras.non_trainable_variables:
        name = variable.name.removesuffix(":0")
        if name in values:
            scale = np.abs(variable).max()
            np.testing.assert_allclose(values[name], variable, rtol=0, atol=1e-4 * scale, err_msg=name)


@pytest.mark.parametrize("name", ["resnet50_tiny", "efficientnet_b0_tiny"])
def test_weights_come_from_the_seed_and_keras_initialisers(name: str) -> None:
    build = load_encoder(name).build
    tf.random.set_seed(1)
    one = build(5)
    tf.random.set_seed(2)
    assert weights_digest(one) == weights_digest(build(5))
    first, other = canonical_variables(one), canonical_variables(build(6))
    for key, variable in first.items():
        if "kernel" not in key:
            expected = 1.0 if key.endswith(("gamma", "moving_variance")) else 0.0
            assert np.all(variable.numpy() == expected), key
        else:
            assert not np.array_equal(variable, other[key]), key
    if name == "resnet50_tiny":  # Glorot uniform
        w = first["conv5_block3_2_conv/kernel"].numpy()
        limit = np.sqrt(6 / (9 * 64 + 9 * 64))
        assert np.abs(w).max() <= limit
        assert w.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)
    else:  # normal of variance 2 / fan-out, truncated
        assert first["top_conv/kernel"].numpy().std() == pytest.approx(np.sqrt(2 / 320), rel=0.05)


def test_a_dropped_block_is_its_shortcut() -> None:
    """Dropping all that can be dropped equals residual branches of 0."""
    encoder = load_encoder("efficientnet_b0_tiny").build(0)
    x = tf.random.stateless_normal([2, 98, 64, 1], seed=[1, 1])
    kept = encoder(x, training=True, noise=tf.zeros([2, 9]))["embedding"]
    dropped = encoder(x, training=True, noise=tf.fill([2, 9], 0.999))["embedding"]
    assert np.abs(dropped - kept).max() > 1e-3
    values = canonical_variables(encoder)
    for block in B0_RATES:
        gamma = values[f"{block}_project_bn/gamma"]
        gamma.assign(tf.zeros_like(gamma))  # its shift starts at 0
    without = encoder(x, training=True, noise=tf.zeros([2, 9]))["embedding"]
    np.testing.assert_allclose(dropped, without, rtol=0, atol=1e-5 * np.abs(without).max())


def test_training_without_noise_is_refused() -> None:
    encoder = load_encoder("efficientnet_b0_tiny").build(0)
    with pytest.raises(ValueError, match=r"efficientnet_b0: training needs noise \(b, 9\).*got none"):
        encoder(tf.zeros([1, 98, 80, 1]), training=True)
