"""How it is said: a source-filter voice (glottal pulses and noise through moving formants).

A speaker is a pitch, a vocal-tract length, a pace, a breathiness and a glottal shape. The filter works
frame by frame in the frequency domain: 20 ms Hann frames every 10 ms, which add up to one, each
multiplied by the response of five cascaded two-pole resonators; that equals a cross-fade between fixed
filters and costs milliseconds a second. Letters in shapes: `n` samples, `t` frames of 10 ms, `f` bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage, signal

from hares.synthesis.phones import LANGUAGES, PHONES, Language, Phone, SpokenWord, phrase
from hares.synthesis.signals import Samples, faded, keyed, unit, white
from hares.task import SAMPLE_RATE

HOP = SAMPLE_RATE // 100
FRAME = 2 * HOP
FFT = 1024
BANDWIDTHS = (70.0, 90.0, 130.0, 200.0, 250.0)
UPPER_FORMANTS = (3500.0, 4500.0)
READING = replace(LANGUAGES["en"], pace=1.0, stretch=1.3)


@dataclass(frozen=True, slots=True)
class Speaker:
    """One voice.

    Attributes:
        pitch: mean fundamental in Hz.
        tract: factor on all formants (a shorter vocal tract has higher ones).
        pace: factor on all durations.
        breath: amplitude of aspiration beside the pulses.
        open_quotient: part of a glottal cycle that is open.
        dullness: pole of the low-pass on the pulses, 0 to 1.
        liveliness: factor on the melody.
    """

    pitch: float
    tract: float
    pace: float
    breath: float
    open_quotient: float
    dullness: float
    liveliness: float


@dataclass(frozen=True)
class _Tracks:
    """Control curves, one value a frame: pitch in Hz, amplitudes, formants (t, 3), noise band in Hz."""

    pitch: Samples
    voice: Samples
    noise: Samples
    formants: Samples
    noise_hz: Samples
    noise_width: Samples


def speaker(seed: int, name: str) -> Speaker:
    """The voice of the person `name`; low voices tend to have long vocal tracts."""
    rng = keyed(seed, "speaker", name)
    height = rng.random()
    return Speaker(
        pitch=float(90 * (250 / 90) ** height),
        tract=float(0.9 + 0.25 * height + rng.uniform(-0.04, 0.04)),
        pace=float(rng.uniform(0.85, 1.2)),
        breath=float(rng.uniform(0.003, 0.05)),
        open_quotient=float(rng.uniform(0.45, 0.75)),
        dullness=float(rng.uniform(0.1, 0.7)),
        liveliness=float(rng.uniform(0.6, 1.5)),
    )


def is_low(person: Speaker) -> bool:
    """Whether a listener would call the voice male (below 150 Hz)."""
    return person.pitch < 150.0


def speak(
    words: Sequence[SpokenWord], person: Speaker, rng: np.random.Generator, style: Language = READING
) -> Samples:
    """The words as one phrase, unit RMS, (n,).

    Args:
        words: what is said.
        person: who says it.
        rng: draws durations, accents, jitter and noise.
        style: rhythm and melody; its sounds are not looked at.
    """
    phones: list[Phone] = []
    stress: list[float] = []
    for i, word in enumerate(words):
        if i and rng.random() < 0.12:
            phones += PHONES["_"]
            stress.append(0.0)
        for j, sound in enumerate(word.phones):
            phones += PHONES[sound]
            stress += [float(j == word.stressed)] * len(PHONES[sound])
    accents = np.asarray(stress)
    frames = _durations(phones, accents, person.pace, style, rng)
    return _rendered(_spoken_tracks(phones, frames, accents, person, style, rng), person, rng)


def talk(language: str, person: Speaker, seconds: float, rng: np.random.Generator) -> tuple[str, Samples]:
    """About `seconds` of a language: the text and the sound at unit RMS, (n,)."""
    words = phrase(language, max(1, round(seconds * 2.1 / person.pace / LANGUAGES[language].pace)), rng)
    return " ".join(word.text for word in words), speak(words, person, rng, LANGUAGES[language])


def sing(
    notes: Sequence[tuple[float, float, str]], person: Speaker, rng: np.random.Generator, cents: float = 25.0
) -> Samples:
    """Sung vowels at unit RMS, (n,).

    Args:
        notes: fundamental in Hz, seconds and vowel of each note.
        person: whose voice; the pitch is the notes'.
        rng: draws vibrato, jitter and noise.
        cents: depth of the vibrato.
    """
    counts = np.asarray([max(3, round(seconds * 100)) for _, seconds, _ in notes])
    vowels = [PHONES[vowel][0] for _, _, vowel in notes]
    hz = ndimage.uniform_filter1d(np.log2(np.repeat([hz for hz, _, _ in notes], counts)), 5, mode="nearest")
    frames = np.arange(len(hz)) / 100
    wobble = cents / 1200 * np.sin(2 * np.pi * rng.uniform(4.8, 6.2) * frames + rng.uniform(0, 6))
    voice = np.concatenate(
        [np.clip(np.arange(c) / 6, 0, 1) * np.clip((c - np.arange(c)) / 8, 0, 1) for c in counts]
    )
    formants = np.repeat([vowel.formants for vowel in vowels], counts, axis=0)
    quiet = np.zeros(len(hz))
    tracks = _Tracks(
        2 ** (hz + wobble),
        voice,
        quiet,
        ndimage.uniform_filter1d(formants, 6, axis=0),
        quiet + 1500,
        quiet + 1500,
    )
    return _rendered(tracks, person, rng)


def _durations(
    phones: list[Phone], accents: Samples, pace: float, style: Language, rng: np.random.Generator
) -> np.ndarray:
    ms = np.asarray([phone.ms for phone in phones])
    stretched = np.asarray([phone.vowel for phone in phones]) * accents > 0
    ms = (
        ms
        * np.where(stretched, style.stretch, 1.0)
        * pace
        * style.pace
        * np.exp(rng.normal(0, 0.1, len(phones)))
    )
    ms[-1] *= 1.3
    return np.maximum(1, np.round(ms / 10)).astype(int)


def _spoken_tracks(
    phones: list[Phone],
    frames: np.ndarray,
    accents: Samples,
    person: Speaker,
    style: Language,
    rng: np.random.Generator,
) -> _Tracks:
    def track(values: list[float], width: int) -> Samples:
        return ndimage.uniform_filter1d(np.repeat(np.asarray(values, float), frames), width, mode="nearest")

    formants = np.repeat([phone.formants for phone in phones], frames, axis=0).astype(float)
    position = np.linspace(0, 1, len(formants))
    heights = accents * style.range_semitones * rng.uniform(0.6, 1.3, len(phones)) + rng.normal(
        0, 0.5, len(phones)
    )
    melody = (
        track(list(heights), 9) - 2.0 * position + style.final_semitones * np.clip(position - 0.8, 0, 1) / 0.2
    )
    edge = np.clip(np.minimum(np.arange(len(formants)), np.arange(len(formants))[::-1]) / 2, 0, 1)
    return _Tracks(
        pitch=person.pitch * 2 ** (person.liveliness * melody / 12),
        voice=track([phone.voice for phone in phones], 3) * edge,
        noise=track([phone.noise for phone in phones], 1) * edge,
        formants=ndimage.uniform_filter1d(formants, 5, axis=0, mode="nearest"),
        noise_hz=track([phone.noise_hz for phone in phones], 1),
        noise_width=track([phone.noise_width for phone in phones], 1),
    )


def _rendered(tracks: _Tracks, person: Speaker, rng: np.random.Generator) -> Samples:
    t = len(tracks.pitch)
    n = t * HOP
    at = np.arange(n) / HOP
    voice, noise = np.interp(at, np.arange(t), tracks.voice), np.interp(at, np.arange(t), tracks.noise)
    pulses = _pulses(np.interp(at, np.arange(t), tracks.pitch), person, rng)
    throat = voice * (pulses + person.breath * white(rng, n))
    spectrum = _frames(throat, t) * _tract_response(tracks.formants * person.tract, person.tract)
    if np.any(tracks.noise > 0):
        spectrum += 0.5 * _frames(noise * white(rng, n), t) * _noise_response(tracks, person.tract)
    pieces = np.fft.irfft(spectrum, FFT)  # (t, FFT)
    blocks = -(-FFT // HOP)
    padded = np.zeros((t, blocks * HOP))
    padded[:, :FFT] = pieces
    canvas = np.zeros((t + blocks, HOP))
    for block in range(blocks):
        canvas[block : block + t] += padded[:, block * HOP : (block + 1) * HOP]
    out = canvas.reshape(-1)[:n]
    return unit(faded(out, 0.01))


def _frames(x: Samples, t: int) -> np.ndarray:
    """Spectra of Hann frames that start at each hop: (n,) -> (t, f)."""
    padded = np.concatenate([x, np.zeros(FRAME)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP][:t]
    return np.fft.rfft(windows * signal.get_window("hann", FRAME), FFT)


def _pulses(hz: Samples, person: Speaker, rng: np.random.Generator) -> Samples:
    """The derivative of Rosenberg's glottal flow, with jitter and shimmer per cycle: (n,) -> (n,)."""
    cycles = np.cumsum(hz) / SAMPLE_RATE
    count = int(cycles[-1]) + 2
    jitter = rng.normal(0, 0.004, count)
    position = cycles + np.interp(cycles, np.arange(count), jitter)
    within = position % 1.0 / person.open_quotient
    shimmer = 1 + rng.normal(0, 0.05, count + 1)[np.maximum(position, 0).astype(int)]
    flow = np.where(within < 1, 2 * within - 3 * within**2, 0.0) * shimmer
    return signal.lfilter([1 - person.dullness], [1, -person.dullness], flow)


def _tract_response(formants: Samples, tract: float) -> np.ndarray:
    """Five cascaded resonators of unit gain at 0 Hz: (t, 3) -> (t, f)."""
    delay = np.exp(-2j * np.pi * np.arange(FFT // 2 + 1) / FFT)
    response = np.ones((len(formants), len(delay)), complex)
    upper = [np.full(len(formants), min(hz * tract, 7000.0)) for hz in UPPER_FORMANTS]
    for hz, bandwidth in zip([*formants.T, *upper], BANDWIDTHS, strict=True):
        square = np.exp(-2 * np.pi * bandwidth / SAMPLE_RATE)
        linear = 2 * np.sqrt(square) * np.cos(2 * np.pi * hz / SAMPLE_RATE)
        response *= (1 - linear + square)[:, None] / (1 - linear[:, None] * delay + square * delay**2)
    return response


def _noise_response(tracks: _Tracks, tract: float) -> Samples:
    hz = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)
    centre = np.minimum(tracks.noise_hz * tract, 7000.0)[:, None]
    return np.exp(-0.5 * ((hz - centre) / (tracks.noise_width[:, None] * 0.6)) ** 2)
