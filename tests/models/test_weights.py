"""Weights by canonical name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.encoder import load_encoder
from models.weights import canonical_variables, load_weights, read_weights, save_weights, weights_digest


class Pair(tf.Module):
    def __init__(self, first: str = "z/w", second: str = "a/b") -> None:
        super().__init__(name="pair")
        self.w = tf.Variable([[1.0, 2.0]], name=first)
        self.b = tf.Variable(3.0, name=second)


def test_names_are_sorted_and_unique() -> None:
    assert list(canonical_variables(Pair())) == ["a/b", "z/w"]
    with pytest.raises(ValueError, match="two variables are called 'z/w'"):
        canonical_variables(Pair("z/w", "z/w"))


def test_digest_covers_names_types_shapes_and_bytes() -> None:
    expected = hashlib.sha256(
        b"a/b float32 ()\n\x00\x00\x40\x40" + b"z/w float32 (1, 2)\n\x00\x00\x80\x3f\x00\x00\x00\x40"
    )
    pair = Pair()
    assert weights_digest(pair) == expected.hexdigest()
    pair.b.assign(3.5)
    assert weights_digest(pair) != expected.hexdigest()
    assert weights_digest(Pair("y/w")) != expected.hexdigest()


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    record = load_encoder("sf_nfnet_tiny")
    one, other = record.build(1), record.build(2)
    save_weights(one, tmp_path / "weights.npz")
    load_weights(other, read_weights(tmp_path / "weights.npz"))
    assert weights_digest(one) == weights_digest(other)


def test_an_error_lists_everything_and_changes_nothing() -> None:
    pair = Pair()
    with pytest.raises(ValueError) as error:
        load_weights(pair, {"z/w": np.zeros((2, 1)), "c": np.zeros(()), "d": np.zeros(())})
    for part in ("missing: a/b", "unexpected: c, d", "misshapen: z/w (2, 1), expected (1, 2)"):
        assert part in str(error.value)
    np.testing.assert_array_equal(pair.w, [[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"unexpected: 0, 1, 2, 3, 4 and 5 more\)"):
        load_weights(
            pair, {**{str(i): np.zeros(()) for i in range(10)}, "a/b": np.zeros(()), "z/w": np.zeros((1, 2))}
        )
