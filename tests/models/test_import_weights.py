"""Published weights: names, layouts and shapes of each source, one error for all that does not fit, an export."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.encoder import load_encoder
from models.export import read_metadata
from models.frontend import log_mel, standardise
from models.import_weights import fill_encoder, import_weights, source_names, source_of
from models.published import byola, panns, wav2vec2
from models.weights import canonical_variables, load_weights, save_weights

pytestmark = pytest.mark.slow

TINY_PANNS_WIDTHS = (8, 12, 16, 24, 32, 48)


def panns_state() -> dict[str, np.ndarray]:
    """As PANNs' code names and lays out the tensors, for the widths of `cnn14_tiny`, and what comes with them."""
    rng = np.random.default_rng(0)
    state: dict[str, np.ndarray] = {}

    def norm(name: str, size: int) -> None:
        state[f"{name}.weight"] = rng.uniform(0.5, 1.5, size)
        state[f"{name}.bias"] = rng.normal(size=size)
        state[f"{name}.running_mean"] = rng.normal(size=size)
        state[f"{name}.running_var"] = rng.uniform(0.5, 1.5, size)
        state[f"{name}.num_batches_tracked"] = np.array(3)

    norm("bn0", 64)
    state["bn0.running_mean"] = state["bn0.running_mean"] * 5 - 40  # decibels
    state["bn0.running_var"] = state["bn0.running_var"] * 200
    for i, (before, after) in enumerate(zip((1, *TINY_PANNS_WIDTHS), TINY_PANNS_WIDTHS, strict=False), 1):
        for place, channels in ((1, before), (2, after)):
            state[f"conv_block{i}.conv{place}.weight"] = 0.2 * rng.normal(size=(after, channels, 3, 3))
            norm(f"conv_block{i}.bn{place}", after)
    state["fc1.weight"], state["fc1.bias"] = rng.normal(size=(48, 48)), rng.normal(size=48)
    state["fc_audioset.weight"], state["fc_audioset.bias"] = np.zeros((527, 48)), np.zeros(527)
    state["spectrogram_extractor.stft.conv_real.weight"] = np.zeros((257, 1, 512))
    state["logmel_extractor.melW"] = np.zeros((257, 64))
    return {name: np.asarray(value, np.float32) for name, value in state.items()}


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    header, body = {}, b""
    for name, tensor in tensors.items():
        data = tensor.astype("<f4").tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def test_every_encoder_has_a_source() -> None:
    assert source_names() == ("byola", "canonical", "panns", "wav2vec2")
    found = {
        name: source_of(name).name for name in ("cnn14", "cnn14_tiny", "byola_cnn", "nfnet_f0", "sf_nfnet_f0")
    }
    assert found == {
        "cnn14": "panns", "cnn14_tiny": "panns", "byola_cnn": "byola", "nfnet_f0": "canonical",
        "sf_nfnet_f0": "canonical",
    }  # fmt: skip


def test_panns_names_and_layouts_are_all_known(torch_golden) -> None:
    """The reference's names are those of PANNs' state; the tiny sibling has as many layers as the full network."""
    weights = torch_golden("cnn14").weights_at(64)
    arrays = panns.convert(weights)
    encoder = load_encoder("cnn14_tiny").build(0)
    encoder(tf.zeros([1, 32, 64, 1]))
    assert set(arrays) == set(canonical_variables(encoder))
    kernel = weights["conv_block3.conv2.weight"]
    assert arrays["conv_block3/conv2/w"].shape == (3, 3, 256, 256)
    assert arrays["conv_block3/conv2/w"][2, 0, 5, 7] == kernel[7, 5, 2, 0]
    assert arrays["fc1/w"][5, 7] == weights["fc1.weight"][7, 5]


def test_byola_weights_compute_the_reference(torch_golden) -> None:
    golden = torch_golden("byola_cnn")
    counters = {f"features.{i}.num_batches_tracked": np.array(3) for i in (1, 5, 9)}
    encoder = fill_encoder("byola_cnn", {**golden.weights, **counters}, byola.SOURCE)
    x = golden.draw_input("2x96x64")[..., np.newaxis]
    expected = golden.values["2x96x64/embedding"]
    np.testing.assert_allclose(encoder(x)["embedding"], expected, rtol=0, atol=1e-4)


def test_wav2vec2_names_and_layouts(torch_golden) -> None:
    """Hugging Face's names, with a prefix and a head, in both spellings of weight normalisation."""
    weights = torch_golden("wav2vec2_base").weights
    state = {f"wav2vec2.{name}": weight for name, weight in weights.items()}
    expected = {name: w.shape[::-1] for name, w in weights.items()}
    conv = "wav2vec2.encoder.pos_conv_embed.conv."
    old = {name: w for name, w in state.items() if "parametrizations" not in name}
    old[f"{conv}weight_g"] = state[f"{conv}parametrizations.weight.original0"]
    old[f"{conv}weight_v"] = state[f"{conv}parametrizations.weight.original1"]
    heads = {"quantizer.codevectors": np.zeros((1, 640, 128)), "project_q.bias": np.zeros(256)}
    for spelling in (weights, state, old):
        arrays = wav2vec2.convert({**spelling, **heads})
        assert {name: array.shape for name, array in arrays.items()} == expected
        key = "encoder.layers.3.attention.k_proj.weight"
        assert arrays[key][5, 7] == weights[key][7, 5]


def test_statistics_of_standardised_clips_are_the_same_function() -> None:
    rng = np.random.default_rng(0)
    mean, variance = rng.normal(-40, 5, 64), rng.uniform(100, 300, 64)
    x = rng.normal(mean, np.sqrt(variance), (20_000, 64))  # decibels with those statistics
    z = (x - x.mean()) / x.std()
    ours, spread = panns.standardised_statistics(mean, variance)
    np.testing.assert_allclose((z - ours) / np.sqrt(spread), (x - mean) / np.sqrt(variance), atol=0.05)


def test_panns_checkpoint_becomes_an_export_that_computes_its_function(tmp_path: Path) -> None:
    state = panns_state()
    write_safetensors(tmp_path / "panns.safetensors", state)
    metadata = import_weights("cnn14_tiny", tmp_path / "panns.safetensors", tmp_path / "out")
    assert read_metadata(tmp_path / "out") == metadata
    assert metadata["weights_source"] == "panns"
    assert metadata["frontend"]["num_mel_bins"] == 64 and metadata["frontend"]["window_length"] == 512
    assert metadata["parameters"] == load_encoder("cnn14_tiny").parameters - 2 * (80 - 64)
    loaded = tf.saved_model.load(str(tmp_path / "out"))
    wave = np.random.default_rng(1).uniform(-0.5, 0.5, (2, 16000)).astype(np.float32)
    got = loaded.signatures["serving_default"](waveform=wave)["embedding"]
    z = standardise(log_mel(wave, panns.FRONTEND)).numpy().astype(np.float64)
    # At the scale that the running statistics tell, through the network as numpy would have it.
    mean, variance = state["bn0.running_mean"], state["bn0.running_var"]
    decibels = z * np.sqrt(variance.mean() + mean.var()) + mean.mean()
    np.testing.assert_allclose(got, panns_by_numpy(decibels, state), rtol=1e-3, atol=1e-3)


def panns_by_numpy(x: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
    """PANNs' network on (b, t, f) decibels, with its own names and layouts."""

    def norm(y: np.ndarray, name: str) -> np.ndarray:  # channels last
        scale = state[f"{name}.weight"] / np.sqrt(state[f"{name}.running_var"] + 1e-5)
        return (y - state[f"{name}.running_mean"]) * scale + state[f"{name}.bias"]

    def convolve(y: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        padded = np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        return np.einsum("btfcij,ocij->btfo", windows, kernel, optimize=True)

    y = norm(x, "bn0")[..., np.newaxis]
    for i in range(1, 7):
        for place in (1, 2):
            y = convolve(y, state[f"conv_block{i}.conv{place}.weight"])
            y = np.maximum(0, norm(y, f"conv_block{i}.bn{place}"))
        if i < 6:
            b, t, f, c = y.shape
            y = y[:, : t // 2 * 2, : f // 2 * 2].reshape(b, t // 2, 2, f // 2, 2, c).mean((2, 4))
    pooled = y.mean(2).max(1) + y.mean(2).mean(1)
    return np.maximum(0, pooled @ state["fc1.weight"].T + state["fc1.bias"])


def test_all_that_does_not_fit_is_one_error_and_nothing_is_written(tmp_path: Path) -> None:
    state = panns_state()
    del state["conv_block2.bn1.running_var"], state["fc1.bias"]
    state["conv_block7.conv1.weight"] = np.zeros((2, 2, 3, 3), np.float32)
    state["conv_block1.conv1.weight"] = np.zeros((8, 2, 3, 3), np.float32)
    write_safetensors(tmp_path / "panns.safetensors", state)
    with pytest.raises(ValueError) as error:
        import_weights("cnn14_tiny", tmp_path / "panns.safetensors", tmp_path / "out")
    for part in (
        "missing: conv_block2/bn1/moving_variance, fc1/b",
        "unexpected: conv_block7/conv1/w",
        "misshapen: conv_block1/conv1/w (3, 3, 2, 8), expected (3, 3, 1, 8)",
    ):
        assert part in str(error.value)
    assert not (tmp_path / "out").exists()


def test_canonical_weights_come_back_as_they_were(tmp_path: Path) -> None:
    record = load_encoder("vit_tiny")
    encoder = record.build(5)
    save_weights(encoder, tmp_path / "weights.npz")
    metadata = import_weights("vit_tiny", tmp_path / "weights.npz", tmp_path / "out")
    other = record.build(6)
    load_weights(other, canonical_variables(encoder))
    assert metadata["weights_source"] == "canonical"
    x = tf.random.stateless_normal([1, 98, 80], seed=[1, 2])
    loaded = tf.saved_model.load(str(tmp_path / "out"))
    got = loaded.signatures["spectrogram"](spectrogram=x)["embedding"]
    np.testing.assert_allclose(got, encoder(x[..., tf.newaxis])["embedding"], atol=1e-5)
