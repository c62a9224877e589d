"""Short pieces of music in twelve styles, each with the MagnaTagATune tags a listener would give it.

A style is a record: its parts (who plays what, where, how densely), drums, singers and tempo. Melodies
are random walks on a scale. Letters in shapes: `n` samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hares.synthesis.instruments import instrument, midi_hz, note
from hares.synthesis.signals import (
    Samples,
    add_at,
    band,
    decay,
    gain,
    length,
    reverberant,
    sweep,
    unit,
    white,
)
from hares.synthesis.voices import is_low, sing, speaker
from hares.task import SAMPLE_RATE

MAJOR, MINOR, PHRYGIAN = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 1, 4, 5, 7, 8, 10)
VOWELS = ("a", "o", "u", "e", "i")


@dataclass(frozen=True, slots=True)
class Part:
    """One player: instrument family, middle MIDI pitch, notes a beat, tones at once, level in dB."""

    family: str
    middle: int
    density: float
    tones: int = 1
    db: float = 0.0


@dataclass(frozen=True)
class Style:
    """One kind of music.

    Attributes:
        tags: MagnaTagATune tags, separated by commas.
        bpm: range of tempo.
        parts: the players.
        drums: beats with drums.
        singer: none, a low or a high voice, or four voices.
        mood: the scale it uses.
        room: reverberation time in seconds.
    """

    tags: str
    bpm: tuple[float, float]
    parts: tuple[Part, ...]
    drums: bool = False
    singer: Literal["none", "low", "high", "choir"] = "none"
    mood: tuple[int, ...] = MAJOR
    room: float = 0.3


STYLES: dict[str, Style] = {
    "piano": Style("classical,piano,solo,slow,quiet", (60, 84),
                   (Part("keyboard", 72, 1.5), Part("keyboard", 52, 0.5, 3, -5)), room=0.8),
    "quartet": Style("classical,strings,violin,cello,slow", (56, 80),
                     (Part("string", 74, 1), Part("string", 60, 0.5, 2, -4), Part("string", 45, 0.5, 1, -3)), room=1.2),
    "harpsichord": Style("classical,harpsichord,solo,fast", (110, 140),
                         (Part("harpsichord", 74, 2), Part("harpsichord", 55, 1, 1, -3)), mood=MINOR, room=0.6),
    "flute": Style("classical,flute,soft,no vocals", (66, 92),
                   (Part("flute", 79, 1), Part("string", 55, 0.25, 3, -10)), room=1.0),
    "folk": Style("guitar,country,solo", (84, 120),
                  (Part("guitar", 64, 2), Part("guitar", 48, 1, 3, -4)), room=0.2),
    "rock": Style("rock,guitar,drums,loud,metal", (120, 160),
                  (Part("guitar", 57, 2, 2), Part("bass", 38, 2)), drums=True, mood=MINOR, room=0.2),
    "techno": Style("techno,electronic,beat,dance,synth,fast,drums", (124, 142),
                    (Part("synth_lead", 62, 2), Part("bass", 36, 2)), drums=True, mood=MINOR, room=0.2),
    "ambient": Style("ambient,slow,synth,new age,quiet", (44, 60),
                     (Part("organ", 55, 0.25, 3), Part("synth_lead", 67, 0.25, 1, -6)), room=2.0),
    "indian": Style("indian,sitar,eastern", (76, 110),
                    (Part("sitar", 62, 2), Part("sitar", 45, 0.5, 2, -8)), mood=PHRYGIAN, room=0.3),
    "opera": Style("opera,female,vocal,singing,woman,female vocal,classical", (56, 76),
                   (Part("string", 57, 0.5, 3, -8),), singer="high", mood=MINOR, room=1.5),
    "pop": Style("pop,male,male vocal,vocals,man,drums,beat", (92, 116),
                 (Part("keyboard", 57, 1, 3, -6), Part("bass", 40, 1, 1, -4)), drums=True, singer="low", room=0.3),
    "choir": Style("choir,choral,vocals,singing,voice", (52, 70), (Part("organ", 48, 0.25, 2, -12),),
                   singer="choir", room=2.0),
}  # fmt: skip


def play(style: str, rng: np.random.Generator, seconds: float) -> Samples:
    """A piece in one of the `STYLES`, at unit RMS, (n,)."""
    record, n = STYLES[style], length(seconds)
    beat = 60 / rng.uniform(*record.bpm)
    key = int(rng.integers(0, 12))
    out = np.zeros(n)
    for part in record.parts:
        out += _part(part, record.mood, key, beat, n, rng) * gain(part.db + rng.uniform(-2, 2))
    if record.singer != "none":
        out += _voices(record, key, beat, n, rng) * gain(rng.uniform(0, 4))
    if record.drums:
        out += _drums(beat, n, rng) * gain(rng.uniform(-3, 2))
    return unit(reverberant(out, rng, record.room, 0.25))


def _walk(mood: tuple[int, ...], key: int, middle: int, steps: int, rng: np.random.Generator) -> list[int]:
    """MIDI pitches of a melody that stays within an octave of `middle`."""
    root = middle - 12 + (key - middle) % 12
    scale = [root + 12 * octave + degree for octave in range(3) for degree in mood]
    at, pitches = len(scale) // 2, []
    for step in rng.choice([-2, -1, -1, 0, 1, 1, 2, 4, -4], steps):
        at = int(np.clip(at + step, 3, len(scale) - 4))
        pitches.append(scale[at])
    return pitches


def _part(
    part: Part, mood: tuple[int, ...], key: int, beat: float, n: int, rng: np.random.Generator
) -> Samples:
    player = instrument(part.family, 0, f"player {rng.integers(1000)}")
    step = beat / part.density
    out = np.zeros(n)
    steps = int(np.ceil(n / SAMPLE_RATE / step))
    for i, pitch in enumerate(_walk(mood, key, part.middle, steps, rng)):
        if rng.random() < 0.12:
            continue
        held = min(step * rng.uniform(0.9, 1.6), 3.0)
        for tone in range(part.tones):
            chord = pitch + (0, 7, 12)[tone]
            sound = note(player, midi_hz(chord), held, rng, rng.uniform(0.5, 1))
            add_at(out, sound * rng.uniform(0.7, 1), length(i * step))
    return unit(out)


def _voices(record: Style, key: int, beat: float, n: int, rng: np.random.Generator) -> Samples:
    middles = {"low": (50,), "high": (72,), "choir": (45, 52, 60, 67)}[record.singer]
    out = np.zeros(n)
    for middle in middles:
        wanted = middle < 57
        singers = (speaker(0, f"singer {rng.integers(1000)}") for _ in range(100))
        person = next(s for s in singers if is_low(s) == wanted)
        steps = int(np.ceil(n / SAMPLE_RATE / beat)) + 1
        pitches = _walk(record.mood, key, middle, steps, rng)
        melody = [
            (midi_hz(p), beat * float(rng.choice([0.5, 1, 1, 2])), str(rng.choice(VOWELS))) for p in pitches
        ]
        add_at(out, sing(melody, person, rng, cents=45 if record.singer == "high" else 20), 0)
    return unit(out)


def _drums(beat: float, n: int, rng: np.random.Generator) -> Samples:
    out = np.zeros(n)
    m = length(0.25)
    kick = sweep(45 + 110 * decay(m, 0.03)) * decay(m, 0.08)
    snare = (0.6 * white(rng, m) + sweep(np.full(m, 190.0))) * decay(m, 0.05)
    hat = band(white(rng, m), 6000, None) * decay(m, 0.015)
    for i in range(int(n / SAMPLE_RATE / beat * 2) + 1):
        at = length(i * beat / 2)
        add_at(out, 0.4 * hat, at)
        if i % 4 == 0 or rng.random() < 0.1:
            add_at(out, 1.2 * kick, at)
        if i % 4 == 2:
            add_at(out, 0.6 * snare, at)
    return unit(out)
