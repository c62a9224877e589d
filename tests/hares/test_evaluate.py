"""Evaluation as a whole, on a small corpus written here: the same numbers, each embedding computed once."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hares.adapters import FrozenEncoder, load_adapter
from hares.decoding.process import pool
from hares.evaluation import Evaluation, EvaluationSettings, evaluate_tasks, find_sources
from hares.preflight import PreflightError
from hares.protocol import ProtocolSettings
from models.encoder import load_encoder as build_encoder
from models.export import export_saved_model
from models.frontend import FrontendConfig

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
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


class Silent:
    """An observer that counts."""

    def __init__(self):
        self.calls = Counter()
        self.total = 0

    def checked(self, findings, embedding_size, seconds):
        self.calls["checked"] += 1

    def listed(self, clips):
        self.total = clips

    def embedding(self, task):
        self.calls[f"embedding {task}"] += 1

    def clips(self, task, count, computed):
        self.calls["computed" if computed else "found"] += count

    def probing(self, task):
        self.calls[f"probing {task}"] += 1

    def failed(self, task, reason):
        self.calls[f"failed {task}"] += 1


def run(
    corpus: Path,
    output: Path,
    encoder: FrozenEncoder | None = None,
    observer: Silent | None = None,
    **settings,
) -> Evaluation:
    return evaluate_tasks(
        encoder or load_adapter("log_mel"),
        find_sources(corpus, {}, TASKS),
        dataclasses.replace(SETTINGS, **settings),
        output,
        corpus.parent / "cache",
        observer or Silent(),
    )


def scores(evaluation: Evaluation) -> dict[str, object]:
    return {name: (entry["value"], entry["interval"]) for name, entry in evaluation.report["tasks"].items()}


def test_everything_is_written_and_counted(corpus, tmp_path):
    observer = Silent()
    broken = corpus / "speech_commands_v2/yes/00000007_nohash_0.wav"
    broken.write_bytes(b"RIFF but no more")
    (corpus / "speech_commands_v2/no/00000007_nohash_0.wav").unlink()
    result = run(corpus, tmp_path / "out", observer=observer)
    out = tmp_path / "out"
    entry = result.report["tasks"]["speech_commands_v2"]
    assert (entry["clips"], entry["expected_clips"], entry["train_clips"]) == (7, 9, 15)
    assert entry["missing"] == {"absent": 1, "undecodable": 1}
    assert result.report["tasks"]["voxforge"]["reason"] == "not part of this run"
    assert json.loads((out / "report.json").read_text()) == result.report
    assert (out / "report.html").is_file() and (out / "predictions/esc50.npz").is_file()
    record = json.loads((out / "evaluate.json").read_text())
    assert record == json.loads(json.dumps(result.record))
    assert record["encoder"]["spec"] == "log_mel" and len(record["encoder"]["digest"]) == 64
    assert record["cache"]["found"] == 0 and record["cache"]["computed"] > 5
    rejected = (out / "manifests/speech_commands_v2.rejected.jsonl").read_text().splitlines()
    assert {json.loads(line)["reason"] for line in rejected} == {"absent", "undecodable"}
    clips = [
        json.loads(line)
        for line in (out / "manifests/speech_commands_v2.clips.jsonl").read_text().splitlines()
    ]
    assert len(clips) == 22 and all(len(clip["sha256"]) == 64 for clip in clips)
    assert entry["leakage"]["verdict"] == "clean" and entry["leakage"]["clips_checked"] == 22
    assert observer.total == observer.calls["computed"] == 24 - 1 + 10


def test_manifests_are_those_of_ingestion(corpus, tmp_path):
    """The counts of `build_manifest` over shards that ingestion itself wrote."""
    from hares.ingest import ShardSummary, build_manifest, count_listed, ingest_shard, list_entries

    broken = sorted((corpus / "speech_commands_v2/yes").iterdir())[0]
    broken.write_bytes(b"")
    run(corpus, tmp_path / "out")
    sources = {"speech_commands_v2": str(corpus / "speech_commands_v2")}
    splits = ("train", "test")
    _, rejected = count_listed(sources, splits)
    summaries: list[ShardSummary] = []
    for split in splits:
        entries = [
            e for e in list_entries(sources, splits) if getattr(e, "clip", None) and e.clip.split == split
        ]
        paths = (str(tmp_path / f"{split}.tfrecord"), str(tmp_path / f"{split}.jsonl"))
        summaries.append(ingest_shard(entries, sources, split, 0, *paths))
    expected, lines = build_manifest(sources, splits, summaries, rejected)
    found = json.loads((tmp_path / "out/manifests/speech_commands_v2.json").read_text())
    expected.pop("content_digest"), found.pop("content_digest")  # it covers how clips fall into shards
    assert found == json.loads(json.dumps(expected))
    written = (tmp_path / "out/manifests/speech_commands_v2.rejected.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in written] == lines


def test_a_second_run_embeds_nothing_and_scores_the_same(corpus, tmp_path):
    first, observer = run(corpus, tmp_path / "one"), Silent()
    floor, calls = load_adapter("log_mel"), Counter()

    @functools.wraps(floor.embed)
    def counting(waveforms):
        calls[len(waveforms)] += 1
        return floor.embed(waveforms)

    second = run(corpus, tmp_path / "two", dataclasses.replace(floor, embed=counting), observer)
    assert calls[SETTINGS.batch_size] == 0, "only the pre-flight, with four crops, may call the encoder"
    assert observer.calls["computed"] == 0 and observer.calls["found"] == observer.total
    assert second.record["cache"]["computed"] == 0
    assert (tmp_path / "one/report.json").read_bytes() == (tmp_path / "two/report.json").read_bytes()
    assert first.report == second.report


def test_a_clip_on_both_sides_of_the_split_is_said(corpus, tmp_path):
    words = corpus / "speech_commands_v2/yes"
    shutil.copy(words / "00000000_nohash_0.wav", words / "00000007_nohash_0.wav")
    leakage = run(corpus, tmp_path / "out").report["tasks"]["speech_commands_v2"]["leakage"]
    assert leakage["verdict"] == "leak" and leakage["shared_clips"] == 1


def test_embeddings_above_the_memory_limit_score_the_same(corpus, tmp_path):
    first = run(corpus, tmp_path / "one")
    small = dataclasses.replace(PROTOCOL, memory_limit_mb=0.001)
    assert scores(run(corpus, tmp_path / "two", protocol=small)) == scores(first)


def test_one_clips_bytes_compute_one_shard(corpus, tmp_path):
    run(corpus, tmp_path / "one")
    path = sorted((corpus / "esc50/audio").iterdir())[3]
    content = bytearray(path.read_bytes())
    content[1000] ^= 4
    path.write_bytes(content)
    assert run(corpus, tmp_path / "two").record["cache"]["computed"] == 1


def test_one_crop_setting_computes_what_it_touches(corpus, tmp_path):
    run(corpus, tmp_path / "one")
    longer = dataclasses.replace(PROTOCOL, max_steps=40, learning_rate=1e-3)
    assert run(corpus, tmp_path / "two", protocol=longer).record["cache"]["computed"] == 0
    more = run(corpus, tmp_path / "three", protocol=dataclasses.replace(PROTOCOL, augmented_epochs=3))
    tasks = more.record["tasks"]
    assert tasks["esc50"]["found"] == tasks["speech_commands_v2"]["computed"] == 0


def test_float16_scores_are_the_same_when_found(corpus, tmp_path):
    first = run(corpus, tmp_path / "one", dtype="float16")
    second = run(corpus, tmp_path / "two", dtype="float16")
    assert second.record["cache"]["computed"] == 0 and scores(first) == scores(second)


def test_an_interrupted_shard_is_computed_again_and_no_other(corpus, tmp_path):
    floor, left, observer = load_adapter("log_mel"), [6], Silent()

    @functools.wraps(floor.embed)
    def failing(waveforms):
        if observer.calls["checked"]:
            left[0] -= 1
            if left[0] < 0:
                signal.raise_signal(signal.SIGINT)
        return floor.embed(waveforms)

    with pytest.raises(KeyboardInterrupt):
        run(corpus, tmp_path / "one", dataclasses.replace(floor, embed=failing), observer)
    complete = len(list((tmp_path / "cache").rglob("*.npz")))
    assert complete > 0
    again = run(corpus, tmp_path / "one")
    assert again.record["cache"]["found"] == complete
    whole = evaluate_tasks(
        floor, find_sources(corpus, {}, TASKS), SETTINGS, tmp_path / "two", tmp_path / "other", Silent()
    )
    assert whole.report == again.report


def test_a_clip_that_lacked_ffmpeg_is_embedded_when_it_is_there(corpus, tmp_path, monkeypatch):
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg on the PATH")
    clip = sorted((corpus / "esc50/audio").iterdir())[0]
    subprocess.run(["ffmpeg", "-v", "error", "-i", clip, "-f", "mp4", tmp_path / "made"], check=True)
    (tmp_path / "made").replace(clip)
    path, missing = os.environ["PATH"], []
    for found in ("", "", path, path):
        monkeypatch.setenv("PATH", found)
        pool(SETTINGS.limits.memory_bytes).close()  # a decoder keeps the variables it was started with
        result = run(corpus, tmp_path / "out")
        missing.append(result.report["tasks"]["esc50"]["missing"])
    assert missing == [{"needs_ffmpeg": 1}, {"needs_ffmpeg": 1}, {}, {}]
    assert result.record["cache"]["computed"] == 0


def test_a_broken_encoder_reads_no_data(corpus, tmp_path):
    floor = load_adapter("log_mel")
    deaf = dataclasses.replace(floor, embed=lambda x: np.ones((len(x), 160), np.float32))
    shutil.rmtree(corpus / "esc50/audio")
    with pytest.raises(PreflightError, match="sees its input"):
        run(corpus, tmp_path / "out", deaf)
    assert not (tmp_path / "out").exists() and not (tmp_path / "cache").exists()


def test_files_are_hashed_once(corpus, tmp_path, monkeypatch):
    from hares import ingest

    hashed = Counter()

    def counting(path):
        hashed[str(path)] += 1
        return digest(path)

    digest = ingest.file_digest
    monkeypatch.setattr(ingest, "file_digest", counting)
    run(corpus, tmp_path / "out")
    assert len(hashed) == 34 and set(hashed.values()) == {1}


def test_sources_are_found_or_named(corpus):
    assert {s.task.name for s in find_sources(corpus, {}, ())} == {"speech_commands_v2", "esc50"}
    placed = find_sources(None, {"nsynth": corpus / "esc50"}, ("nsynth_pitch",))
    assert placed[0].root == corpus / "esc50"
    for arguments, message in (
        ((corpus, {}, ("voxforge",)), r"task voxforge: there is no folder .*voxforge=DIR"),
        ((corpus, {}, ("esc51",)), r"unknown task 'esc51'"),
        ((corpus, {"esc": corpus}, ()), r"no data set is called esc; there are audioset"),
        ((None, {}, ("esc50",)), r"task esc50: no place for the data set"),
        ((None, {"nsynth": Path("tfds:data")}, ("nsynth_pitch",)), r"nsynth/full is not prepared in data"),
        ((None, {"esc50": Path("tfds:data")}, ("esc50",)), r"esc50 is not in TensorFlow Datasets"),
        ((corpus / "esc50", {}, ()), r"none of the data sets audioset, .* is there"),
    ):
        with pytest.raises(ValueError, match=message):
            find_sources(*arguments)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="batch_size is 0"):
        EvaluationSettings(batch_size=0)


@pytest.fixture(scope="module")
def export(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("export") / "model"
    record = build_encoder("sf_nfnet_tiny")
    export_saved_model(record.build(0), record, folder, FrontendConfig(), {"objective": "none"})
    return str(folder)


def test_the_way_back_scores_the_same(corpus, tmp_path, export):
    """Our export through its own adapter, and as a HEAR module as any other benchmark would load it."""
    own = run(corpus, tmp_path / "own", load_adapter(f"saved_model:{export}"))
    back = run(corpus, tmp_path / "back", load_adapter(f"hear:models.hear:{export}"))
    assert scores(own) == scores(back)
    assert back.record["cache"]["found"] == 0, "nothing was taken from the other's cache"


def command(corpus: Path, output: Path, cache: Path) -> list[str]:
    return [
        sys.executable, "-m", "cli.main", "evaluate", "--encoder", "python:slow_encoder:Encoder",
        "--corpus", str(corpus), "--tasks", ",".join(TASKS), "--protocol", "quick", "--output", str(output),
        "--cache", str(cache), "--batch-size", "8",
    ]  # fmt: skip


def test_kill_9_at_any_moment(corpus, tmp_path):
    """The scores of a run killed again and again are those of one left alone; no finished shard is redone."""
    (tmp_path / "slow_encoder.py").write_text(
        "import time\nimport numpy as np\nfrom hares.adapters.log_mel import embed\n"
        "class Encoder:\n    sample_rate, embedding_size = 16000, 160\n"
        "    def __call__(self, x):\n        time.sleep(0.1)\n        return embed(x)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    began = time.monotonic()
    subprocess.run(
        command(corpus, alone, alone / "cache"),
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
    )
    whole = time.monotonic() - began
    every_shard = len(list((alone / "cache").rglob("*.npz")))
    random_moment = random.Random(5)
    # How many new shards to wait for, and how long after them to strike at most: slow imports must not use up the
    # moments. The first strikes the start or the pre-flight, the last one the probes or the report.
    for new_shards, longest in ((0, whole / 2), (1, 0.3), (1, 0.3), (1, 0.3), (every_shard, whole / 20)):
        process = subprocess.Popen(
            command(corpus, killed, killed / "cache"),
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wanted = min(every_shard, len(list((killed / "cache").rglob("*.npz"))) + new_shards)
        while process.poll() is None and len(list((killed / "cache").rglob("*.npz"))) < wanted:
            time.sleep(0.01)
        time.sleep(random_moment.uniform(0.0, longest))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it had ended before it was killed"
    subprocess.run(command(corpus, killed, killed / "cache"), cwd=tmp_path, env=environment, check=True)
    assert (killed / "report.json").read_bytes() == (alone / "report.json").read_bytes()
    log = [json.loads(line) for line in (killed / "cache/log.jsonl").read_text().splitlines()]
    computed = Counter(line["key"] for line in log if line["event"] == "computed")
    # A kill between a shard and its line leaves a shard without one; two lines would be a shard done twice.
    assert set(computed.values()) == {1}
    assert set(computed) <= {path.stem for path in (alone / "cache").rglob("*.npz")}
