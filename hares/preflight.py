"""Pre-flight: is this an encoder that HARES can score? Asked of synthetic sounds, before any data is read.

The probes take an encoder's word for it: one that sees its neighbours in the batch, or draws anew at every call,
gets a score that nobody can repeat. A dozen calls on four sounds (noise, a chord, clicks, a sweep) and on silence
find that out in seconds. What cannot be found out this way: a sample rate that is possible but not the one the
encoder was trained with, unless nobody has said it and the input length gives it away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hares.adapters import HIGHEST_RATE, LOWEST_RATE, FrozenEncoder, encode_crops
from hares.embedding.encoding import no_memory, what_it_raised
from hares.task import SAMPLE_RATE, Task

TOLERANCE = 1e-3  # of the largest number in the embeddings: far above rounding, far below dropout
_SOUNDS = 4


@dataclass(frozen=True)
class Check:
    """One check: what was asked, and where it failed, the cause and the remedy ("" where it passed)."""

    name: str
    passed: bool
    cause: str = ""
    remedy: str = ""


class _Failed(Exception):
    """A call that gave nothing to look at."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.cause)
        self.check = check


class PreflightError(ValueError):
    """An encoder that cannot be scored; the message lists every failed check with cause and remedy."""

    def __init__(self, spec: str, checks: Sequence[Check]) -> None:
        failed = [f for f in checks if not f.passed]
        lines = [f"  {f.name}: {f.cause}. {f.remedy}" for f in failed]
        super().__init__(
            "\n".join([f"encoder {spec!r} fails {len(failed)} of the pre-flight's checks", *lines])
        )
        self.checks = tuple(checks)


def crop_lengths(tasks: Sequence[Task]) -> tuple[float, ...]:
    """The seconds that crops of `tasks` last, shortest first."""
    lengths = {
        s for t in tasks for s in (t.train_crop or t.clip_seconds, t.evaluation_crop or t.clip_seconds)
    }
    return tuple(sorted(length for length in lengths if length is not None))


def check_encoder(
    encoder: FrozenEncoder, seconds: Sequence[float], largest: float = float(np.finfo(np.float32).max)
) -> tuple[tuple[Check, ...], int]:
    """Asks an encoder everything.

    Args:
        encoder: what to check.
        seconds: lengths of the crops it will get.
        largest: the largest number that the embeddings are kept in.

    Returns:
        The checks, all passed, and the embedding size.

    Raises:
        PreflightError: a check failed; checks that cannot be made after it are left out.
    """
    checks = [_rate(encoder, max(seconds))]
    if not checks[0].passed:
        raise PreflightError(encoder.spec, checks)
    encode = encode_crops(encoder)
    embedded, found = _shapes(encoder, encode, seconds)
    checks += found
    if not all(f.passed for f in found):
        raise PreflightError(encoder.spec, checks)
    try:
        checks += _behaviour(encode, embedded, seconds[0], largest)
    except _Failed as error:
        raise PreflightError(encoder.spec, [*checks, error.check]) from error
    if not all(f.passed for f in checks):
        raise PreflightError(encoder.spec, checks)
    return tuple(checks), embedded[0].shape[1]


def _behaviour(
    encode: Callable[[np.ndarray], np.ndarray],
    embedded: Sequence[np.ndarray],
    seconds: float,
    largest: float,
) -> list[Check]:
    """The checks of the numbers; the first that makes others pointless is the last."""
    shortest = embedded[0]
    checks = [_finite(encode, embedded, seconds)]
    if checks[-1].passed:
        checks += [_range(embedded, largest), _sees_its_input(shortest)]
        checks.append(_deterministic(encode, shortest, seconds))
        if checks[-1].passed:  # else it moves whatever its neighbours are
            checks.append(_alone(encode, shortest, seconds))
    return checks


def synthetic_crops(seconds: float) -> np.ndarray:
    """Four sounds that no two encoders could confuse: (4, n) float32 at 16 kHz."""
    samples = round(seconds * SAMPLE_RATE)
    time = np.arange(samples) / SAMPLE_RATE
    noise = np.random.default_rng(0).standard_normal(samples) * 0.1
    chord = sum(np.sin(2 * np.pi * hertz * time) for hertz in (220.0, 277.2, 329.6)) * 0.2
    clicks = np.where(np.arange(samples) % 1600 < 8, 0.9, 0.0)
    sweep = 0.5 * np.sin(2 * np.pi * (100 * time + 3000 * time**2 / (2 * seconds)))
    return np.stack([noise, chord, clicks, sweep]).astype(np.float32)


def _rate(encoder: FrozenEncoder, longest: float) -> Check:
    rate = encoder.sample_rate
    whole = isinstance(rate, int | np.integer) and not isinstance(rate, bool)
    if whole and LOWEST_RATE <= rate <= HIGHEST_RATE:
        if not encoder.rate_assumed or (encoder.input_samples or 0) / rate <= longest:
            return Check("sample rate", True)
        return Check(
            "sample rate",
            False,
            f"nothing says what it is, and at {rate} Hz its {encoder.input_samples} samples would last "
            f"{encoder.input_samples / rate:g} s, longer than any crop",  # type: ignore[operator]
            "Look it up and give --sample-rate",
        )
    return Check(
        "sample rate",
        False,
        f"it declares {rate!r}; expected a whole number of Hz from {LOWEST_RATE} to {HIGHEST_RATE}",
        "Correct the encoder's sample_rate, or --sample-rate where it declares none",
    )


def _shapes(
    encoder: FrozenEncoder, encode: Callable[[np.ndarray], np.ndarray], seconds: Sequence[float]
) -> tuple[list[np.ndarray], list[Check]]:
    """Embeddings of the four sounds at every length, and whether they are (4, d) with one d, the promised one."""
    embedded: list[np.ndarray] = []
    for length in seconds:
        crops = synthetic_crops(length)
        asked = f"crops of {length:g} s, {encoder.sample_rate} Hz"
        try:
            embedding = _called(encode, crops, asked)
        except _Failed as error:
            return embedded, [error.check]
        if embedding.ndim != 2 or len(embedding) != _SOUNDS or not embedding.shape[1]:
            cause = f"{asked}: {_SOUNDS} crops became {embedding.shape}; expected ({_SOUNDS}, embedding size)"
            remedy = (
                "Return one vector a crop, in their order: average over time, or choose with --output-name"
            )
            return embedded, [Check("shape", False, cause, remedy)]
        embedded.append(embedding)
    sizes = {embedding.shape[1] for embedding in embedded}
    checks = [Check("takes crops", True), Check("shape", True)]
    promised = encoder.embedding_size
    if len(sizes) > 1:
        cause = f"{sorted(sizes)} numbers for crops of {', '.join(f'{s:g}' for s in seconds)} s"
        remedy = "Pool over time, so that the size does not depend on the length"
        return embedded, [*checks, Check("embedding size", False, cause, remedy)]
    if promised is not None and sizes != {promised}:
        cause = f"it declares {promised!r} and returns {next(iter(sizes))}"
        remedy = "Correct the declared size, or return the embedding it belongs to"
        return embedded, [*checks, Check("embedding size", False, cause, remedy)]
    return embedded, [*checks, Check("embedding size", True)]


def _called(
    encode: Callable[[np.ndarray], np.ndarray],
    crops: np.ndarray,
    asked: str,
    shape: tuple[int, ...] | None = None,
) -> np.ndarray:
    """The embeddings of `crops`; raises `_Failed` where there are none, or they are of another shape."""
    try:
        embedding = encode(crops)
    except Exception as error:  # whatever the encoder's code raises
        remedy = (
            "Make it take float32 (batch, samples) of that length; a fixed length must be in its signature"
        )
        if no_memory(error):
            remedy = f"Free memory, or use a machine with more: {len(crops)} crops at once must fit"
        logging.getLogger(__name__).error("%s: the encoder raised", asked, exc_info=error)
        check = Check("takes crops", False, f"{asked}: it {what_it_raised(error)}", remedy)
        raise _Failed(check) from error
    if shape is not None and embedding.shape != shape:
        cause = f"{asked}: {len(crops)} crops became {embedding.shape}; expected {shape}"
        raise _Failed(Check("shape", False, cause, "Return one vector a crop, whatever is heard in it"))
    return embedding


def _finite(
    encode: Callable[[np.ndarray], np.ndarray], embedded: Sequence[np.ndarray], seconds: float
) -> Check:
    crops = synthetic_crops(seconds)
    shape = embedded[0].shape
    silence = _called(encode, np.zeros_like(crops), "digital silence", shape)
    loud = _called(encode, np.sign(crops), "full-scale sound", shape)
    for what, values in (("sounds", embedded), ("digital silence", [silence]), ("full-scale sound", [loud])):
        if not all(np.isfinite(value).all() for value in values):
            return Check(
                "finite",
                False,
                f"NaN or infinity for {what}",
                "Guard logarithms and divisions with a floor; recordings do hold silence and clipping",
            )
    return Check("finite", True)


def _range(embedded: Sequence[np.ndarray], largest: float) -> Check:
    top = max(float(np.abs(value).max()) for value in embedded)
    if top * 4 < largest:  # recordings may be louder than these sounds
        return Check("range", True)
    cause = f"numbers up to {top:.3g} do not fit the chosen type, whose largest is {largest:.3g}"
    return Check("range", False, cause, "Keep them with --embedding-dtype float32")


def _sees_its_input(embedding: np.ndarray) -> Check:
    if _difference(embedding, np.broadcast_to(embedding[:1], embedding.shape), embedding) > 1e-6:
        return Check("sees its input", True)
    return Check(
        "sees its input",
        False,
        "noise, a chord, clicks and a sweep have one and the same embedding",
        "Are its weights loaded, and is the chosen output one that depends on the waveform?",
    )


def _deterministic(
    encode: Callable[[np.ndarray], np.ndarray], embedding: np.ndarray, seconds: float
) -> Check:
    again = _called(encode, synthetic_crops(seconds), "the same crops again", embedding.shape)
    difference = _difference(again, embedding, embedding)
    if difference <= TOLERANCE:
        return Check("deterministic", True)
    return Check(
        "deterministic",
        False,
        f"the same crops twice differ by {100 * difference:.2g}% of the largest number",
        "Turn off dropout and random crops (training=False, eval()), and fix its seeds",
    )


def _alone(encode: Callable[[np.ndarray], np.ndarray], embedding: np.ndarray, seconds: float) -> Check:
    """Each sound among copies of a louder one: the sound's own embedding must not move."""
    crops = synthetic_crops(seconds)
    worst = 0.0
    for position in range(2):
        others = np.sign(crops)
        others[position] = crops[position]
        found = _called(encode, others, "a crop among louder ones", embedding.shape)
        worst = max(worst, _difference(found[position], embedding[position], embedding))
    if worst <= TOLERANCE:
        return Check("independent of its neighbours", True)
    return Check(
        "independent of its neighbours",
        False,
        f"a crop's embedding moves by {100 * worst:.2g}% of the largest number with the rest of the batch",
        "Use stored batch statistics (training=False, eval()), and normalise each waveform by itself",
    )


def _difference(one: np.ndarray, other: np.ndarray, scale: np.ndarray) -> float:
    largest = float(np.abs(scale).max())
    return float(np.abs(one - other).max()) / largest if largest > 0 else 0.0
