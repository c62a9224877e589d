"""wav2vec 2.0 Base against the reference outputs of an independent implementation, and what those cannot show."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.encoder import load_encoder
from models.encoders.wav2vec2 import Conv, LayerNorm, Positions, TransformerLayer, Wav2Vec2
from models.weights import canonical_variables, load_weights

pytestmark = pytest.mark.slow

CASE = "2x32000"
OFFSETS = {"w": (0, None), "gain": (1, 0.1), "bias": (0, 0.1), "embed": (0, 0.02)}


def reference_weight(name: str, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """By the rule of the reference outputs, in PyTorch's layout."""
    n = np.random.Generator(np.random.PCG64(zlib.crc32(f"1:{name}".encode()))).standard_normal(shape)
    offset, scale = OFFSETS[kind]
    return np.asarray(offset + n * (scale or np.prod(shape[1:]) ** -0.5), np.float32)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "golden" / "wav2vec2_base.npz") as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture(scope="module")
def base(golden: dict[str, np.ndarray]) -> Wav2Vec2:
    encoder = load_encoder("wav2vec2_base").build(0)
    names, shapes, kinds, first = (
        golden[f"params/{key}"].tolist() for key in ("names", "shapes", "kinds", "first")
    )
    arrays = {}
    for name, shape, kind, start in zip(names, shapes, kinds, first, strict=True):
        weight = reference_weight(name, kind, tuple(map(int, shape.split(","))))
        assert weight.flat[0] == np.float32(start), name
        arrays[name] = weight.T  # all axes in reverse order
    load_weights(encoder, arrays)
    return encoder


@pytest.fixture(scope="module")
def waveform(golden: dict[str, np.ndarray]) -> np.ndarray:
    x = np.random.Generator(np.random.PCG64(1000 + 2000)).standard_normal((2, 32000)).astype(np.float32)
    np.testing.assert_allclose(golden[f"{CASE}/input/stats"][2:], x.ravel()[:6], rtol=1e-6)
    return x


def stats(value: np.ndarray, channels_first: bool) -> np.ndarray:
    first = (value[0].T if channels_first else value[0]).ravel()[:6]
    return np.array([value.mean(dtype=np.float64), value.std(dtype=np.float64), *first])


def test_embedding_modules_and_gradients_equal_golden(
    base: Wav2Vec2, golden: dict[str, np.ndarray], waveform: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, np.ndarray] = {}
    for layer in (Conv, LayerNorm, Positions, TransformerLayer):
        original = layer.__call__

        def call(self, *args, original=original):
            output = original(self, *args)
            seen[self.name] = output.numpy()
            return output

        monkeypatch.setattr(layer, "__call__", call)
    variables = canonical_variables(base)
    with tf.GradientTape() as tape:
        outputs = base(waveform)
        loss = tf.reduce_mean(outputs["embedding"] ** 2)
    np.testing.assert_allclose(outputs["embedding"], golden[f"{CASE}/embedding"], rtol=0, atol=1e-5)
    context, latents = outputs["context"].numpy(), base.latents(tf.constant(waveform)).numpy()
    found = {
        "last_hidden/stats": stats(context, False),
        "stats/feature_extractor": stats(latents, True),
        "stats/encoder.pos_conv_embed": stats(seen["encoder.pos_conv_embed.conv"], False),
        "stats/encoder.layer_norm": stats(seen["encoder.layer_norm"], False),
        **{f"stats/encoder.layers.{i}": stats(seen[f"encoder.layers.{i}"], False) for i in (0, 5, 11)},
    }
    for key, value in found.items():
        np.testing.assert_allclose(value, golden[f"{CASE}/{key}"], rtol=1e-3, atol=1e-5, err_msg=key)
    assert golden[f"{CASE}/shape/feature_extractor"].tolist() == [latents.shape[i] for i in (0, 2, 1)]

    np.testing.assert_allclose(loss, golden["grad_norm/loss"], rtol=1e-4)
    norms = dict(zip(golden["grad_norm/names"].tolist(), golden["grad_norm/values"], strict=True))
    gradients = tape.gradient(loss, variables)
    assert set(variables) - set(norms) <= set(Wav2Vec2.masked_only)
    for name, expected in norms.items():
        gradient = gradients[name]
        norm = 0.0 if gradient is None else float(tf.norm(gradient))
        if name.endswith("k_proj.bias"):  # zero in exact arithmetic
            assert norm < 1e-6
        else:
            np.testing.assert_allclose(norm, expected, rtol=1e-3, atol=1e-9, err_msg=name)


@pytest.fixture(scope="module")
def tiny() -> Wav2Vec2:
    return load_encoder("wav2vec2_tiny").build(1)


def noise(rows: int, seed: int = 1) -> tf.Tensor:
    return tf.random.stateless_normal([rows, 8000], seed=[seed, 2])


def test_a_dropped_layer_hands_its_input_on_for_that_clip_alone(tiny: Wav2Vec2) -> None:
    x, drop = noise(2), np.zeros((2, tiny.noise_size), np.float32)
    drop[1] = 0.96  # the rate is 0.05
    whole, some = tiny(x), tiny(x, training=True, noise=drop)
    np.testing.assert_allclose(some["context"][0], whole["context"][0], atol=1e-6)
    projected = tiny.projection(tiny.normalised(tiny.latents(x)))
    expected = tiny.layer_norm(projected + tiny.positions(projected))[1]
    np.testing.assert_allclose(some["context"][1], expected, atol=1e-6)
    assert np.abs(some["context"][1] - whole["context"][1]).max() > 1e-3
    with pytest.raises(ValueError, match=r"wav2vec2: training needs noise \(b, 2\).*got none"):
        tiny(x, training=True)


def test_masked_frames_are_not_seen(tiny: Wav2Vec2) -> None:
    normalised = tiny.normalised(tiny.latents(noise(1)))
    mask = np.zeros(normalised.shape[:2], bool)
    mask[:, 5:9] = True
    changed = tf.where(mask[..., None], normalised + 3.0, normalised)
    expected, got = (tiny.contextualise(rows, mask=tf.constant(mask)) for rows in (normalised, changed))
    np.testing.assert_array_equal(got, expected)
    assert np.abs(tiny.contextualise(changed) - expected).max() > 1e-2


def test_loudness_and_offset_do_not_count(tiny: Wav2Vec2) -> None:
    x = 0.1 * noise(2)
    np.testing.assert_allclose(tiny(3.0 * x + 0.2)["embedding"], tiny(x)["embedding"], atol=1e-4)


def test_a_clip_shorter_than_a_window_is_named(tiny: Wav2Vec2) -> None:
    assert tiny(noise(1)[:, :400])["context"].shape == (1, 1, 48)
    with pytest.raises(ValueError, match="wav2vec2: clips must fill one window of 400 samples, got 399"):
        tiny(noise(1)[:, :399])
    free = tf.function(tiny, input_signature=[tf.TensorSpec([None, None], tf.float32)])
    with pytest.raises(tf.errors.InvalidArgumentError, match="one window of 400 samples"):
        free(noise(1)[:, :399])
