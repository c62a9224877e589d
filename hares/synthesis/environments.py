"""Sounds that are neither speech nor music, and the scenes made of them.

Each sound is a function of a generator and a length that returns unit-RMS samples; `SOUNDS` names them
for the data sets that need them. A scene (TUT18) is a tuple of layers over those sounds in a room.
Letters in shapes: `n` samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import signal

from hares.synthesis.phones import LANGUAGES
from hares.synthesis.signals import (
    Samples,
    add_at,
    band,
    coloured,
    decay,
    drift,
    faded,
    gain,
    keyed,
    length,
    placed,
    resonance,
    reverberant,
    sweep,
    unit,
    white,
)
from hares.synthesis.voices import speaker, talk
from hares.task import SAMPLE_RATE

Sound = Callable[[np.random.Generator, int], Samples]


def rain(rng: np.random.Generator, n: int) -> Samples:
    """A hiss with thousands of drops in it."""
    drops = white(rng, n) ** 3 * (rng.random(n) < rng.uniform(0.002, 0.01))
    hiss = coloured(rng, n, rng.uniform(0.0, 2.0)) * (0.8 + 0.2 * drift(rng, n, 1.0))
    return unit(unit(resonance(drops, rng.uniform(2000, 5000), 900)) * 0.8 + hiss)


def sea_waves(rng: np.random.Generator, n: int) -> Samples:
    """Noise that swells every few seconds and grows brighter as it breaks."""
    phase = 2 * np.pi * (rng.uniform(0.15, 0.4) * np.arange(n) / SAMPLE_RATE + rng.random())
    swell = (0.5 + 0.5 * np.sin(phase + 0.7 * np.sin(phase))) ** 2
    return unit(
        coloured(rng, n, 4.0) * (0.15 + swell) + coloured(rng, n, 0.5) * swell**2 * rng.uniform(0.3, 0.8)
    )


def wind(rng: np.random.Generator, n: int) -> Samples:
    """Gusts: low noise and a whistle whose pitch follows the strength."""
    gusts = drift(rng, n, rng.uniform(0.8, 2.5)) ** 1.5
    howl = band(white(rng, n), 250, rng.uniform(500, 1200)) * gusts**2
    return unit(coloured(rng, n, 6.0) * (0.1 + gusts) + unit(howl) * rng.uniform(0.2, 0.8))


def crickets(rng: np.random.Generator, n: int) -> Samples:
    """Trains of high pulses."""
    seconds = np.arange(n) / SAMPLE_RATE
    out = np.zeros(n)
    for _ in range(int(rng.integers(1, 4))):
        pulses = np.clip(np.sin(2 * np.pi * rng.uniform(25, 55) * seconds), 0, None)
        trains = np.clip(np.sin(2 * np.pi * rng.uniform(0.8, 3.0) * seconds + rng.uniform(0, 6)) + 0.4, 0, 1)
        out += rng.uniform(0.3, 1) * pulses * trains * sweep(np.full(n, rng.uniform(3200, 5600)))
    return unit(out)


def chirp(rng: np.random.Generator, species: int) -> Samples:
    """One bird call: short whistles whose pitch glides, keyed by species, (n,)."""
    habit = keyed(0, "species", species)
    low, high = sorted(habit.uniform(1800, 6500, 2))
    syllables, seconds = int(habit.integers(1, 7)), habit.uniform(0.04, 0.2)
    bend, trill = habit.uniform(-1, 1), habit.uniform(0, 60)
    gap = length(habit.uniform(0.02, 0.1))
    parts = []
    for _ in range(syllables):
        n = length(seconds * rng.uniform(0.85, 1.15))
        glide = np.linspace(0, 1, n)
        path = glide if bend > 0.3 else 1 - glide if bend < -0.3 else np.sin(np.pi * glide)
        hz = (low + (high - low) * path) * rng.uniform(0.96, 1.04)
        hz = hz + 150 * np.sin(2 * np.pi * trill * np.arange(n) / SAMPLE_RATE)
        parts += [np.hanning(n) * sweep(hz) * rng.uniform(0.7, 1), np.zeros(gap)]
    return np.concatenate(parts)


def chirping_birds(rng: np.random.Generator, n: int) -> Samples:
    """Several calls of one or two species."""
    out = np.zeros(n)
    species = rng.integers(0, 40, 2)
    for _ in range(int(rng.integers(2, 4 + n // SAMPLE_RATE))):
        add_at(out, chirp(rng, int(rng.choice(species))) * rng.uniform(0.3, 1), int(rng.integers(0, n)))
    return unit(out + 1e-4 * white(rng, n))


def dog(rng: np.random.Generator, n: int) -> Samples:
    """Barks: a short harsh tone with falling pitch through a short throat."""
    out = np.zeros(n)
    pitch, size = rng.uniform(170, 520), rng.uniform(0.8, 1.4)
    at = int(rng.integers(0, max(1, n // 3)))
    for _ in range(int(rng.integers(1, 6))):
        m = length(rng.uniform(0.1, 0.25))
        glide = np.linspace(1.15, 0.8, m) * pitch * rng.uniform(0.95, 1.05)
        source = signal.sawtooth(2 * np.pi * np.cumsum(glide) / SAMPLE_RATE) + 0.5 * white(rng, m)
        bark = resonance(source, 900 * size, 250) + 0.7 * resonance(source, 1900 * size, 400)
        add_at(out, bark * np.hanning(m) ** 0.5, at)
        at += m + length(rng.uniform(0.12, 0.5))
    return unit(out)


def door_wood_knock(rng: np.random.Generator, n: int) -> Samples:
    """Two to seven knocks on one door."""
    return _strikes(rng, n, (2, 8), (0.12, 0.35), (150, 700), 3, 0.025)


def clock_tick(rng: np.random.Generator, n: int) -> Samples:
    """Even ticks, every other one a little higher."""
    return _strikes(rng, n, (40, 41), (0.2, 1.0), (1500, 5500), 3, 0.006, steady=True)


def footsteps(rng: np.random.Generator, n: int) -> Samples:
    """Steps at walking pace."""
    return _strikes(rng, n, (40, 41), (0.42, 0.65), (80, 1800), 5, 0.015)


def clapping(rng: np.random.Generator, n: int) -> Samples:
    """Many hands, none together."""
    out = np.zeros(n)
    for start in rng.integers(0, n, int(n / SAMPLE_RATE * rng.uniform(30, 90))):
        m = length(0.02)
        add_at(out, resonance(white(rng, m) * decay(m, 0.004), rng.uniform(900, 2200), 700), int(start))
    return unit(out)


def helicopter(rng: np.random.Generator, n: int) -> Samples:
    """Blades: low noise chopped ten to twenty times a second, with a turbine over it."""
    blade = sweep(rng.uniform(10, 20) * (0.97 + 0.06 * drift(rng, n, 0.5)))
    chop = np.clip(blade, 0, None) ** rng.uniform(1, 3)
    turbine = 0.05 * sweep(np.full(n, rng.uniform(900, 2200)))
    return unit(coloured(rng, n, 4.5) * (0.2 + chop) + turbine)


def engine(rng: np.random.Generator, n: int) -> Samples:
    """Firing pulses at a wandering speed through an exhaust."""
    hz = rng.uniform(28, 80) * (0.8 + 0.5 * drift(rng, n, 0.6))
    phase = np.cumsum(hz) / SAMPLE_RATE
    pulses = np.exp(-8 * (phase % 1.0)) * (1 + 0.3 * np.sin(np.pi * phase))
    body = band(pulses - pulses.mean(), 30, rng.uniform(500, 1500))
    return unit(unit(body) + coloured(rng, n, 4.0) * rng.uniform(0.2, 0.6))


def vacuum_cleaner(rng: np.random.Generator, n: int) -> Samples:
    """A motor's whine over broad noise."""
    whine = sum(sweep(np.full(n, rng.uniform(180, 320) * k)) / k for k in (1, 2, 3, 5))
    return unit(coloured(rng, n, 1.5) + rng.uniform(0.3, 0.9) * np.asarray(whine))


def siren(rng: np.random.Generator, n: int) -> Samples:
    """A wailing or a two-tone horn."""
    phase = rng.uniform(0.25, 2.5) * np.arange(n) / SAMPLE_RATE + rng.random()
    wail = (
        np.sign(np.sin(2 * np.pi * phase)) if rng.random() < 0.4 else signal.sawtooth(2 * np.pi * phase, 0.5)
    )
    hz = rng.uniform(600, 1000) * 2 ** (0.4 * wail)
    return unit(sweep(hz) + 0.4 * sweep(2 * hz) + 0.2 * sweep(3 * hz))


def hum(rng: np.random.Generator, n: int) -> Samples:
    """Mains and ventilation."""
    tones = sum(sweep(np.full(n, 50.0 * k), rng.uniform(0, 6)) / k for k in (1, 2, 4, 6))
    return unit(np.asarray(tones) + coloured(rng, n, 6.0))


def rails(rng: np.random.Generator, n: int) -> Samples:
    """Wheels over joints, in pairs, on a low rumble."""
    return unit(_strikes(rng, n, (60, 61), (0.25, 0.5), (200, 1500), 4, 0.03) + 0.8 * coloured(rng, n, 5.0))


def chimes(rng: np.random.Generator, n: int) -> Samples:
    """The tones before an announcement."""
    out = np.zeros(n)
    at = int(rng.integers(0, max(1, n - length(1.5))))
    for hz in rng.uniform(500, 1100, 3):
        m = length(0.6)
        add_at(out, sweep(np.full(m, hz)) * decay(m, 0.2), at)
        at += length(0.35)
    return unit(faded(out))


def cars(rng: np.random.Generator, n: int) -> Samples:
    """Vehicles that pass: tyre noise that swells and fades."""
    out = 0.1 * coloured(rng, n, 4.0)
    seconds = np.arange(n) / SAMPLE_RATE
    for _ in range(int(rng.integers(1, 4))):
        nearness = 1 / (1 + ((seconds - rng.uniform(0, n / SAMPLE_RATE)) / rng.uniform(0.4, 1.2)) ** 2)
        out += coloured(rng, n, rng.uniform(2.5, 4.0)) * nearness
    return unit(out)


def babble(rng: np.random.Generator, n: int) -> Samples:
    """A few people talking at once, none to be understood."""
    out = np.zeros(n)
    language = str(rng.choice(sorted(LANGUAGES)))
    for _ in range(int(rng.integers(3, 6))):
        voice = talk(language, speaker(0, f"passer-by {rng.integers(1000)}"), n / SAMPLE_RATE, rng)[1]
        add_at(out, np.roll(np.resize(voice, n), int(rng.integers(n))) * rng.uniform(0.4, 1), 0)
    return unit(band(out, 150, 4500))


SOUNDS: dict[str, Sound] = {
    sound.__name__: sound
    for sound in (
        rain, sea_waves, wind, crickets, chirping_birds, dog, door_wood_knock, clock_tick, footsteps, clapping,
        helicopter, engine, vacuum_cleaner, siren, hum, rails, chimes, cars, babble,
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layer:
    """One sound of a scene: its level in decibels and how often it is there at all."""

    sound: str
    db: float
    chance: float = 1.0


@dataclass(frozen=True)
class Scene:
    """An acoustic scene: its layers and its room (reverberation time in seconds, 0 outdoors)."""

    room: float
    layers: tuple[Layer, ...]


SCENES: dict[str, Scene] = {
    "airport": Scene(1.6, (Layer("hum", -6), Layer("babble", -4), Layer("chimes", -4, 0.5), Layer("footsteps", -8))),
    "bus": Scene(0.2, (Layer("engine", 0), Layer("babble", -14, 0.6), Layer("hum", -8))),
    "metro": Scene(0.3, (Layer("rails", 0), Layer("hum", -3), Layer("babble", -16, 0.5))),
    "metro_station": Scene(1.8, (Layer("rails", -6, 0.6), Layer("babble", -6), Layer("chimes", -2, 0.5),
                                 Layer("footsteps", -4))),
    "park": Scene(0.0, (Layer("wind", -6), Layer("chirping_birds", -4), Layer("footsteps", -12, 0.5))),
    "public_square": Scene(0.7, (Layer("babble", -3), Layer("footsteps", -6), Layer("wind", -8),
                                 Layer("clapping", -8, 0.3))),
    "shopping_mall": Scene(1.2, (Layer("babble", 0), Layer("hum", -10), Layer("footsteps", -8))),
    "street_pedestrian": Scene(0.4, (Layer("footsteps", 0), Layer("babble", -6), Layer("cars", -12, 0.7))),
    "street_traffic": Scene(0.3, (Layer("cars", 0), Layer("engine", -8, 0.7), Layer("siren", -12, 0.2))),
    "tram": Scene(0.25, (Layer("rails", -2), Layer("engine", -14), Layer("siren", -24, 0.4), Layer("babble", -10))),
}  # fmt: skip


def scene(name: str, place: np.random.Generator, moment: np.random.Generator, n: int) -> Samples:
    """A scene in stereo, (2, n).

    Args:
        name: a key of `SCENES`.
        place: draws what belongs to the location: levels, panning, size of the room.
        moment: draws what happens while it is recorded.
        n: samples.
    """
    record = SCENES[name]
    out = 0.02 * np.stack([coloured(moment, n, 3.0), coloured(moment, n, 3.0)])
    room = record.room * place.uniform(0.7, 1.4)
    for layer in record.layers:
        level, pan = gain(layer.db + place.normal(0, 2.5)), place.uniform(0.25, 0.75)
        if moment.random() >= layer.chance:
            continue
        sound = SOUNDS[layer.sound](moment, n) * level
        if room > 0:
            sound = reverberant(sound, moment, room, min(0.6, 0.3 * room))
        late = np.roll(sound, int(moment.integers(1, 24)))
        out += np.stack([sound * (1 - pan) + 0.3 * late, sound * pan + 0.3 * late])
    return out


def _strikes(
    rng: np.random.Generator,
    n: int,
    count: tuple[int, int],
    gap: tuple[float, float],
    modes_hz: tuple[float, float],
    modes: int,
    ring: float,
    steady: bool = False,
) -> Samples:
    """Blows on one body: `modes` resonances within `modes_hz`, dying away in `ring` seconds or less."""
    m = length(ring * 8)
    hz = rng.uniform(*modes_hz, modes)
    body = sum(
        np.sin(2 * np.pi * f * np.arange(m) / SAMPLE_RATE) * decay(m, ring * rng.uniform(0.3, 1)) for f in hz
    )
    click = white(rng, m) * decay(m, 0.002)
    out, step = np.zeros(n), rng.uniform(*gap)
    at = rng.uniform(0, min(step, n / SAMPLE_RATE / 2))
    for i in range(int(rng.integers(*count))):
        if length(at) >= n:
            break
        accent = 1.0 if i % 2 == 0 else 0.75
        add_at(out, accent * (np.asarray(body) + click) * (1 if steady else rng.uniform(0.5, 1)), length(at))
        at += step * (1 if steady else rng.uniform(0.9, 1.1))
    return unit(out)


def bird_recording(rng: np.random.Generator, n: int, backdrop: str, has_bird: bool) -> Samples:
    """A field recording that holds a bird or does not, at unit RMS, (n,).

    The backdrop is a key of `SOUNDS`. Distractors (a dog, steps, a cricket, chimes, a siren) come with and
    without birds, so neither loudness nor high-frequency energy settles the question.
    """
    out = SOUNDS[backdrop](rng, n) + 0.2 * coloured(rng, n, 3.0)
    if rng.random() < 0.7:
        distractor = str(rng.choice(["dog", "footsteps", "crickets", "chimes", "siren"]))
        out = out + placed(SOUNDS[distractor](rng, n) * gain(rng.uniform(-14, -2)), n, rng)
    if has_bird:
        out = out + chirping_birds(rng, n) * gain(rng.uniform(-20, 0))
    return unit(out)
