"""Other runs than the plain one: changed code, a kill, another seed, labels to learn from, broken audio."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pipeline_runs import FEW_TASKS, Finished, command, copy_project, environment, project, run

BEFORE_TRAINER = {
    "ingest_birdsong", "ingest_esc50", "ingest_speech_commands_v2", "ingest_pretraining",
    "schema", "statistics", "transform",
}  # fmt: skip


def scores(finished: Finished) -> dict[str, float | None]:
    return {name: entry["value"] for name, entry in finished.report()["tasks"].items()}


def model_digest(finished: Finished) -> str:
    from models.export import read_metadata

    return read_metadata(finished.artifact("trainer", "model") / "Format-Serving")["weights_digest"]


def test_a_changed_line_of_the_encoder_reruns_the_trainer_and_what_follows(
    short_run: Finished, made_corpus: Path, tmp_path: Path
) -> None:
    folder, workspace = tmp_path / "project", tmp_path / "workspace"
    copy_project(project(), folder)
    shutil.copytree(short_run.workspace, workspace)
    with open(folder / "models" / "encoders" / "sf_nfnet.py", "a") as file:
        file.write("# one more line\n")
    # The store names artifacts by path, so the copy is run in the original's place.
    kept = short_run.workspace.with_name("kept")
    short_run.workspace.rename(kept)
    try:
        workspace.rename(short_run.workspace)
        changed = run(made_corpus, short_run.workspace, FEW_TASKS, folder=folder)
    finally:
        shutil.rmtree(short_run.workspace)
        kept.rename(short_run.workspace)
    assert changed.code == 0, changed.stderr
    assert set(changed.steps("cached")) == BEFORE_TRAINER
    assert changed.steps("done")[0] == "trainer" and len(changed.steps("done")) == 6


def test_killed_in_the_trainer_it_starts_at_the_trainer_and_ends_the_same(
    short_run: Finished, made_corpus: Path, tmp_path: Path
) -> None:
    """One test of three promises: the re-run starts at the Trainer, the Trainer at its checkpoint, and scores and
    weights are those of the undisturbed run, which is also another workspace with the same seed and corpus."""
    process = subprocess.Popen(
        command(made_corpus, tmp_path, FEW_TASKS), cwd=project(), env=environment(project()),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("checkpoints/*/*-10*.index")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no checkpoint of step 10"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    again = run(made_corpus, tmp_path, FEW_TASKS)
    assert again.code == 0, again.stderr
    assert set(again.steps("cached")) == BEFORE_TRAINER
    assert again.steps("done")[0] == "trainer"
    assert model_digest(again) == model_digest(short_run)
    assert scores(again) == scores(short_run)


def test_another_seed_makes_another_model(short_run: Finished, made_corpus: Path, tmp_path: Path) -> None:
    other = run(made_corpus, tmp_path, "tasks=[birdsong]", "training.seed=1", "compare_untrained=false")
    assert other.code == 0, other.stderr
    assert model_digest(other) != model_digest(short_run)


@pytest.mark.parametrize("objective", ["classification", "simclr"])
def test_only_supervised_pretraining_scores_audioset_by_its_own_classifier(
    made_corpus: Path, tmp_path: Path, objective: str
) -> None:
    """SimCLR has the same labels before it, and no classifier: its AudioSet score is the probe's."""
    settings = ("tasks=[audioset]", "pretraining.source=audioset", f"training.objective={objective}")
    finished = run(made_corpus, tmp_path, *settings)
    assert finished.code == 0, finished.stderr
    entry = finished.report()["tasks"]["audioset"]
    assert 0 < entry["value"] < 1 and entry["untrained"] is not None
    own = any("own classifier" in text for text in entry["deviations"])
    assert own == (objective == "classification")


@pytest.fixture
def bad_corpus(copied_corpus: Callable[..., Path], tmp_path: Path) -> Path:
    """Three data sets with everything that goes wrong, beside what is right."""
    corpus = copied_corpus("esc50", "birdsong", "tut18", "speech_commands_v2")
    audio = corpus / "esc50" / "audio"
    good = sorted(audio.iterdir())
    tone = 0.3 * np.sin(np.arange(5 * 16_000) / 10)

    def listed(stem: str, target: int = 0) -> Path:
        name = f"1-{stem}-A-{target}.wav"
        with open(corpus / "esc50" / "meta" / "esc50.csv", "a") as csv:
            csv.write(f"{name},1,{target},dog,True,{stem},A\n")
        return audio / name

    listed("900001").write_bytes(b"")
    listed("900002").write_text("not audio at all\n")
    soundfile.write(listed("900003"), np.stack([tone] * 6, 1), 192_000, subtype="FLOAT")
    soundfile.write(listed("900004"), tone, 8_000, subtype="PCM_U8")
    soundfile.write(listed("900005"), tone, 16_000, subtype="PCM_24")
    soundfile.write(
        listed("900006"), np.where(np.arange(tone.size) == 9, np.nan, tone), 16_000, subtype="FLOAT"
    )
    soundfile.write(
        listed("900007"), np.where(np.arange(tone.size) == 9, np.inf, tone), 16_000, subtype="FLOAT"
    )
    soundfile.write(listed("900008"), tone[:160], 16_000)
    listed("900009")  # listed and absent
    soundfile.write(audio / "unlisted.wav", tone, 16_000)
    outside = tmp_path / "outside.wav"
    soundfile.write(outside, tone, 16_000)
    listed("900010").symlink_to(outside)
    for stem, suffix in (("900011", "FLAC"), ("900012", "MP3")):
        broken = listed(stem)
        soundfile.write(broken, tone, 16_000, format=suffix)
        content = broken.read_bytes()
        broken.write_bytes(content[: len(content) // 2])
    assert len(good) > 20
    # A csv with a missing column, and one that is not UTF-8.
    meta = corpus / "tut18" / "meta.csv"
    meta.write_text(meta.read_text().replace("scene_label", "scene"))
    for csv in (corpus / "birdsong").glob("*.csv"):
        csv.write_bytes(csv.read_bytes() + "clé-\xe9,x,1\n".encode("latin-1"))
    return corpus


def test_bad_audio_is_counted_named_and_reported(bad_corpus: Path, tmp_path: Path) -> None:
    tasks = "tasks=[birdsong, esc50, speech_commands_v2, tut18]"
    finished = run(bad_corpus, tmp_path / "w", tasks, "compare_untrained=false")
    assert finished.code == 0, finished.stdout + finished.stderr
    import json

    lines = (finished.artifact("ingest_esc50", "manifest") / "rejected.jsonl").read_text().splitlines()
    reasons = {Path(line["path"]).name: line["reason"] for line in map(json.loads, lines)}
    assert reasons == {
        "1-900001-A-0.wav": "empty",
        "1-900002-A-0.wav": "undecodable",
        "1-900006-A-0.wav": "non_finite",
        "1-900007-A-0.wav": "non_finite",
        "1-900008-A-0.wav": "too_short",
        "1-900009-A-0.wav": "absent",
        "1-900010-A-0.wav": "outside_corpus",
        "1-900011-A-0.wav": "truncated",
        "1-900012-A-0.wav": "truncated",
        "unlisted.wav": "unlisted",
    }
    report = finished.report()
    esc50, tut18, birdsong = (report["tasks"][name] for name in ("esc50", "tut18", "birdsong"))
    assert esc50["expected_clips"] - esc50["clips"] == 9, "all but the unlisted one were expected"
    assert sum(esc50["missing"].values()) == 10 and esc50["value"] is not None
    assert tut18["value"] is None and tut18["reason"] and tut18["missing"] == {"index_error": 1}
    assert any("scene_label" in text for text in tut18["deviations"])
    assert birdsong["value"] is not None and sum(birdsong["missing"].values()) == 3
    assert report["hares"] is None, "a mean of fewer tasks is not HARES"
    page = (finished.artifact("evaluator", "report") / "report.html").read_text()
    assert "2 non finite" in page and "1 outside corpus" in page
