"""Building blocks of the synthetic corpus: keyed random numbers, noises, filters, levels.

All synthesis is mono at 16 kHz; `resampled` gives the other rates the real data sets are stored at, so
a 44.1 kHz file holds nothing above 8 kHz. Every random draw comes from a generator keyed by what the
clip is (`keyed`), never from shared state: clips are the same in whatever order they are made.
Letters in shapes: `n` samples.
"""

from __future__ import annotations

import hashlib
from math import gcd

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from hares.task import SAMPLE_RATE

Samples = NDArray[np.float64]

PEAK = 0.9


def keyed(seed: int, *key: str | int) -> np.random.Generator:
    """A generator that depends on `seed` and `key` alone (PCG64 over a BLAKE2b digest)."""
    text = "\x1f".join([str(seed), *(str(part) for part in key)])
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def hex_name(digits: int, seed: int, *key: str | int) -> str:
    """A file-name part of `digits` hexadecimal digits that depends on `seed` and `key` alone."""
    return keyed(seed, *key, "name").bytes(digits).hex()[:digits]


def length(seconds: float) -> int:
    """Samples in `seconds` at 16 kHz."""
    return round(seconds * SAMPLE_RATE)


def white(rng: np.random.Generator, n: int) -> Samples:
    """White noise of unit variance, (n,)."""
    return rng.standard_normal(n)


def coloured(rng: np.random.Generator, n: int, db_per_octave: float) -> Samples:
    """Noise of unit RMS whose power falls by `db_per_octave` above 50 Hz (3 is pink, 6 brown), (n,)."""
    size = n + n % 2
    hz = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 50.0)
    spectrum = np.fft.rfft(white(rng, size)) * (hz / 50.0) ** (-db_per_octave / 6.02)
    return unit(np.fft.irfft(spectrum, size)[:n])


def band(x: Samples, low: float | None, high: float | None, order: int = 2) -> Samples:
    """Butterworth filter between `low` and `high` Hz; None leaves that side open. (n,) -> (n,)."""
    if low is None and high is None:
        return x
    kind, edges = (
        ("lowpass", high) if low is None else ("highpass", low) if high is None else ("bandpass", (low, high))
    )
    return signal.sosfilt(signal.butter(order, edges, kind, fs=SAMPLE_RATE, output="sos"), x)


def resonance(x: Samples, hz: float, bandwidth: float) -> Samples:
    """A two-pole resonator at `hz`, `bandwidth` Hz wide. (n,) -> (n,)."""
    radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
    return signal.lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * hz / SAMPLE_RATE), radius**2], x)


def drift(rng: np.random.Generator, n: int, hz: float) -> Samples:
    """A slow random curve in [0, 1] with about `hz` new values a second, (n,)."""
    points = rng.random(max(4, int(np.ceil(n / SAMPLE_RATE * hz)) + 2))
    return np.interp(np.arange(n) / n * (len(points) - 1), np.arange(len(points)), points)


def sweep(hz: Samples, phase: float = 0.0) -> Samples:
    """A sine whose instantaneous frequency is `hz`, (n,) -> (n,)."""
    return np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE + phase)


def decay(n: int, seconds: float) -> Samples:
    """An exponential decay that reaches 1/e after `seconds`, (n,)."""
    return np.exp(-np.arange(n) / (seconds * SAMPLE_RATE))


def faded(x: Samples, seconds: float = 0.01) -> Samples:
    """`x` with linear ramps of `seconds` at both ends, so that nothing clicks. (n,) -> (n,)."""
    edge = min(length(seconds), len(x) // 2)
    if edge == 0:
        return x
    out = x.copy()
    ramp = np.arange(edge) / edge
    out[:edge] *= ramp
    out[-edge:] *= ramp[::-1]
    return out


def unit(x: Samples) -> Samples:
    """`x` at an RMS of 1; silence stays silence. (n,) -> (n,)."""
    rms = float(np.sqrt(np.mean(x**2)))
    return x / rms if rms > 0 else x


def gain(db: float) -> float:
    """The factor of an amplitude change of `db` decibels."""
    return float(10 ** (db / 20))


def at_level(x: Samples, dbfs: float) -> Samples:
    """`x` at an RMS of `dbfs` decibels relative to full scale. (n,) -> (n,)."""
    return unit(x) * gain(dbfs)


def add_at(canvas: Samples, x: Samples, start: int) -> None:
    """Adds `x` to `canvas` from sample `start` on, in place; what does not fit is cut."""
    stop = min(start + len(x), len(canvas))
    if stop > start:
        canvas[start:stop] += x[: stop - start]


def placed(x: Samples, n: int, rng: np.random.Generator) -> Samples:
    """`x` at a random onset in `n` samples of silence; cut where it is longer. -> (n,)."""
    canvas = np.zeros(n)
    add_at(canvas, x, int(rng.integers(0, max(1, n - len(x)))))
    return canvas


def reverberant(x: Samples, rng: np.random.Generator, seconds: float, wet: float) -> Samples:
    """`x` in a room: a noise tail decaying by 60 dB in `seconds`, mixed in by `wet`. (n,) -> (n,)."""
    n = length(seconds)
    response = white(rng, n) * decay(n, seconds / 6.9)
    response /= np.sqrt(np.sum(response**2))
    return (1 - wet) * x + wet * signal.fftconvolve(x, response)[: len(x)]


def microphone(x: Samples, rng: np.random.Generator, spread_db: float = 8.0) -> Samples:
    """`x` through an unknown microphone: a random tilt and one random resonance. (n,) -> (n,).

    Without it the mean spectrum alone would tell most classes apart.
    """
    spectrum = np.fft.rfft(x)
    hz = np.maximum(np.fft.rfftfreq(len(x), 1 / SAMPLE_RATE), 50.0)
    octaves = np.log2(hz / 1000.0)
    centre, height = rng.uniform(-2.5, 2.5), rng.uniform(-spread_db, spread_db)
    tilt = rng.uniform(-spread_db, spread_db) / 4
    response_db = tilt * octaves + height * np.exp(-0.5 * ((octaves - centre) / 0.5) ** 2)
    return np.fft.irfft(spectrum * 10 ** (response_db / 20), len(x))


def recorded(
    x: Samples, rng: np.random.Generator, snr_db: tuple[float, float], dbfs: tuple[float, float]
) -> Samples:
    """`x` as a recording: room noise at a random signal-to-noise ratio, then a random level. (n,) -> (n,)."""
    noise = coloured(rng, len(x), rng.uniform(0.0, 6.0))
    noisy = unit(x) + noise * gain(-rng.uniform(*snr_db))
    return limited(at_level(noisy, rng.uniform(*dbfs)))


def limited(x: Samples) -> Samples:
    """`x` scaled down where its peak would pass 0.9 of full scale. (..., n) -> (..., n)."""
    peak = float(np.max(np.abs(x))) if x.size else 0.0
    return x * (PEAK / peak) if peak > PEAK else x


def resampled(x: Samples, rate: int) -> Samples:
    """`x` from 16 kHz to `rate` Hz along its last axis. (..., n) -> (..., n * rate / 16000)."""
    if rate == SAMPLE_RATE:
        return x
    common = gcd(rate, SAMPLE_RATE)
    return limited(signal.resample_poly(x, rate // common, SAMPLE_RATE // common, axis=-1))
