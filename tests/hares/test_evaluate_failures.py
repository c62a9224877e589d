"""Tasks at which the encoder or the probe fails: named, without a score, and in nobody's way."""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from hares.adapters import FrozenEncoder, load_adapter
from hares.evaluation import Evaluation, EvaluationSettings, evaluate_tasks, find_sources
from hares.protocol import ProtocolSettings

pytestmark = pytest.mark.slow

# A few steps: what is tested is the way, not the scores.
PROTOCOL = ProtocolSettings(
    name="quick",
    crops_per_clip=2,
    augmented_epochs=2,
    max_steps=30,
    learning_rate=2e-3,
    bootstrap_resamples=20,
)
SETTINGS = EvaluationSettings(protocol=PROTOCOL, batch_size=8, clips_per_shard=4)
TASKS = ("speech_commands_v2", "esc50")


def run(corpus: Path, output: Path, encoder: FrozenEncoder | None = None, observer=None) -> Evaluation:
    sources = find_sources(corpus, {}, TASKS)
    encoder = encoder or load_adapter("log_mel")
    return evaluate_tasks(
        encoder, sources, SETTINGS, output, corpus.parent / "cache", observer or mock.Mock()
    )


def raising(error: BaseException):
    def fail(_):
        raise error

    return fail


FAILURES = {
    "memory of a GPU": (
        raising(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")),
        "one crop at a time does not fit",
    ),
    "memory of numpy": (raising(MemoryError()), "one crop at a time does not fit"),
    "memory of torch": (
        raising(RuntimeError("DefaultCPUAllocator: can't allocate memory")),
        "one crop at a time does not fit",
    ),
    "raises": (raising(ValueError("unequal\nlong trace")), "raised ValueError: unequal"),
    "has no file": (raising(OSError("no weights")), "raised OSError: no weights"),
    "exits": (raising(SystemExit(2)), "SystemExit: 2"),
    "nothing": (lambda _: None, "NoneType"),
    "words": (lambda x: ["word"] * len(x), "not an array of numbers"),
    "too few rows": (lambda x: np.ones((len(x) - 1, 160)), r"into \(\d, 160\), expected"),
    "another size": (lambda x: np.ones((len(x), 161)), r"161\), expected \(\d, 160\)"),
    "in time": (lambda x: np.ones((len(x), 2, 160)), r"2, 160\), expected"),
    "one is NaN": (
        lambda x: np.where(np.arange(len(x))[:, None] == 1, np.nan, np.ones((1, 160))),
        "not finite",
    ),
}


def past_preflight(floor: FrozenEncoder, then):
    """`floor`, but `then` for crops of 5 s from the first batch on that is not of four, as the pre-flight's are."""
    begun = []

    @functools.wraps(floor.embed)
    def embed(waveforms):
        if waveforms.shape[1] != 80_000 or (not begun and len(waveforms) == 4):
            return floor.embed(waveforms)
        begun.append(True)
        return then(waveforms)

    return dataclasses.replace(floor, embed=embed)


def failing_on_esc50(fail, good_calls: int = 2) -> FrozenEncoder:
    """The floor, but that it fails at a batch of real clips of 5 s, after a few of them."""
    floor, left = load_adapter("log_mel"), [good_calls]

    def embed(waveforms):
        left[0] -= 1
        return fail(waveforms) if left[0] < 0 else floor.embed(waveforms)

    return past_preflight(floor, embed)


@pytest.mark.parametrize("fail,message", FAILURES.values(), ids=FAILURES)
def test_a_batch_at_which_the_encoder_fails_is_named(corpus, tmp_path, fail, message):
    out, cache = tmp_path / "out", tmp_path / "cache"
    (out / "manifests").mkdir(parents=True)
    (out / "manifests/esc50.json").write_text("of an earlier evaluation")
    sources = find_sources(corpus, {}, ("esc50",))
    result = evaluate_tasks(failing_on_esc50(fail), sources, SETTINGS, out, cache, mock.Mock())
    error = str(result.failures["esc50"])
    assert re.search(message, error) and error.startswith("esc50: ")
    assert re.search(
        r"the batch held crops of audio/3-10030-A-0.wav, audio/3-10031-A-1.wav(. Free memory.*)?$", error
    )
    entry = result.report["tasks"]["esc50"]
    assert entry["value"] is None and entry["reason"].startswith("failed: ") and entry["clips"] == 0
    assert list((out / "manifests").iterdir()) == [] and list((out / "predictions").glob("*")) == []
    assert len(list(cache.rglob("*.npz"))) == 2, "the shards before it are whole"


def test_a_batch_that_memory_does_not_hold_is_halved(corpus, tmp_path):
    """The embeddings of 8 crops at once and of 2 at once are the same, so are the scores."""
    floor, sizes = load_adapter("log_mel"), []

    def embed(waveforms):
        sizes.append(len(waveforms))
        if len(waveforms) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return floor.embed(waveforms)

    found = run(corpus, tmp_path / "halved", past_preflight(floor, embed))
    assert not found.failures and {8, 2} <= set(sizes)
    expected = run(corpus, tmp_path / "whole", dataclasses.replace(floor, digest="computed anew"))
    for name in ("esc50", "speech_commands_v2"):
        assert found.report["tasks"][name]["value"] == expected.report["tasks"][name]["value"]


def test_other_tasks_are_scored_and_a_second_run_goes_on(corpus, tmp_path):
    observer = mock.Mock()
    first = run(corpus, tmp_path / "out", failing_on_esc50(raising(RuntimeError("no"))), observer)
    assert set(first.failures) == set(first.record["failed"]) == {"esc50"} and [
        c.args[0] for c in observer.failed.mock_calls
    ] == ["esc50"]
    assert first.report["tasks"]["speech_commands_v2"]["value"] is not None and first.report["hares"] is None
    second = run(corpus, tmp_path / "out")
    assert second.failures == {} and second.record["tasks"]["esc50"]["found"] == 2
    whole = evaluate_tasks(
        load_adapter("log_mel"),
        find_sources(corpus, {}, TASKS),
        SETTINGS,
        tmp_path / "two",
        tmp_path / "b",
        mock.Mock(),
    )
    assert whole.report == second.report


def test_a_probe_that_fails_is_the_tasks_failure(corpus, tmp_path, monkeypatch):
    def no_memory(*_):
        raise MemoryError("unable to allocate")

    monkeypatch.setattr("hares.benchmark.score_task", no_memory)
    result = run(corpus, tmp_path / "out")
    assert set(result.failures) == set(TASKS) and "MemoryError" in str(result.failures["esc50"])
