"""Notes of the eleven NSynth families: additive, plucked-string, FM and sung.

Each family is one record of numbers; an instrument of a family is that record with every number moved
by a few tenths, keyed by the instrument's name, so that instruments of a family differ as the real ones
do and a test instrument is new to the probe. Letters in shapes: `n` samples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from hares.synthesis.signals import Samples, band, coloured, decay, faded, keyed, length, unit
from hares.synthesis.voices import Speaker, sing, speaker
from hares.task import SAMPLE_RATE

FAMILIES = (
    "bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "synth_lead", "vocal",
)  # fmt: skip
PARTIALS = 24
HIGHEST_HZ = 7000.0


@dataclass(frozen=True, slots=True)
class Timbre:
    """How an instrument sounds.

    Attributes:
        method: how the tone is made.
        slope: decibels an octave by which partials fall.
        even: weight of the even partials (a closed tube has few).
        attack: seconds to full level.
        ring: seconds to 1/e once struck or plucked; None where the tone is held.
        damping: how much faster high partials die away.
        swell: how much later high partials rise.
        stiffness: inharmonicity of a stiff string.
        ratios: partials of a bar or drawbars, in multiples of the fundamental; empty for harmonics.
        vibrato: depth in cents.
        breath: level of breath or bow noise beside the tone.
        index: modulation index of FM.
    """

    method: Literal["additive", "pluck", "fm", "sung"] = "additive"
    slope: float = 6.0
    even: float = 1.0
    attack: float = 0.02
    ring: float | None = None
    damping: float = 0.0
    swell: float = 0.0
    stiffness: float = 0.0
    ratios: tuple[float, ...] = ()
    vibrato: float = 0.0
    breath: float = 0.0
    index: float = 0.0


TIMBRES: dict[str, Timbre] = {
    "bass": Timbre("pluck", slope=0.22, ring=0.9),
    "guitar": Timbre("pluck", slope=0.06, ring=0.7),
    "harpsichord": Timbre("pluck", slope=0.02, ring=0.4),
    "sitar": Timbre("pluck", slope=0.005, ring=1.5),
    "brass": Timbre(slope=5.0, attack=0.06, swell=0.9, vibrato=6, breath=0.01),
    "flute": Timbre(slope=14.0, attack=0.08, vibrato=14, breath=0.12),
    "keyboard": Timbre(slope=9.0, attack=0.004, ring=0.9, damping=0.7, stiffness=2e-4),
    "mallet": Timbre(slope=5.0, attack=0.002, ring=0.35, damping=0.9, ratios=(1, 3.93, 9.2, 16.0)),
    "organ": Timbre(slope=2.5, attack=0.02, ratios=(1, 2, 3, 4, 6, 8)),
    "reed": Timbre(slope=5.0, even=0.12, attack=0.05, vibrato=8, breath=0.03),
    "string": Timbre(slope=6.5, attack=0.14, vibrato=18, breath=0.03),
    "synth_lead": Timbre("fm", attack=0.01, index=3.0),
    "vocal": Timbre("sung", vibrato=14),
}


@dataclass(frozen=True)
class Instrument:
    """One instrument: its name, its timbre, and for a sung one the singer and the vowel."""

    name: str
    timbre: Timbre
    singer: Speaker
    vowel: str


def instrument(family: str, seed: int, name: str) -> Instrument:
    """The instrument `name` of a family in `TIMBRES`: the family's numbers, each moved by its own factor."""
    base, rng = TIMBRES[family], keyed(seed, "instrument", name)

    def moved(value: float) -> float:
        return float(value * np.exp(rng.uniform(-0.35, 0.35)))

    timbre = replace(
        base,
        slope=moved(base.slope),
        even=moved(base.even),
        attack=moved(base.attack),
        ring=None if base.ring is None else moved(base.ring),
        vibrato=moved(base.vibrato),
        breath=moved(base.breath),
        index=moved(base.index),
    )
    return Instrument(name, timbre, speaker(seed, name), str(rng.choice(["a", "o", "u", "e"])))


def note(
    player: Instrument, hz: float, seconds: float, rng: np.random.Generator, loudness: float = 1.0
) -> Samples:
    """One note at unit RMS over its length, ready to be levelled and placed, (n,).

    Args:
        player: the instrument.
        hz: fundamental.
        seconds: how long the note lasts, release included.
        rng: draws phases, vibrato and noise.
        loudness: 0 to 1; a soft note is duller.
    """
    n = length(seconds)
    timbre = player.timbre
    if timbre.method == "sung":
        tone = sing([(hz, seconds, player.vowel)], player.singer, rng, cents=timbre.vibrato)
    elif timbre.method == "pluck":
        tone = _plucked(timbre, hz, n, rng, loudness)
    elif timbre.method == "fm":
        tone = _modulated(timbre, hz, n, rng, loudness)
    else:
        tone = _additive(timbre, hz, n, rng, loudness)
    release = min(0.25, seconds * 0.3) if timbre.ring is None else min(0.05, seconds * 0.2)
    tail = length(release)
    tone = tone[:n].copy()
    tone[len(tone) - tail :] *= np.linspace(1, 0, tail)
    return unit(faded(tone, 0.002))


def midi_hz(pitch: int) -> float:
    """Fundamental of a MIDI pitch number, A4 = 69 = 440 Hz."""
    return float(440.0 * 2 ** ((pitch - 69) / 12))


def _vibrato(timbre: Timbre, n: int, rng: np.random.Generator) -> Samples:
    """Cycles of the fundamental per cycle of nominal pitch, summed: time in seconds with vibrato, (n,)."""
    seconds = np.arange(n) / SAMPLE_RATE
    if timbre.vibrato == 0:
        return seconds
    rate = rng.uniform(4.5, 6.5)
    onset = np.clip(seconds / 0.4, 0, 1)
    depth = timbre.vibrato / 1200 * np.log(2)
    return np.cumsum(1 + depth * onset * np.sin(2 * np.pi * rate * seconds)) / SAMPLE_RATE


def _additive(timbre: Timbre, hz: float, n: int, rng: np.random.Generator, loudness: float) -> Samples:
    ratios = np.asarray(timbre.ratios or np.arange(1, PARTIALS + 1), float)
    ratios = ratios[ratios * hz < HIGHEST_HZ]
    warped, seconds = _vibrato(timbre, n, rng), np.arange(n) / SAMPLE_RATE
    out = np.zeros(n)
    for k in ratios:
        octaves = np.log2(max(k, 1.0))
        level = 10 ** (-(timbre.slope + 4 * (1 - loudness)) * octaves / 20) * rng.uniform(0.7, 1.3)
        if not timbre.ratios and k % 2 == 0:
            level *= timbre.even
        rise = timbre.attack * (1 + timbre.swell * octaves)
        shape = np.minimum(seconds / rise, 1.0)
        if timbre.ring is not None:
            shape = shape * np.exp(-seconds / timbre.ring * k**timbre.damping)
        stretched = k * np.sqrt(1 + timbre.stiffness * k**2)
        out += level * shape * np.sin(2 * np.pi * stretched * hz * warped + rng.uniform(0, 2 * np.pi))
    if timbre.breath > 0:
        noise = band(coloured(rng, n, 3.0), max(100.0, 0.7 * hz), min(6.0 * hz, 7500.0), order=1)
        out = unit(out) + timbre.breath * noise * np.minimum(seconds / 0.03, 1.0)
    return out


def _plucked(timbre: Timbre, hz: float, n: int, rng: np.random.Generator, loudness: float) -> Samples:
    """Karplus and Strong's string: a burst that goes round a delay line with a symmetric low-pass.

    The line is computed in blocks shorter than the delay, so that NumPy does the work: each block
    needs only samples of earlier ones.
    """
    delay = SAMPLE_RATE / hz
    whole = int(delay) - 2
    fraction = delay - whole - 2
    soft = timbre.slope + 0.002
    # delays whole + 1 ... whole + 4; the low-pass is symmetric around 2, linear interpolation adds `fraction`
    taps = np.convolve([soft, 1 - 2 * soft, soft], [1 - fraction, fraction])
    ring = timbre.ring if timbre.ring is not None else 1.0
    taps *= np.exp(-1 / (hz * ring * 2.0))
    line = np.zeros(n + whole + 8)
    start = whole + 8
    burst = np.clip(rng.standard_normal(whole + 2), -2, 2)
    burst -= burst.mean()
    comb = max(1, round((whole + 2) * rng.uniform(0.12, 0.3)))
    burst = burst - np.roll(burst, comb)
    if loudness < 1:
        burst = band(burst, None, 1500 + 5000 * loudness, order=1)
    excitation = np.zeros(n)
    excitation[: min(n, len(burst))] = burst[:n]
    for at in range(0, n, whole):
        size = min(whole, n - at)
        block = excitation[at : at + size].copy()
        for j, tap in enumerate(taps):
            source = start + at - (whole + 1 + j)
            block += tap * line[source : source + size]
        line[start + at : start + at + size] = block
    return line[start:]


def _modulated(timbre: Timbre, hz: float, n: int, rng: np.random.Generator, loudness: float) -> Samples:
    """Chowning's FM with a carrier at the fundamental and a modulator that is a small multiple of it."""
    seconds = np.arange(n) / SAMPLE_RATE
    ratio = float(rng.choice([1, 2, 3]))
    fading = 0.4 + 0.6 * decay(n, rng.uniform(0.2, 1.5))
    modulator = timbre.index * loudness * fading * np.sin(2 * np.pi * ratio * hz * seconds)
    detuned = np.sin(2 * np.pi * hz * 1.002 * seconds + modulator)
    tone = np.sin(2 * np.pi * hz * seconds + modulator) + 0.5 * detuned
    return tone * np.minimum(seconds / timbre.attack, 1.0)
