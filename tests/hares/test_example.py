import numpy as np
import pytest
import tensorflow as tf

from hares.example import ExampleClip, decode_example, encode_example, level_dbfs


def test_round_trip_is_exact() -> None:
    waveform = np.random.default_rng(0).integers(-32768, 32767, 1234).astype(np.int16)
    clip = ExampleClip("a/ü.wav#0-1", waveform, (3, 1), "speaker")
    back = decode_example(encode_example(clip))
    assert (back.clip_id, back.labels, back.group) == (clip.clip_id, clip.labels, clip.group)
    np.testing.assert_array_equal(back.waveform, waveform)


def test_bytes_are_what_tensorflow_decodes() -> None:
    waveform = np.array([0, 1, -1, 32767, -32768], np.int16)
    parsed = tf.io.parse_single_example(
        encode_example(ExampleClip("a", waveform, (), "g")),
        {"waveform": tf.io.FixedLenFeature([], tf.string)},
    )
    np.testing.assert_array_equal(tf.io.decode_raw(parsed["waveform"], tf.int16), waveform)


def test_level_of_a_full_scale_sine_is_minus_three_db() -> None:
    sine = np.round(32767 * np.sin(2 * np.pi * np.arange(16000) / 16)).astype(np.int16)
    assert level_dbfs(sine) == pytest.approx(-3.01, abs=0.01)


def test_a_record_of_another_kind_is_named() -> None:
    with pytest.raises(ValueError, match=r"without clip_id, waveform, group"):
        decode_example(tf.train.Example().SerializeToString())
