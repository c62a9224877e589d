"""What is said: speech sounds, the pronunciation of the words, and six imitated languages.

Formants of the vowels after Peterson and Barney (1952), rounded. A language here is an inventory of
sounds, syllable shapes, a rhythm and a melody, with a lexicon of forty invented words: enough that
language identification needs more than the mean spectrum, without pretending to be the real tongue.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from hares.synthesis.signals import keyed


@dataclass(frozen=True, slots=True)
class Phone:
    """One stretch of sound: milliseconds, voice and noise amplitudes, formants and noise band in Hz."""

    ms: float
    voice: float
    noise: float
    formants: tuple[float, float, float]
    noise_hz: float = 1500.0
    noise_width: float = 1500.0
    vowel: bool = False


def _vowel(f1: float, f2: float, f3: float, voice: float = 1.0) -> tuple[Phone, ...]:
    return (Phone(115, voice, 0.0, (f1, f2, f3), vowel=True),)


def _sonorant(
    ms: float, voice: float, f1: float, f2: float, f3: float, noise: float = 0.0
) -> tuple[Phone, ...]:
    return (Phone(ms, voice, noise, (f1, f2, f3)),)


def _fricative(voice: float, noise: float, hz: float, width: float, f2: float) -> tuple[Phone, ...]:
    return (Phone(95 if voice == 0 else 75, voice, noise, (350, f2, 2600), hz, width),)


def _stop(voiced: bool, hz: float, width: float, f2: float) -> tuple[Phone, ...]:
    closure = Phone(50, 0.12 if voiced else 0.0, 0.0, (250, f2, 2500))
    burst = Phone(12 if voiced else 35, 0.2 if voiced else 0.0, 0.7, (300, f2, 2500), hz, width)
    return (closure, burst)


_T, _D = _stop(False, 4500, 1500, 1700), _stop(True, 4200, 1500, 1700)
_SH, _ZH = _fricative(0.0, 0.7, 3200, 1100, 1900), _fricative(0.35, 0.4, 3000, 1100, 1900)

PHONES: dict[str, tuple[Phone, ...]] = {
    "i": _vowel(270, 2290, 3010), "ih": _vowel(390, 1990, 2550), "ei": _vowel(420, 2150, 2700),
    "e": _vowel(530, 1840, 2480), "ae": _vowel(660, 1720, 2410), "a": _vowel(730, 1090, 2440),
    "o": _vowel(570, 840, 2410), "ou": _vowel(420, 760, 2400), "uh": _vowel(440, 1020, 2240),
    "u": _vowel(300, 870, 2240), "ah": _vowel(640, 1190, 2390), "er": _vowel(490, 1350, 1690),
    "y": _vowel(270, 1850, 2200), "oe": _vowel(400, 1500, 2300), "ax": _vowel(500, 1500, 2500, 0.6),
    "an": _vowel(680, 1080, 2900, 0.6), "on": _vowel(430, 760, 2900, 0.6),
    "m": _sonorant(70, 0.45, 250, 1100, 2200), "n": _sonorant(65, 0.45, 250, 1700, 2600),
    "ng": _sonorant(75, 0.45, 250, 2150, 2700), "l": _sonorant(65, 0.6, 360, 1250, 2800),
    "r": _sonorant(70, 0.6, 350, 1200, 1600), "w": _sonorant(70, 0.6, 300, 650, 2200),
    "j": _sonorant(60, 0.6, 270, 2200, 2950), "rx": _sonorant(70, 0.4, 480, 1050, 2300, 0.2),
    "rr": (Phone(25, 0.15, 0.0, (400, 1600, 2500)), Phone(20, 0.6, 0.0, (450, 1400, 2400)),
           Phone(25, 0.15, 0.0, (400, 1600, 2500))),
    "s": _fricative(0.0, 0.7, 5800, 1500, 1700), "z": _fricative(0.35, 0.4, 5600, 1500, 1700),
    "sh": _SH, "zh": _ZH, "f": _fricative(0.0, 0.25, 4500, 3000, 1100),
    "v": _fricative(0.45, 0.12, 4500, 3000, 1100), "th": _fricative(0.0, 0.22, 6000, 2500, 1400),
    "dh": _fricative(0.45, 0.1, 6000, 2500, 1400), "h": _fricative(0.0, 0.3, 1500, 1200, 1500),
    "x": _fricative(0.0, 0.5, 1500, 600, 1300), "c": _fricative(0.0, 0.45, 4000, 900, 2100),
    "p": _stop(False, 900, 900, 900), "b": _stop(True, 800, 800, 900), "t": _T, "d": _D,
    "k": _stop(False, 2100, 700, 1900), "g": _stop(True, 1900, 700, 1900),
    "ch": _T[:1] + _SH, "dj": _D[:1] + _ZH, "ts": _T[:1] + _fricative(0.0, 0.7, 5800, 1500, 1700),
    "_": (Phone(110, 0.0, 0.0, (500, 1500, 2500)),),
}  # fmt: skip

WORDS: dict[str, str] = {
    "yes": "j e s", "no": "n ou u", "up": "ah p", "down": "d a uh n", "left": "l e f t", "right": "r a ih t",
    "on": "o n", "off": "o f", "stop": "s t o p", "go": "g ou u", "bed": "b e d", "dog": "d o g",
    "tree": "t r i", "zero": "z ih r ou", "backward": "b ae k w er d", "visual": "v ih zh u ax l",
    "turn": "t er n", "switch": "s w ih ch", "the": "dh ax", "lights": "l a ih t s", "in": "ih n",
    "kitchen": "k ih ch ax n", "bedroom": "b e d r u m", "washroom": "w o sh r u m", "music": "m j u z ih k",
    "play": "p l ei ih", "pause": "p o z", "volume": "v o l j u m", "louder": "l a uh d er", "heat": "h i t",
    "increase": "ih n k r i s", "decrease": "d ih k r i s", "lower": "l ou w er", "bring": "b r ih ng",
    "me": "m i", "get": "g e t", "newspaper": "n u z p ei p er", "juice": "dj u s", "some": "s ah m",
    "set": "s e t", "language": "l ae ng w ih dj", "to": "t u", "chinese": "ch a ih n i z",
    "quieter": "k w a ih e t er", "my": "m a ih", "change": "ch ei n dj", "warmer": "w o r m er",
    "cooler": "k u l er",
}  # fmt: skip


@dataclass(frozen=True)
class Language:
    """Sounds, syllables, rhythm and melody.

    Attributes:
        vowels, onsets, codas: names in `PHONES`, separated by blanks; a cluster is joined by "+".
        coda_chance: how often a syllable is closed.
        stretch: length of stressed vowels over unstressed ones (1 is syllable-timed).
        reduced: whether unstressed vowels become schwa half of the time.
        stress: index of the stressed syllable in a word, counted as Python does.
        pace: factor on all durations.
        range_semitones: width of the melody.
        final_semitones: pitch movement at the end of a phrase.
    """

    vowels: str
    onsets: str
    codas: str
    coda_chance: float
    stretch: float
    reduced: bool
    stress: int
    pace: float
    range_semitones: float
    final_semitones: float


LANGUAGES: dict[str, Language] = {
    "en": Language("ih e ae ah o er ei ax", "t d k w r s th dh h s+t+r p+l b f", "t d s ng n k z l", 0.6, 1.6, True,
                   stress=0, pace=1.05, range_semitones=3.0, final_semitones=-4.0),
    "fr": Language("i ei y oe an on ou", "rx l p t d k zh m v s p+rx", "rx l", 0.15, 1.05, False,
                   stress=-1, pace=0.9, range_semitones=2.0, final_semitones=4.0),
    "de": Language("a e ih uh oe ax", "sh+t sh+p ts g b f rx h v k n", "x c n t s+t rx k f+t", 0.7, 1.4, True,
                   stress=0, pace=1.0, range_semitones=3.0, final_semitones=-3.0),
    "it": Language("a e i o", "p t b l rr m n ch dj v d l", "n l", 0.1, 1.8, False,
                   stress=-2, pace=1.0, range_semitones=5.5, final_semitones=-2.0),
    "es": Language("a e i o u", "p t k b dh l rr n s s x g d", "s n s dh", 0.4, 1.0, False,
                   stress=-2, pace=0.75, range_semitones=1.5, final_semitones=-2.0),
    "ru": Language("j+a j+e i o ih u", "s+t v+l z+d n+j p+r zh sh v t+j m d+j", "t sh v m zh", 0.5, 1.6, True,
                   stress=1, pace=1.15, range_semitones=3.5, final_semitones=-6.0),
}  # fmt: skip


@dataclass(frozen=True)
class SpokenWord:
    """One word: its spelling, its phones and which of them is the stressed vowel."""

    text: str
    phones: tuple[str, ...]
    stressed: int


@cache
def lexicon(language: str) -> tuple[SpokenWord, ...]:
    """The forty words of a language, the same in every corpus."""
    rules = LANGUAGES[language]
    return tuple(_invented(rules, keyed(0, "lexicon", language, i)) for i in range(40))


def phrase(language: str, words: int, rng: np.random.Generator) -> list[SpokenWord]:
    """`words` words of a language, frequent ones more often (Zipf), as a phrase to be spoken."""
    entries = lexicon(language)
    odds = 1 / (np.arange(len(entries)) + 5.0)
    return [entries[int(i)] for i in rng.choice(len(entries), words, p=odds / odds.sum())]


def spelled(text: str) -> list[SpokenWord]:
    """The English words of `text` as they are pronounced.

    Raises:
        ValueError: a word has no pronunciation here.
    """
    words = []
    for word in text.lower().split():
        if word not in WORDS:
            raise ValueError(f"synthesis: no pronunciation of {word!r}; add it to WORDS in phones.py")
        sounds = tuple(WORDS[word].split())
        stressed = next(i for i, sound in enumerate(sounds) if PHONES[sound][0].vowel)
        words.append(SpokenWord(word, sounds, stressed))
    return words


def _invented(rules: Language, rng: np.random.Generator) -> SpokenWord:
    syllables = int(rng.integers(1, 4))
    stressed_syllable = rules.stress % syllables if rules.stress < syllables else syllables - 1
    sounds: list[str] = []
    stressed = 0
    for i in range(syllables):
        sounds += str(rng.choice(rules.onsets.split())).split("+")
        nucleus = str(rng.choice(rules.vowels.split())).split("+")
        if i == stressed_syllable:
            stressed = len(sounds) + len(nucleus) - 1
        elif rules.reduced and rng.random() < 0.5:
            nucleus = ["ax"]
        sounds += nucleus
        if rng.random() < rules.coda_chance:
            sounds += str(rng.choice(rules.codas.split())).split("+")
    return SpokenWord("".join(sounds), tuple(sounds), stressed)
