"""Every encoder that exists, swept: what its record states is what is built, and it can be trained and exported.

The tiny siblings go through everything. They are the code of the full-size encoders with smaller numbers, so of
those, which are slow on a small machine, only the parameter count and one embedding are checked here; their
numbers are checked against reference outputs in each encoder's own test.

An encoder is tested with weights moved off their first values, so that what starts as 0 (a skip gain, a scale)
counts, and gradients pass it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.encoder import Encoder, EncoderRecord, encoder_module_name, encoder_names, load_encoder
from models.export import export_saved_model
from models.frontend import FrontendConfig
from models.weights import canonical_variables, load_weights, weights_digest

pytestmark = pytest.mark.slow

TINY = [name for name in encoder_names() if name.endswith("_tiny")]
FULL = [name for name in encoder_names() if name not in TINY]
# Distance of a bfloat16 embedding from the float32 one, relative to the latter's length; bfloat16 itself rounds
# each number by up to 0.004 of it. Measured: 0.003 to 0.02. Statistics of a small batch amplify rounding layer by
# layer: there the distance is up to 0.17 (ResNet-50), and that of Keras' own network is 0.18.
BFLOAT16_TOLERANCE = 0.05
BFLOAT16_BATCH_TOLERANCE = 0.25
Built = tuple[EncoderRecord, Encoder]


def clips(record: EncoderRecord, batch: int = 2, seconds: int = 1, bins: int = 0, seed: int = 1) -> tf.Tensor:
    """Noise in the encoder's kind of input; 0 mel bins are those of the record."""
    bins = bins or record.mel_bins
    log_mel = record.input_kind == "log_mel"
    shape = [batch, 100 * seconds - 2, bins, 1] if log_mel else [batch, 16000 * seconds]
    return tf.random.stateless_normal(shape, seed=[seed, seconds])


def fresh(record: EncoderRecord) -> Encoder:
    """The encoder with its first weights; some make them when they are first called."""
    encoder = record.build(0)
    encoder(clips(record))
    return encoder


def move_weights(encoder: Encoder) -> None:
    for place, variable in enumerate(canonical_variables(encoder).values()):
        if variable.dtype.is_floating:
            noise = np.random.default_rng(place).standard_normal(variable.shape).astype(np.float32)
            spread = float(np.std(variable)) or 0.3
            # Running statistics may be variances: they only grow.
            step = noise if variable.trainable else np.abs(noise)
            variable.assign_add(0.5 * spread * step)


def embed(record: EncoderRecord, encoder: Encoder, x: tf.Tensor) -> tf.Tensor:
    """The embedding as training sees it where that differs from inference: with batch statistics, no drops."""
    noise = tf.zeros([len(x), encoder.noise_size]) if record.batch_normalised else None
    return encoder(x, training=record.batch_normalised, noise=noise)["embedding"]


def relative_distance(got: tf.Tensor, expected: tf.Tensor) -> float:
    return float(tf.norm(got - expected) / tf.norm(expected))


@pytest.fixture(scope="module", params=TINY)
def swept(request: pytest.FixtureRequest) -> tuple[EncoderRecord, Encoder, str]:
    """A tiny encoder with its weights moved, and the digest of its first weights."""
    record = load_encoder(request.param)
    encoder = fresh(record)
    digest = weights_digest(encoder)
    move_weights(encoder)
    return record, encoder, digest


@pytest.fixture(scope="module")
def built(swept: tuple[EncoderRecord, Encoder, str]) -> Built:
    return swept[:2]


@pytest.mark.parametrize("name", FULL)
def test_full_size_encoders_are_as_their_records_state(name: str) -> None:
    record = load_encoder(name)
    encoder = record.build(0)
    outputs = encoder(clips(record, batch=1))
    assert sum(int(tf.size(v)) for v in encoder.trainable_variables) == record.parameters
    assert outputs["embedding"].shape == (1, record.embedding_size)
    assert outputs["embedding"].dtype == tf.float32
    assert np.isfinite(outputs["embedding"]).all()
    siblings = importlib.import_module(encoder_module_name(name)).ENCODERS
    assert any(n in TINY and siblings[n].input_kind == record.input_kind for n in siblings)


def test_parameters_are_as_stated_and_weights_come_from_the_seed(
    swept: tuple[EncoderRecord, Encoder, str],
) -> None:
    record, encoder, digest = swept
    assert sum(int(tf.size(v)) for v in encoder.trainable_variables) == record.parameters
    tf.random.set_seed(17)  # must not matter
    assert weights_digest(fresh(record)) == digest
    other = record.build(1)
    other(clips(record))
    assert weights_digest(other) != digest


@pytest.mark.parametrize("bins", [64, 80, 128])
def test_any_length_and_number_of_mel_bins(built: Built, bins: int) -> None:
    record, encoder = built
    if record.input_kind == "waveform" and bins != 80:
        pytest.skip("takes waveforms, which have no mel bins")
    takes_any = bins == record.mel_bins or record.input_kind == "waveform"
    if not takes_any:  # weights may take their shapes from the first input
        encoder = record.build(0)
    for seconds in (1, 3, 5):
        outputs = encoder(clips(record, 1, seconds, bins))
        assert outputs["embedding"].shape == (1, record.embedding_size)
        assert outputs["embedding"].dtype == tf.float32
        for value in outputs.values():
            assert np.isfinite(value).all()


def test_half_a_second_is_enough(built: Built) -> None:
    record, encoder = built
    whole = clips(record)
    assert np.isfinite(encoder(whole[:, : whole.shape[1] // 2])["embedding"]).all()


def test_every_variable_gets_a_gradient(built: Built) -> None:
    record, encoder = built
    weights = tf.random.stateless_normal([record.embedding_size], seed=[5, 6])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(embed(record, encoder, clips(record)) * weights)
    gradients = tape.gradient(loss, encoder.trainable_variables)
    silent = [
        variable.name.removesuffix(":0")
        for variable, gradient in zip(encoder.trainable_variables, gradients, strict=True)
        if gradient is None or not np.any(gradient.numpy()) or not np.isfinite(gradient.numpy()).all()
    ]
    # What the embedding does not reach at all, the encoder says by name: its own objective trains it.
    assert set(silent) == set(getattr(encoder, "masked_only", ()))


def test_training_needs_only_the_noise_it_states(built: Built) -> None:
    record, encoder = built
    noise = tf.random.stateless_uniform([2, encoder.noise_size], seed=[3, 4]) if encoder.noise_size else None
    one, same = (encoder(clips(record), training=True, noise=noise)["embedding"] for _ in range(2))
    assert np.isfinite(one).all()
    np.testing.assert_allclose(one, same, rtol=0, atol=1e-5 * np.abs(one).max())


@contextlib.contextmanager
def bfloat16() -> Iterator[None]:
    """The policy under which the training loop builds encoders that compute in bfloat16."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def test_bfloat16_agrees_with_float32_and_keeps_float32_weights(built: Built) -> None:
    record, encoder = built
    with bfloat16():
        half = fresh(record)
    assert half.compute_dtype == "bfloat16"
    assert {v.dtype for v in half.variables if v.dtype.is_floating} == {tf.float32}
    x = clips(record, batch=4)
    assert relative_distance(half(x)["embedding"], fresh(record)(x)["embedding"]) < BFLOAT16_TOLERANCE
    load_weights(half, canonical_variables(encoder))
    expected, got = encoder(x)["embedding"], half(x)["embedding"]
    assert got.dtype == tf.float32
    assert 1e-4 < relative_distance(got, expected) < BFLOAT16_TOLERANCE  # nearer, it would not be in bfloat16
    if record.batch_normalised:
        distance = relative_distance(embed(record, half, x), embed(record, encoder, x))
        assert distance < BFLOAT16_BATCH_TOLERANCE


def test_only_batch_normalisation_lets_a_clip_see_its_neighbours(built: Built) -> None:
    record, encoder = built
    noise = tf.random.stateless_uniform([3, encoder.noise_size], seed=[3, 4]) if encoder.noise_size else None
    one, other = clips(record, batch=3), clips(record, batch=3, seed=2)
    for training in (False, True):
        alone, among_others = (
            encoder(tf.concat([one[:1], rest[1:]], 0), training=training, noise=noise)["embedding"][0]
            for rest in (one, 3.0 * other)
        )
        difference = np.abs(alone - among_others).max()
        if training and record.batch_normalised:
            assert difference > 1e-3 * np.abs(alone).max()
        else:
            assert difference <= 1e-6 * np.abs(alone).max()


def test_folding_keeps_the_embedding(built: Built) -> None:
    record, encoder = built
    x = clips(record)
    expected, got = encoder(x)["embedding"], encoder.folded()(x)["embedding"]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_a_saved_model_gives_the_same_numbers(built: Built, tmp_path: Path) -> None:
    record, encoder = built
    export_saved_model(encoder, record, tmp_path, FrontendConfig(num_mel_bins=record.mel_bins), {})
    loaded = tf.saved_model.load(str(tmp_path)).signatures
    x = clips(record)
    given = (
        loaded["spectrogram"](spectrogram=x[..., 0])
        if record.input_kind == "log_mel"
        else loaded["serving_default"](waveform=x)
    )
    spec = tf.TensorSpec([None, None, *x.shape[2:]], tf.float32)  # free lengths, as in the export
    expected = tf.function(encoder.folded(), input_signature=[spec])(x)
    assert set(given) == set(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(given[key], value, err_msg=key)


def test_a_graph_runs_on_a_cpu_without_onednn() -> None:
    """TensorFlow's own kernels, which it takes on CPUs without AVX-512, refuse a fused convolution of groups."""
    script = (
        "import sys, tensorflow as tf; from models.encoder import load_encoder\n"
        "for name in sys.argv[1:]:\n"
        "    record = load_encoder(name); encoder = record.build(0)\n"
        "    log_mel = record.input_kind == 'log_mel'\n"
        "    x = tf.ones([2, 98, record.mel_bins, 1] if log_mel else [2, 16000])\n"
        "    assert tf.function(encoder)(x)['embedding'].shape == (2, record.embedding_size), name\n"
    )
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", script, *TINY]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_name_leads_to_the_longest_matching_module() -> None:
    assert encoder_module_name("sf_nfnet_tiny") == "models.encoders.sf_nfnet"
    for name in encoder_names():
        record = load_encoder(name)
        assert record.name == name
        assert name in importlib.import_module(encoder_module_name(name)).ENCODERS


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    for name in ("resnet", "sf_nfnet_huge"):
        with pytest.raises(ValueError, match=f"unknown encoder '{name}'; there are .*sf_nfnet_f0"):
            load_encoder(name)
