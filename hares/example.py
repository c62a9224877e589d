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
from functools import cached_property

import numpy as np

SILENCE_DBFS = -120.0  # stands for the level of a clip of zeros


@dataclass(frozen=True)
class ExampleClip:
    """A decoded clip: `waveform` is (n,) int16, mono, 16 kHz."""

    clip_id: str
    waveform: np.ndarray
    labels: tuple[int, ...]
    group: str

    @cached_property
    def level(self) -> float:
        """Level of `waveform`, as `level_dbfs`."""
        return level_dbfs(self.waveform)


def level_dbfs(waveform: np.ndarray) -> float:
    """Root mean square level of int16 PCM (n,) in dB below full scale, at least `SILENCE_DBFS`."""
    squares = waveform.astype(np.int32)  # -32768 squared is 2^30, so that the sum is exact in any order
    squares *= squares
    mean_square = int(squares.sum(dtype=np.int64)) / 32768.0**2 / max(1, waveform.size)
    return max(SILENCE_DBFS, 10.0 * math.log10(mean_square)) if mean_square > 0 else SILENCE_DBFS


def encode_example(clip: ExampleClip) -> bytes:
    """The serialised tf.Example of a clip. Deterministic: the same clip gives the same bytes."""
    import tensorflow as tf  # here and below: who only embeds clips does without it

    example = tf.train.Example()
    feature = (
        example.features.feature
    )  # filled in place: each message made apart would copy the waveform once more
    feature["clip_id"].bytes_list.value.append(clip.clip_id.encode("utf-8"))
    feature["waveform"].bytes_list.value.append(clip.waveform.astype("<i2", copy=False).tobytes())
    feature["label"].int64_list.value.extend(clip.labels)
    feature["group"].bytes_list.value.append(clip.group.encode("utf-8"))
    feature["num_samples"].int64_list.value.append(clip.waveform.size)
    feature["level_dbfs"].float_list.value.append(clip.level)
    return bytes(example.SerializeToString(deterministic=True))


def decode_example(serialized: bytes) -> ExampleClip:
    """The clip of a serialised tf.Example.

    Raises:
        ValueError: a feature is missing; the message names it.
    """
    import tensorflow as tf

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
