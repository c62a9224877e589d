"""The unlabelled part of the corpus: clips of every kind, by voices, players and places of their own.

`pretrain/<kind>/<number>.wav`, 16 kHz mono, 1.8 to 3.2 s. Nothing in it repeats a clip of a task: every
key starts with "pretrain".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from hares.synthesis.environments import SCENES, SOUNDS, bird_recording, scene
from hares.synthesis.instruments import FAMILIES, instrument, midi_hz, note
from hares.synthesis.music import STYLES, play
from hares.synthesis.phones import LANGUAGES, WORDS, spelled
from hares.synthesis.plan import Plan, Recording, scaled
from hares.synthesis.signals import Samples, keyed, length, microphone, placed, recorded
from hares.synthesis.voices import speak, speaker, talk
from hares.task import SAMPLE_RATE

Maker = Callable[[np.random.Generator, int], Samples]


def pretraining(seed: int, scale: float) -> Plan:
    """Three hundred clips: a third speech, a third music and notes, a third everything else."""
    recordings = tuple(
        Recording(f"pretrain/{kind}/{i:04}.wav", partial(_clip, seed, kind, i))
        for kind in KINDS
        for i in range(scaled(50, scale, 4))
    )
    return Plan(recordings, {})


def _clip(seed: int, kind: str, i: int) -> Samples:
    rng = keyed(seed, "pretrain", kind, i)
    n = length(rng.uniform(1.8, 3.2))
    made = KINDS[kind](rng, n)
    return recorded(microphone(placed(made, n, rng), rng, 6.0), rng, (10.0, 40.0), (-32.0, -16.0))


def _talk(rng: np.random.Generator, n: int) -> Samples:
    language = str(rng.choice(sorted(LANGUAGES)))
    return talk(language, speaker(1, f"pretrain {rng.integers(10**6)}"), n / SAMPLE_RATE, rng)[1]


def _words(rng: np.random.Generator, n: int) -> Samples:
    said = " ".join(rng.choice(sorted(WORDS), max(1, int(n / SAMPLE_RATE * 1.6))))
    return speak(spelled(said), speaker(1, f"pretrain {rng.integers(10**6)}"), rng)


def _music(rng: np.random.Generator, n: int) -> Samples:
    return play(str(rng.choice(sorted(STYLES))), rng, n / SAMPLE_RATE)


def _notes(rng: np.random.Generator, n: int) -> Samples:
    family = str(rng.choice(FAMILIES))
    player = instrument(family, 1, f"pretrain {rng.integers(10**6)}")
    return note(player, midi_hz(int(rng.integers(40, 80))), n / SAMPLE_RATE, rng, rng.uniform(0.3, 1))


def _sounds(rng: np.random.Generator, n: int) -> Samples:
    return SOUNDS[str(rng.choice(sorted(SOUNDS)))](rng, n)


def _places(rng: np.random.Generator, n: int) -> Samples:
    if rng.random() < 0.5:
        return bird_recording(
            rng, n, str(rng.choice(["wind", "rain", "hum", "crickets"])), bool(rng.random() < 0.5)
        )
    name = str(rng.choice(sorted(SCENES)))
    return scene(name, rng, rng, n).mean(axis=0)


KINDS: dict[str, Maker] = {
    "speech": _talk, "words": _words, "music": _music, "notes": _notes, "sounds": _sounds, "places": _places,
}  # fmt: skip
