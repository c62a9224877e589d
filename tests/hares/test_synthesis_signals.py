"""Notes have the pitch they are asked for, vowels the formants of the literature, sounds a level of one."""

from __future__ import annotations

from dataclasses import replace

import librosa
import numpy as np
import pytest
from scipy import signal

from hares.synthesis.environments import SCENES, SOUNDS, scene
from hares.synthesis.instruments import FAMILIES, instrument, midi_hz, note
from hares.synthesis.music import STYLES, play
from hares.synthesis.phones import LANGUAGES, WORDS, lexicon, spelled
from hares.synthesis.signals import band, coloured, keyed, recorded, resampled
from hares.synthesis.voices import sing, speak, speaker, talk
from hares.task import SAMPLE_RATE


def median_pitch(x: np.ndarray, hz: float) -> float:
    track = librosa.yin(x, fmin=hz * 0.45, fmax=hz * 2.2, sr=SAMPLE_RATE, frame_length=4096)
    return float(np.median(track))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pitch", [45, 57, 72])
def test_a_note_has_its_pitch_within_one_percent(family: str, pitch: int) -> None:
    for name in ("first", "second"):
        tone = note(instrument(family, 3, name), midi_hz(pitch), 1.5, keyed(0, family, pitch))
        assert median_pitch(tone[1600:16000], midi_hz(pitch)) == pytest.approx(midi_hz(pitch), rel=0.01)


def test_midi_pitches_are_equal_tempered() -> None:
    assert midi_hz(69) == 440.0
    assert midi_hz(60) == pytest.approx(librosa.midi_to_hz(60))


@pytest.mark.parametrize(("vowel", "first", "second"), [("i", 270, 2290), ("a", 730, 1090), ("u", 300, 870)])
def test_vowels_have_the_formants_of_peterson_and_barney(vowel: str, first: float, second: float) -> None:
    adult = replace(speaker(0, "reference"), tract=1.0, breath=0.001, dullness=0.2)
    sung = sing([(101.0, 1.0, vowel)], adult, keyed(0, vowel), cents=0.0)[4000:12000]
    flat = np.append(sung[0], sung[1:] - 0.9 * sung[:-1])
    roots = np.roots(librosa.lpc(flat * np.hanning(len(flat)), order=20))
    roots = roots[(roots.imag > 0) & (np.abs(roots) > 0.9)]
    formants = np.sort(np.angle(roots)) * SAMPLE_RATE / (2 * np.pi)
    formants = formants[formants > 150]
    assert formants[0] == pytest.approx(first, abs=80)
    assert np.min(np.abs(formants - second)) < 150


def test_a_speaker_keeps_to_his_pitch() -> None:
    person = speaker(0, "steady")
    track, voiced, _ = librosa.pyin(
        talk("it", person, 3.0, keyed(0, "said"))[1], fmin=60, fmax=500, sr=SAMPLE_RATE
    )
    assert abs(12 * np.log2(np.nanmedian(track[voiced]) / person.pitch)) < 4


def test_every_word_and_language_can_be_said() -> None:
    person = speaker(0, "reader")
    for word in WORDS:
        assert 0.1 < len(speak(spelled(word), person, keyed(0, word))) / SAMPLE_RATE < 1.2, word
    for language in LANGUAGES:
        text, said = talk(language, person, 2.0, keyed(0, language))
        assert set(text.split()) <= {word.text for word in lexicon(language)}
        assert 0.8 < len(said) / SAMPLE_RATE < 4.0
    with pytest.raises(ValueError, match="no pronunciation of 'xylophone'"):
        spelled("play the xylophone")


@pytest.mark.parametrize("name", sorted(SOUNDS))
def test_sounds_have_unit_level_and_differ_from_take_to_take(name: str) -> None:
    first, second = (SOUNDS[name](keyed(take, name), 2 * SAMPLE_RATE) for take in (0, 1))
    assert len(first) == 2 * SAMPLE_RATE and np.isfinite(first).all()
    assert np.sqrt(np.mean(first**2)) == pytest.approx(1.0, rel=1e-6)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.5


def test_scenes_are_stereo_and_pieces_last_as_long_as_asked() -> None:
    for name in SCENES:
        stereo = scene(name, keyed(0, name), keyed(1, name), SAMPLE_RATE)
        assert stereo.shape == (2, SAMPLE_RATE) and not np.allclose(stereo[0], stereo[1])
    for style in STYLES:
        assert play(style, keyed(0, style), 1.5).shape == (24000,)


def test_coloured_noise_falls_as_told() -> None:
    spectrum = np.abs(np.fft.rfft(coloured(keyed(0, "pink"), 16 * SAMPLE_RATE, 3.0))) ** 2
    hz = np.fft.rfftfreq(16 * SAMPLE_RATE, 1 / SAMPLE_RATE)
    octave_db = [
        10 * np.log10(spectrum[(hz >= low) & (hz < 2 * low)].mean()) for low in (250, 500, 1000, 2000)
    ]
    assert np.diff(octave_db) == pytest.approx(-3.0, abs=0.4)


def test_levels_and_rates() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    heard = recorded(tone, keyed(0, "tone"), (60, 60), (-20, -20))
    assert 20 * np.log10(np.sqrt(np.mean(heard**2))) == pytest.approx(-20, abs=0.01)
    assert np.max(np.abs(recorded(tone, keyed(0, "tone"), (60, 60), (3, 3)))) <= 0.9
    wide = resampled(np.stack([tone, tone]) * 0.5, 44_100)
    assert wide.shape == (2, 44_100)
    assert int(np.argmax(np.abs(np.fft.rfft(wide[0])))) == 1000


def test_random_numbers_depend_on_the_key_alone() -> None:
    first = keyed(0, "esc50", "dog", 1).random(4)
    keyed(0, "other").random(100)
    assert np.array_equal(first, keyed(0, "esc50", "dog", 1).random(4))
    for other in (keyed(1, "esc50", "dog", 1), keyed(0, "esc50", "dog", 2), keyed(0, "esc50", "dog1")):
        assert not np.array_equal(first, other.random(4))


def test_a_filter_with_one_open_side_has_one_edge(monkeypatch):
    """As SciPy 1.18 has it, whose `butter` calls `float` on the edge of a filter that has but one."""
    butter = signal.butter

    def strict(order, edges, kind, **settings):
        return butter(order, edges if kind == "bandpass" else float(edges), kind, **settings)

    monkeypatch.setattr(signal, "butter", strict)
    noise = np.random.default_rng(0).standard_normal(16_000)
    for low, high in ((None, 1000.0), (2000.0, None), (1000.0, 2000.0)):
        power = np.abs(np.fft.rfft(band(noise, low, high, order=8))) ** 2
        hertz = np.fft.rfftfreq(16_000, 1 / 16_000)
        inside = (hertz > (low or 0)) & (hertz < (high or 8000))
        assert power[inside].sum() > 0.9 * power.sum()
