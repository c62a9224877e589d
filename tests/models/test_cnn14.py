"""CNN14 against the reference outputs of PANNs' network, and what those cannot show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from models.encoder import load_encoder
from models.encoders import cnn14
from models.encoders._batch_norm import BatchNorm
from models.encoders._plain_layers import Dense
from models.weights import canonical_variables, load_weights

pytestmark = pytest.mark.slow

CASES = ["2x300x80", "1x1001x64"]
NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def our_name(torch_name: str) -> str:
    *module, leaf = torch_name.split(".")
    if module[-1].startswith("bn"):
        return f"{'/'.join(module)}/{NORM[leaf]}"
    return f"{'/'.join(module)}/{'w' if leaf == 'weight' else 'b'}"


def our_layout(weight: np.ndarray) -> np.ndarray:
    return {4: lambda w: w.transpose(2, 3, 1, 0), 2: np.transpose}.get(weight.ndim, lambda w: w)(weight)


@pytest.fixture(scope="module")
def golden(torch_golden):
    return torch_golden("cnn14")


@pytest.fixture(scope="module")
def filled(golden) -> Callable[[str], cnn14.CNN14]:
    """The encoder for a case's mel bins, with the reference's weights; the large kernels are filled once."""
    encoders: dict[str, cnn14.CNN14] = {}

    def of(case: str) -> cnn14.CNN14:
        if case not in encoders:
            encoders.clear()  # one at a time is enough memory
            bins = int(case.split("x")[2])
            encoder = load_encoder("cnn14").build(0)
            encoder(tf.zeros([1, 32, bins, 1]))
            weights = golden.weights_at(bins)
            load_weights(encoder, {our_name(name): our_layout(w) for name, w in weights.items()})
            encoders[case] = encoder
        return encoders[case]

    return of


def test_gradient_norms_equal_golden(filled, golden) -> None:
    case = str(golden.values["grad_norm/case"])
    encoder = filled(case)
    variables = {v.name.removesuffix(":0"): v for v in encoder.trainable_variables}
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(encoder(golden.draw_input(case)[..., np.newaxis])["embedding"] ** 2)
    np.testing.assert_allclose(loss, golden.values["grad_norm/loss"], rtol=1e-4)
    norms = {name: tf.norm(gradient) for name, gradient in tape.gradient(loss, variables).items()}
    names, values = golden.values["grad_norm/names"].tolist(), golden.values["grad_norm/values"]
    assert set(norms) == {our_name(name) for name in names}
    for name, value in zip(names, values, strict=True):
        np.testing.assert_allclose(norms[our_name(name)], value, rtol=1e-3, err_msg=name)


@pytest.mark.parametrize("loudness", [1, 100])
@pytest.mark.parametrize("case", CASES)
def test_embedding_and_every_block_equal_golden(
    filled, golden, case: str, loudness: int, stats_of_map, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = filled(case)
    seen: dict[str, np.ndarray] = {}
    for layer in (BatchNorm, cnn14.ConvBlock, Dense):
        original = layer.__call__

        def call(self, *args, original=original, **kwargs):
            output = original(self, *args, **kwargs)
            seen[self.name] = output.numpy()
            return output

        monkeypatch.setattr(layer, "__call__", call)
    x = golden.draw_input(case) * np.float32(loudness)
    embedding = encoder(x[..., np.newaxis])["embedding"]
    prefix = case if loudness == 1 else f"{case}/input_x100"
    # Biases rule the deep layers of these weights, so the embedding alone would show little: hence 1e-5.
    np.testing.assert_allclose(embedding, golden.values[f"{prefix}/embedding"], rtol=0, atol=1e-5)
    stored = golden.stats(prefix)
    assert set(stored) == {"bn0", "fc1", *(f"conv_block{i}" for i in range(1, 7))}
    for name, expected in stored.items():
        value = seen[name]
        if name == "fc1":
            got = [value.mean(dtype=np.float64), value.std(dtype=np.float64), *value[0, :6]]
        else:
            got = stats_of_map(value)  # of bn0 too: its bins are channels on both sides
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(("bins", "expected"), [(80, 79_673_824), (64, 79_673_792)])
def test_parameters_follow_the_mel_bins(bins: int, expected: int) -> None:
    """Counted by hand from the layout: kernels, two numbers a channel for each normalisation, and fc1."""
    widths = cnn14.CNN14Config().widths
    blocks = sum(
        9 * before * after + 9 * after * after + 4 * after
        for before, after in zip((1, *widths), widths, strict=False)
    )
    trunk = blocks + 2 * bins
    assert trunk + widths[-1] ** 2 + widths[-1] == expected
    assert bins == 64 or (trunk == 75_477_472 and load_encoder("cnn14").parameters == expected)


def test_another_number_of_mel_bins_is_refused() -> None:
    encoder = load_encoder("cnn14_tiny").build(0)
    encoder(tf.zeros([1, 40, 64, 1]))
    with pytest.raises(ValueError, match="made for 64 mel bins and got 80"):
        encoder(tf.zeros([1, 40, 80, 1]))


def test_short_clips_are_filled_with_zeros() -> None:
    """After the first normalisation, so that what fills a clip is no quiet but nothing."""
    encoder = load_encoder("cnn14_tiny").build(0)
    short = tf.random.stateless_normal([2, 7, 64, 1], seed=[1, 2])
    expected = encoder(tf.pad(short, [[0, 0], [0, 25], [0, 0], [0, 0]]))["embedding"]
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(encoder(short)["embedding"], expected, atol=1e-6)
    free = tf.function(encoder, input_signature=[tf.TensorSpec([None, None, 64, 1])])
    np.testing.assert_allclose(free(short)["embedding"], expected, atol=1e-6)


def test_moving_statistics_are_among_the_weights() -> None:
    encoder = load_encoder("cnn14_tiny").build(0)
    encoder(tf.zeros([1, 40, 64, 1]))
    names = canonical_variables(encoder)
    assert sum(name.endswith(("moving_mean", "moving_variance")) for name in names) == 2 * 13
