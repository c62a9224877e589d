"""The pre-flight: one broken encoder for each thing that can be wrong, and what is said of it."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from hares.adapters import FrozenEncoder, load_adapter
from hares.preflight import PreflightError, check_encoder, crop_lengths, synthetic_crops
from hares.task import load_task, task_names

SECONDS = (1.0, 3.0)
calls = itertools.count(1)


def good(waveforms: np.ndarray) -> np.ndarray:
    return np.stack([np.abs(waveforms).mean(1), waveforms.std(1), np.abs(np.diff(waveforms)).mean(1)], axis=1)


def encoder(embed=good, **changes) -> FrozenEncoder:
    return dataclasses.replace(FrozenEncoder("x", "x", 16_000, 3, "", embed), **changes)


def unequal(waveforms):
    raise RuntimeError("Dimensions must be equal, but are 48000 and 16000\nlong trace")


def with_nan_for_silence(waveforms):
    with np.errstate(divide="ignore", invalid="ignore"):
        return good(waveforms) / np.abs(waveforms).max(axis=1, keepdims=True)


BROKEN = {
    "sample rate": (
        encoder(sample_rate=16),
        r"declares 16; expected a whole number of Hz from 4000 to 192000",
    ),
    "sample rate as text": (encoder(sample_rate="16k"), r"sample rate: it declares '16k'"),
    "raises": (
        encoder(unequal),
        r"takes crops: crops of 1 s, 16000 Hz: it raised RuntimeError: Dimensions must be",
    ),
    "frames": (encoder(lambda x: np.stack([good(x)] * 5, axis=1)), r"shape: .*became \(4, 5, 3\)"),
    "transposed": (encoder(lambda x: good(x).T), r"shape: .*became \(3, 4\)"),
    "one for all": (encoder(lambda x: good(x).mean(0)), r"shape: .*became \(3,\)"),
    "words": (encoder(lambda x: "words"), r"takes crops: .*returned str, not an array"),
    "size promised": (encoder(embedding_size=512), r"embedding size: it declares 512 and returns 3"),
    "size by length": (
        encoder(lambda x: x[:, ::100]),
        r"embedding size: \[160, 480\] numbers for crops of 1, 3 s",
    ),
    "nan": (encoder(lambda x: good(x) * np.nan), r"finite: NaN or infinity for sounds"),
    "nan for silence": (encoder(with_nan_for_silence), r"finite: NaN or infinity for digital silence"),
    "deaf": (encoder(lambda x: np.ones((len(x), 3))), r"sees its input: noise, a chord, clicks and a sweep"),
    "only zeros": (encoder(lambda x: np.zeros((len(x), 3))), r"sees its input"),
    "dropout": (
        encoder(lambda x: good(x) * (1 + 1 / next(calls))),
        r"deterministic: the same crops twice differ",
    ),
    "batch statistics": (
        encoder(lambda x: good(x) - good(x).mean(0)),
        r"independent of its neighbours: a crop's",
    ),
    "batch normalised": (
        encoder(lambda x: good(x / (0.01 + np.abs(x).max()))),
        r"independent of its neighbours",
    ),
}


@pytest.mark.parametrize("broken,message", BROKEN.values(), ids=BROKEN)
def test_broken_encoders_are_told_what_is_wrong(broken, message):
    with pytest.raises(PreflightError, match=message) as error:
        check_encoder(broken, SECONDS)
    failed = [check for check in error.value.checks if not check.passed]
    assert failed and all(check.cause and check.remedy for check in failed)


def test_each_broken_encoder_fails_one_check():
    """What is reported is what was broken, and not its consequences."""
    for name, (broken, _) in BROKEN.items():
        with pytest.raises(PreflightError) as error:
            check_encoder(broken, SECONDS)
        assert sum(not check.passed for check in error.value.checks) == 1, name


def test_a_sample_rate_that_nobody_has_said_and_the_input_length_gives_away():
    """BirdNET's 144,000 samples are 3 s at 48 kHz; taken for 16 kHz they would be 9 s."""
    assumed = encoder(input_samples=144_000, rate_assumed=True)
    with pytest.raises(PreflightError, match=r"at 16000 Hz its 144000 samples would last 9 s.*--sample-rate"):
        check_encoder(assumed, SECONDS)
    check_encoder(dataclasses.replace(assumed, sample_rate=48_000, rate_assumed=False), SECONDS)


def test_numbers_too_large_for_float16():
    large = encoder(lambda x: good(x) * 1e6)
    check_encoder(large, SECONDS)
    with pytest.raises(PreflightError, match=r"range: .*--embedding-dtype float32"):
        check_encoder(large, SECONDS, largest=65504.0)


@pytest.mark.parametrize("changes", [{}, {"sample_rate": 44_100}, {"input_samples": 12_345}])
def test_sound_encoders_pass(changes):
    checks, size = check_encoder(encoder(**changes), SECONDS)
    assert size == 3 and all(check.passed for check in checks)


def test_the_floor_passes_at_every_length_of_the_twelve_tasks():
    lengths = crop_lengths([load_task(name) for name in task_names()])
    assert lengths == (1.0, 3.0, 4.0, 5.0)
    assert check_encoder(load_adapter("log_mel"), lengths)[1] == 160


def test_sounds_are_four_and_different():
    crops = synthetic_crops(1.0)
    assert crops.shape == (4, 16_000) and np.abs(crops).max() <= 1.0
    assert np.abs(np.corrcoef(crops) - np.eye(4)).max() < 0.2
