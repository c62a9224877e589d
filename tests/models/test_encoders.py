"""Every encoder that exists, swept: what its record states is what is built, and it can be trained and exported."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import tensorflow as tf

from models.encoder import Encoder, EncoderRecord, encoder_module_name, encoder_names, load_encoder
from models.weights import canonical_variables, weights_digest


@pytest.fixture(scope="module", params=encoder_names())
def built(request: pytest.FixtureRequest) -> tuple[EncoderRecord, Encoder]:
    record = load_encoder(request.param)
    return record, record.build(0)


def short_input(record: EncoderRecord) -> tf.Tensor:
    """One second, or a little less."""
    shape = [2, 98, 80, 1] if record.input_kind == "log_mel" else [2, 16000]
    return tf.random.stateless_normal(shape, seed=[1, 2])


def test_outputs_are_as_the_record_states(built: tuple[EncoderRecord, Encoder]) -> None:
    record, encoder = built
    outputs = encoder(short_input(record), training=False)
    assert outputs["embedding"].shape == (2, record.embedding_size)
    assert outputs["embedding"].dtype == tf.float32
    for value in outputs.values():
        assert np.isfinite(value).all()
    assert sum(int(tf.size(v)) for v in encoder.trainable_variables) == record.parameters


def test_canonical_names_are_unique_and_weights_come_from_the_seed(
    built: tuple[EncoderRecord, Encoder],
) -> None:
    record, encoder = built
    assert canonical_variables(encoder)
    assert weights_digest(record.build(0)) == weights_digest(encoder)


def test_training_needs_only_the_noise_it_states(built: tuple[EncoderRecord, Encoder]) -> None:
    record, encoder = built
    noise = tf.random.stateless_uniform([2, encoder.noise_size], seed=[3, 4]) if encoder.noise_size else None
    one, same = (encoder(short_input(record), training=True, noise=noise)["embedding"] for _ in range(2))
    assert np.isfinite(one).all()
    np.testing.assert_allclose(one, same, atol=1e-5)


def test_folding_keeps_the_embedding(built: tuple[EncoderRecord, Encoder]) -> None:
    record, encoder = built
    x = short_input(record)
    np.testing.assert_allclose(encoder.folded()(x)["embedding"], encoder(x)["embedding"], atol=1e-5)


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
