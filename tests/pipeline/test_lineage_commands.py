"""`hares lineage` on real runs: from a score to files whose digests sha256sum confirms, and one altered clip named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile

from kits.lineage_stores import open_store
from kits.pipeline_runs import FEW_TASKS, Finished, environment, project, run

pytestmark = pytest.mark.slow


def lineage(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "lineage", *arguments, "--workspace", str(workspace)],
        cwd=project(), env=environment(project()), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def answer(workspace: Path, *arguments: str) -> Any:
    done = lineage(workspace, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_artifact_has_a_digest_of_its_content(full_run: Finished) -> None:
    store = open_store(full_run.workspace / "metadata.sqlite")
    artifacts = store.get_artifacts()
    assert len(artifacts) > 40
    without = [a.uri for a in artifacts if not a.custom_properties["content_digest"].string_value]
    assert without == []
    says = {
        (a.custom_properties["node"].string_value, a.custom_properties["run"].string_value) for a in artifacts
    }
    # Another test may have run the same again, from the cache: what is there was still made by the first run.
    first = min(store.get_contexts_by_type("pipeline_run"), key=lambda context: context.id)
    assert {run for _, run in says} == {first.name} and len(says) == 31
    for artifact in artifacts:
        assert f"/artifacts/{artifact.custom_properties['node'].string_value}/" in artifact.uri
    (model,) = [a for a in artifacts if a.type == "Model"]
    for name in ("encoder", "objective", "weights_digest", "hardware"):
        assert model.custom_properties[name].string_value
    assert 0 < model.custom_properties["step_hours"].double_value < 1
    assert (
        model.custom_properties["replicas"].int_value == 1
        and model.custom_properties["steps"].int_value == 30
    )
    manifests = {a.uri for a in artifacts if a.type == "components.AudioManifest"}
    examples = [a for a in artifacts if a.type == "Examples" and "/ingest_" in a.uri]
    assert {a.custom_properties["manifest"].string_value for a in examples} == manifests and len(
        manifests
    ) == 13


def test_the_digests_of_artifacts_are_those_of_their_files(full_run: Finished) -> None:
    """One line of shell says the same: sha256sum over the sorted files, and over that."""
    folder = full_run.artifact("trainer", "model")
    shell = "find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum"
    done = subprocess.run(["sh", "-c", shell], cwd=folder, capture_output=True, text=True, check=True)
    store = open_store(full_run.workspace / "metadata.sqlite")
    (model,) = store.get_artifacts_by_uri(str(folder))
    assert model.custom_properties["content_digest"].string_value == done.stdout.split()[0]


def test_a_score_is_traced_to_files_whose_digests_sha256sum_confirms(
    full_run: Finished, made_corpus: Path
) -> None:
    clips = lineage(full_run.workspace, "trace", "hares", "--clips")
    assert clips.returncode == 0, clips.stderr
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet"],
        input=clips.stdout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    named = {line.split("  ", 1)[1] for line in clips.stdout.splitlines()}
    for task in ("esc50", "nsynth", "voxceleb1"):
        wavs = {str(path) for path in (made_corpus / task).rglob("*.wav")}
        assert wavs and wavs <= named
    found = answer(full_run.workspace, "trace", "esc50")
    (facts,) = found["runs"]
    assert (
        facts["config"]["training"]["steps"] == 30
        and facts["preset"] == "demo"
        and facts["status"] == "complete"
    )
    assert facts["git_revision"] == "unknown", "the tests run a copy that is in no repository"
    assert found["target"]["value"] == round(full_run.report()["tasks"]["esc50"]["value"], 6)
    nodes = [step["node"] for step in found["steps"]]
    assert {"ingest_esc50", "transform", "trainer", "embed_esc50"} < set(nodes) and nodes[-1] == "evaluator"
    assert "embed_tut18" not in nodes
    (trainer,) = [step for step in found["steps"] if step["node"] == "trainer"]
    assert trainer["properties"]["custom_config"]["training"]["seed"] == 0


def test_runs_and_why_of_the_first_run(full_run: Finished) -> None:
    *_, first = answer(
        full_run.workspace, "runs", "--score", "hares>0", "--encoder", "cnn14_tiny", "--since", "1d"
    )
    assert first["scores"]["hares"] == round(full_run.report()["hares"], 6) and first["blessed"] is True
    assert answer(full_run.workspace, "runs", "--score", "hares>1") == []
    found = answer(full_run.workspace, "why", first["run"])
    assert found["blessed"] is True and len(found["steps"]) == 31


def test_wrong_questions_are_one_line_and_an_exit_code(full_run: Finished, tmp_path: Path) -> None:
    for arguments, code, text in (
        (("trace", "nothing"), 4, "neither an artifact's id or folder nor a score"),
        (("why", "1999"), 4, "there is no such run"),
        (("impact", "/nowhere.wav"), 4, "no clip came from it"),
        (("runs", "--score", "hares"), 3, "--score 'hares'"),
    ):
        done = lineage(full_run.workspace, *arguments)
        assert done.returncode == code and text in done.stderr and done.stderr.count("\n") == 1, done.stderr
    done = lineage(tmp_path, "runs")
    assert done.returncode == 4 and "has `hares run` been run" in done.stderr


def test_after_one_clip_is_altered_diff_names_that_clip_and_only_it(
    short_run: Finished, made_corpus: Path
) -> None:
    """In place, since the store names artifacts and sources by path; everything is put back."""
    clip = sorted((made_corpus / "esc50" / "audio").iterdir())[3]
    content, status = clip.read_bytes(), clip.stat()
    kept = short_run.workspace.with_name("kept-for-lineage")
    shutil.copytree(short_run.workspace, kept, symlinks=True)
    try:
        samples, rate = soundfile.read(clip)
        soundfile.write(clip, 0.5 * samples, rate)
        again = run(made_corpus, short_run.workspace, FEW_TASKS)
        assert again.code == 0, again.stderr
        found = answer(short_run.workspace, "diff", "previous", "latest")
        impact = answer(short_run.workspace, "impact", str(clip))
        why = answer(short_run.workspace, "why")
    finally:
        clip.write_bytes(content)
        os.utime(clip, ns=(status.st_atime_ns, status.st_mtime_ns))
        shutil.rmtree(short_run.workspace)
        kept.rename(short_run.workspace)
    changed = {c["second"]["path"] for part in found["data"] for c in part["clips"] if c["what"] == "changed"}
    assert changed == {str(clip)} and sum(len(part["clips"]) for part in found["data"]) == len(found["data"])
    assert found["config"] == [] and found["code"] == []
    paired = {row["name"]: row["paired"] for row in found["scores"]}
    assert paired["birdsong"]["difference"] == 0 and paired["birdsong"]["p_value"] == 1
    assert {clip_["sha256"] for clip_ in impact["clips"]} >= {found["data"][0]["clips"][0]["first"]["sha256"]}
    steps = {step["node"]: step for step in why["steps"]}
    assert (
        steps["ingest_esc50"]["outcome"] == "ran"
        and "fingerprint changed" in steps["ingest_esc50"]["reasons"][0]
    )
    assert steps["ingest_birdsong"]["outcome"] == "cached"
