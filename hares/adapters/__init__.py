"""Any frozen encoder as one kind of object, found by a spec such as `saved_model:DIR` or `hear:MODULE:WEIGHTS`.

One kind of encoder is one module in this folder, found by name; it exposes
`load(location, options) -> FrozenEncoder`. Adding a kind touches no other file. Paper, section 2.1: the encoder
is frozen, and what it gives for a crop is all that a probe sees.

Crops are 16 kHz. What happens before an encoder that wants something else (`encode_crops`):

- Another sample rate: soxr (HQ) resamples the crop.
- A fixed input length: a shorter crop is padded with zeros at its end; a longer one is cut into consecutive
  windows, with one more that ends where the crop ends when at least half a window remains (the rule of the
  protocol for clips), and the windows' embeddings are averaged.

Shapes: `b` batch, `n` samples, `d` embedding.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import soxr

from hares.adapters._arrays import as_array
from hares.own_classifier import OwnClassifier
from hares.task import SAMPLE_RATE
from hares.user_code import contained

LOWEST_RATE, HIGHEST_RATE = 4_000, 192_000  # outside, a sample rate is a mistake


@dataclass(frozen=True)
class EncoderOptions:
    """What a spec cannot say.

    Attributes:
        sample_rate: of the encoder's input in Hz; None for what it says itself, or 16 kHz.
        output: name or number of the output to take; None where there is but one, or one is named as an embedding.
    """

    sample_rate: int | None = None
    output: str | None = None


@dataclass(frozen=True)
class Layers:
    """All layers of an encoder, each pooled to one vector a crop, from one call of the network.

    Attributes:
        encoders: each layer as `--output-name` alone would load it, with the digest that it then has.
        embed: float32 waveforms (b, n) to the embeddings (b, d) of each of them, in their order.
    """

    encoders: tuple[FrozenEncoder, ...]
    embed: Callable[[np.ndarray], Sequence[Any]]


@dataclass(frozen=True)
class FrozenEncoder:
    """A frozen encoder, whatever made it.

    Attributes:
        spec: what the user asked for.
        name: for people, in reports.
        sample_rate: of the waveforms it takes, in Hz.
        embedding_size: the d it promises; None where it promises none.
        digest: SHA-256 (hex) of the weights, the code and the choices that settle its embeddings.
        embed: float32 waveforms (b, n) in [-1, 1] at `sample_rate` to anything array-like (b, d).
        input_samples: the only n it takes; None where it takes any.
        output: which of its outputs the embedding is, by name or number; "" where it has one without either.
        outputs: all of them.
        own_classifier: what supervised pretraining trained on top of it; it scores its task without a probe.
        rate_assumed: whether nobody, neither encoder nor user, has said what `sample_rate` is.
        layers: all that its network can give at once; None of a kind of encoder that has no layers to choose from.
        details: what else a report should say of it; values that JSON can hold.
    """

    spec: str
    name: str
    sample_rate: int
    embedding_size: int | None
    digest: str
    embed: Callable[[np.ndarray], Any]
    input_samples: int | None = None
    output: str = ""
    outputs: tuple[str, ...] = ()
    rate_assumed: bool = False
    own_classifier: OwnClassifier | None = None
    layers: Layers | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def adapter_kinds() -> tuple[str, ...]:
    """What a spec may begin with, sorted: the public modules of this folder."""
    names = [info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")]
    return tuple(sorted(names))


def load_adapter(spec: str, options: EncoderOptions | None = None) -> FrozenEncoder:
    """Loads the encoder that `spec` names; code in it is executed.

    Args:
        spec: `KIND` or `KIND:LOCATION`; the modules of this folder say what each kind's location is.
        options: sample rate and output, where the encoder does not say.

    Raises:
        ValueError: an unknown kind, or nothing usable at the location; the message names the remedy.
        UserCodeError: the code failed, or wanted to end the process.
    """
    kind, _, location = spec.partition(":")
    if kind not in adapter_kinds():
        raise ValueError(
            f"encoder {spec!r}: no kind is called {kind!r}; a spec is KIND:LOCATION with one of "
            f"{', '.join(adapter_kinds())}"
        )
    module: ModuleType = importlib.import_module(f"hares.adapters.{kind}")
    with contained(f"encoder {spec!r}"):
        try:
            encoder: FrozenEncoder = module.load(location, options or EncoderOptions())
        except ModuleNotFoundError as error:
            raise ValueError(
                f"encoder {spec!r}: {error.name} is not installed in {sys.prefix}, and encoders of kind {kind!r} need "
                "it; install it there, or install hares where it is"
            ) from error
    return encoder


def chosen_rate(spec: str, declared: int | None, options: EncoderOptions) -> int:
    """The sample rate in force: what the encoder declares, else what the user says, else 16 kHz.

    Raises:
        ValueError: the user and the encoder disagree.
    """
    if declared is None:
        return SAMPLE_RATE if options.sample_rate is None else options.sample_rate
    if options.sample_rate not in (None, declared):
        raise ValueError(
            f"encoder {spec!r}: --sample-rate is {options.sample_rate}, but the encoder declares {declared} Hz. "
            "Leave --sample-rate out"
        )
    return declared


def encode_crops(encoder: FrozenEncoder) -> Callable[[np.ndarray], np.ndarray]:
    """The encoder as a function of 16 kHz crops: (b, n) float32 to (b, d) float32.

    The encoder sees the same n for crops of the same length, so that a compiled one is traced once for each. What its
    code raises comes through, its attempts to end the process as `UserCodeError`.
    """

    def encode(crops: np.ndarray) -> np.ndarray:
        waveforms = _resampled(crops, encoder.sample_rate)
        windows = _windows(waveforms, encoder.input_samples)
        with contained(f"encoder {encoder.spec!r}"):
            embedded = [as_array(encoder.embed(window)) for window in windows]
        return embedded[0] if len(embedded) == 1 else np.mean(embedded, axis=0, dtype=np.float32)

    return encode


def _resampled(crops: np.ndarray, rate: int) -> np.ndarray:
    """Crops (b, n) of 16 kHz at `rate`: (b, round(n * rate / 16000)) float32."""
    if rate == SAMPLE_RATE:
        return crops
    wanted = round(crops.shape[1] * rate / SAMPLE_RATE)
    # soxr takes (samples, channels); channels do not see each other.
    resampled = soxr.resample(np.ascontiguousarray(crops.T), SAMPLE_RATE, rate, quality="HQ").T
    return _fit(resampled, wanted)


def _windows(waveforms: np.ndarray, length: int | None) -> list[np.ndarray]:
    """Waveforms (b, n) as windows (b, length)."""
    samples = waveforms.shape[1]
    if length is None or samples == length:
        return [waveforms]
    if samples < length:
        return [_fit(waveforms, length)]
    starts = list(range(0, samples - length + 1, length))
    if 2 * (samples - starts[-1] - length) >= length:
        starts.append(samples - length)
    return [np.ascontiguousarray(waveforms[:, start : start + length]) for start in starts]


def _fit(waveforms: np.ndarray, length: int) -> np.ndarray:
    kept = waveforms[:, :length]
    return np.ascontiguousarray(np.pad(kept, ((0, 0), (0, length - kept.shape[1]))), np.float32)
