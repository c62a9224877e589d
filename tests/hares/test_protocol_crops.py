"""Crops against cases worked out by hand, for every task's record."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from hares.protocol import (
    EVALUATION_ROLE,
    TRAIN_ROLE,
    ProtocolSettings,
    evaluation_crops,
    load_protocol,
    mixing_plan,
    protocol_names,
    roles,
    training_crops,
)
from hares.task import load_task, task_names

RATE = 16_000
SETTINGS = ProtocolSettings(crops_per_clip=4)


def noise(seconds: float) -> np.ndarray:
    """int16 in which no second crop is like the first, so that a crop tells where it was cut."""
    return np.random.default_rng(7).integers(-20_000, 20_000, round(seconds * RATE)).astype(np.int16)


def starts_of(crops: np.ndarray, waveform: np.ndarray) -> list[int]:
    """Where each crop was cut, found by comparing all of it."""
    found = []
    for crop in np.rint(crops * 32768).astype(np.int64):
        candidates = np.flatnonzero(waveform[: waveform.size - crop.size + 1] == crop[0])
        found.append(next(int(i) for i in candidates if (waveform[i : i + crop.size] == crop).all()))
    return found


# task, clip seconds, crop seconds, starts of the evaluation crops in samples
EVALUATION = [
    ("audioset", 10.0, 3.0, [0, 12444, 24889, 37333, 49778, 62222, 74667, 87111, 99556, 112000]),
    ("audioset", 3.0, 3.0, [0]),
    ("birdsong", 10.0, 1.0, [i * RATE for i in range(10)]),
    ("birdsong", 10.4, 1.0, [i * RATE for i in range(10)]),
    ("birdsong", 2.5, 1.0, [0, RATE, 24_000]),
    ("tut18", 10.0, 5.0, [0, 80_000]),
    ("tut18", 7.4, 5.0, [0]),
    ("tut18", 7.5, 5.0, [0, 40_000]),
    ("esc50", 5.0, 5.0, [0]),
    ("esc50", 6.0, 5.0, [0]),
    ("speech_commands_v1", 1.0, 1.0, [0]),
    ("speech_commands_v2", 1.2, 1.0, [0]),
    ("fluent_speech_commands", 6.0, 3.0, [0, 48_000]),
    ("fluent_speech_commands", 4.0, 3.0, [0]),
    ("voxforge", 5.0, 3.0, [0, 32_000]),
    ("voxceleb1", 9.0, 3.0, [0, 48_000, 96_000]),
    ("nsynth_instrument", 4.0, 4.0, [0]),
    ("nsynth_pitch", 4.0, 1.0, [0, 16_000, 32_000, 48_000]),
    ("magnatagatune", 29.1, 3.0, [i * 48_000 for i in range(9)] + [417_600]),
]


def test_every_task_is_among_the_cases():
    assert {case[0] for case in EVALUATION} == set(task_names())


@pytest.mark.parametrize(("name", "seconds", "crop", "starts"), EVALUATION)
def test_evaluation_crops_by_hand(name, seconds, crop, starts):
    waveform = noise(seconds)
    crops = evaluation_crops(load_task(name), waveform)
    assert crops.dtype == np.float32
    assert crops.shape == (len(starts), round(crop * RATE))
    assert starts_of(crops, waveform) == starts


# task, crops of a long clip, samples of a crop
TRAINING = {
    "audioset": (4, 48_000),
    "birdsong": (4, 16_000),
    "tut18": (4, 80_000),
    "esc50": (10, 80_000),
    "speech_commands_v1": (1, 16_000),
    "speech_commands_v2": (1, 16_000),
    "fluent_speech_commands": (4, 48_000),
    "voxforge": (4, 48_000),
    "voxceleb1": (4, 48_000),
    "nsynth_instrument": (1, 64_000),
    "nsynth_pitch": (4, 16_000),
    "magnatagatune": (4, 48_000),
}


@pytest.mark.parametrize("name", task_names())
def test_training_crops_of_each_task(name):
    waveform = noise(10.0)
    crops = training_crops(load_task(name), waveform, "clip", SETTINGS)
    assert crops.shape == TRAINING[name]
    if name != "esc50":
        found = starts_of(crops, waveform)
        assert found == [0] if len(crops) == 1 else len(set(found)) == len(found)


@pytest.mark.parametrize("name", task_names())
def test_short_clips_are_padded_with_zeros_at_the_end(name):
    task = load_task(name)
    waveform = noise(0.25)
    crops = evaluation_crops(task, waveform)
    assert len(crops) == (4 if name == "nsynth_pitch" else 1)
    np.testing.assert_array_equal(np.rint(crops[0, :4000] * 32768), waveform)
    assert not crops[0, 4000:].any() and not crops[1:].any()
    trained = training_crops(task, waveform, "clip", SETTINGS)
    # A note is four seconds whatever its file: its crops may fall on the silence after it.
    random = {"esc50": 10, "audioset": SETTINGS.crops_per_clip, "nsynth_pitch": SETTINGS.crops_per_clip}
    expected = random.get(name, 1)
    assert trained.shape == (expected, TRAINING[name][1])


def test_esc50_augmentation_is_a_circular_shift_and_a_gain_within_six_decibels():
    waveform = noise(5.0)
    original = waveform.astype(np.float64)
    crops = training_crops(load_task("esc50"), waveform, "1-100032-A-0.wav", ProtocolSettings())
    gains = []
    for crop in crops.astype(np.float64):
        gain = np.sqrt((crop**2).sum() / ((original / 32768) ** 2).sum())
        spectrum = np.fft.rfft(crop) * np.conj(np.fft.rfft(original))
        shift = int(np.fft.irfft(spectrum, original.size).argmax())
        np.testing.assert_allclose(crop, np.roll(original, shift) / 32768 * gain, atol=1e-4)
        gains.append(20 * np.log10(gain))
    assert max(np.abs(gains)) <= 6.0
    assert np.ptp(gains) > 1.0


def test_crops_depend_on_seed_and_clip_alone():
    task, waveform = load_task("voxceleb1"), noise(8.0)
    first = training_crops(task, waveform, "a", SETTINGS)
    np.testing.assert_array_equal(first, training_crops(task, waveform, "a", SETTINGS))
    assert not np.array_equal(first, training_crops(task, waveform, "b", SETTINGS))
    other = ProtocolSettings(crops_per_clip=4, seed=1)
    assert not np.array_equal(first, training_crops(task, waveform, "a", other))


def test_crop_starts_follow_the_documented_hash():
    key = hashlib.blake2b(b"0\0voxceleb1\0a\0crop", digest_size=16).digest()
    random = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    expected = random.integers(0, 8 * RATE - 48_000 + 1, 4).tolist()
    waveform = noise(8.0)
    found = starts_of(training_crops(load_task("voxceleb1"), waveform, "a", SETTINGS), waveform)
    assert found == expected


def test_random_crops_reach_both_ends():
    waveform = noise(1.0 + 3 / RATE)
    many = ProtocolSettings(crops_per_clip=100)
    starts = starts_of(training_crops(load_task("birdsong"), waveform, "a", many), waveform)
    assert set(starts) == {0, 1, 2, 3}


def test_mixing_partners_are_others_and_shares_follow_beta_5_2():
    task = load_task("audioset")
    settings = ProtocolSettings(crops_per_clip=4000)
    partners, weights = mixing_plan(task, ["a", "b", "c"], 1, settings)
    assert set(partners.tolist()) == {0, 2}
    assert abs(weights.mean() - 5 / 7) < 0.01
    assert abs(weights.var() - 5 * 2 / (7**2 * 8)) < 0.003
    alone, whole = mixing_plan(task, ["a"], 0, settings)
    assert not alone.any()
    assert (whole == 1).all()


def test_roles_of_splits():
    assert roles("train") == (TRAIN_ROLE,)
    assert roles("test") == (EVALUATION_ROLE,)
    assert roles("fold3") == (TRAIN_ROLE, EVALUATION_ROLE)
    assert roles("validation") == ()


@pytest.mark.parametrize(
    "waveform", [np.zeros(0, np.int16), np.zeros(9, np.float32), np.zeros((2, 9), np.int16)]
)
def test_malformed_waveforms_are_named(waveform):
    with pytest.raises(ValueError, match=r"tut18: clip 'x.wav' .* int16"):
        evaluation_crops(load_task("tut18"), waveform, "x.wav")


# task, batch, steps: design table of the paper's appendix A
SCHEDULES = {"audioset": (128, 200_000), "magnatagatune": (128, 20_000)}


@pytest.mark.parametrize("name", [name for name in task_names() if name != "esc50"])
def test_paper_schedule(name):
    schedule = load_protocol("paper").schedule(load_task(name))
    assert (schedule.batch_size, schedule.steps) == SCHEDULES.get(name, (64, 400_000))
    assert schedule.learning_rate == 2e-4
    assert schedule.warmup_steps == 5_000


def test_paper_preset_deviates_only_in_its_crops():
    for name in task_names():
        deviations = load_protocol("paper").deviations(load_task(name))
        assert len(deviations) == (0 if load_task(name).train_crop is None and name != "esc50" else 1)


def test_quick_preset_says_what_it_scales():
    said = " | ".join(load_protocol("quick").deviations(load_task("voxforge")))
    assert "steps 2000 (paper: 400000)" in said
    assert "peak learning rate 0.002 (paper: 0.0002)" in said
    assert "warm-up steps 25 (paper: 5000)" in said
    assert (
        "3 augmented copies of a clip (paper: 10)" in load_protocol("quick").deviations(load_task("esc50"))[0]
    )


def test_unknown_preset_and_impossible_settings():
    assert [load_protocol(name).name for name in protocol_names()] == list(protocol_names())
    with pytest.raises(ValueError, match="there are paper, quick"):
        load_protocol("fast")
    with pytest.raises(ValueError, match="crops_per_clip is 0"):
        ProtocolSettings(crops_per_clip=0)
    with pytest.raises(ValueError, match="learning_rate"):
        ProtocolSettings(learning_rate=0.0)
