"""The whole chain, once, on all twelve tasks: what it prints, what it leaves, and what the store answers."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import statistics as stats
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from hares.report.bundle import bundle_bytes
from hares.task import DOMAINS, load_task, task_names
from kits.pipeline_runs import PROJECT, Finished, run
from models.encoder import load_encoder

pytestmark = pytest.mark.slow

REQUIRED = {"domain", "metric", "value", "chance", "untrained", "clips", "expected_clips", "deviations"}


def test_twelve_scores_from_audio_to_report(full_run: Finished) -> None:
    report = full_run.report()
    assert set(report["tasks"]) == set(task_names())
    for name, entry in report["tasks"].items():
        assert set(entry) >= REQUIRED
        assert entry["domain"] == load_task(name).domain
        assert 0 <= entry["value"] <= 1 and 0 <= entry["chance"] <= 1 and 0 <= entry["untrained"] <= 1
        assert entry["clips"] == entry["expected_clips"] > 0
    for domain in DOMAINS:
        members = [e["value"] for e in report["tasks"].values() if e["domain"] == domain]
        assert report["domains"][domain] == pytest.approx(stats.fmean(members))
    assert report["hares"] == pytest.approx(stats.fmean(e["value"] for e in report["tasks"].values()))


def test_the_workspace_holds_store_report_and_model(full_run: Finished) -> None:
    assert (full_run.workspace / "metadata.sqlite").is_file()
    report = full_run.artifact("evaluator", "report")
    assert "HARES of cnn14_tiny" in (report / "report.html").read_text()
    assert {p.stem for p in (report / "predictions").iterdir()} == set(task_names())
    (version,) = (full_run.workspace / "pushed").iterdir()
    assert (version / "saved_model.pb").is_file()
    assert str(report / "report.html") in full_run.stdout.replace("\n", "")


def test_a_bundle_of_the_run_has_manifests_and_versions(full_run: Finished, tmp_path: Path) -> None:
    content = bundle_bytes(full_run.artifact("evaluator", "report"))
    assert str(full_run.workspace).encode() not in content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for task, entry in full_run.report()["tasks"].items():
            clips = archive.read(f"manifests/{task}.clips.jsonl").decode().splitlines()
            assert len(clips) == entry["manifest"]["present"]
            assert json.loads(archive.read(f"manifests/{task}.json"))["slots"]
        assert json.loads(archive.read("evaluate.json"))["versions"]["tfx"]


def test_what_is_printed_is_what_the_report_says(full_run: Finished) -> None:
    for name, entry in full_run.report()["tasks"].items():
        (line,) = [line for line in full_run.stdout.splitlines() if line.startswith(f"{name} ")]
        assert line.split()[2] == f"{100 * entry['value']:.1f}"


def test_the_documented_code_reads_the_store(full_run: Finished) -> None:
    """Ten lines of plain ml-metadata, as docs/metadata.md shows them, in a process without any of our code."""
    (code,) = re.findall(r"```python\n(.*?)```", (PROJECT / "docs" / "metadata.md").read_text(), re.DOTALL)
    statements = [line for line in code.splitlines() if line and not line.startswith(("from ", "import "))]
    assert len(statements) <= 10
    script = f"workspace = {str(full_run.workspace)!r}\n{code}\nimport json\nprint(json.dumps([scores, manifests]))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True, timeout=300
    )
    scores, manifests = json.loads(done.stdout.splitlines()[-1])
    assert scores == {
        name: pytest.approx(e["value"], abs=1e-6) for name, e in full_run.report()["tasks"].items()
    }
    # The pushed model stands on the pretraining audio, and its blessing on that of the twelve tasks.
    sources = {json.loads((Path(uri) / "manifest.json").read_text())["content_digest"] for uri in manifests}
    assert len(manifests) == 13 and len(sources) >= 12


def test_the_readmes_model_needs_only_tensorflow(full_run: Finished) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    (pushed,) = (full_run.workspace / "pushed").iterdir()
    script = f"pushed = {str(pushed)!r}\n{code}\nimport sys\nprint(embedding.shape, 'tfx' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.splitlines()[-1] == f"{(1, load_encoder('cnn14_tiny').embedding_size)} False"


def test_manifests_name_every_clip_with_the_digest_of_its_file(full_run: Finished, made_corpus: Path) -> None:
    import hashlib

    folder = full_run.artifact("ingest_esc50", "manifest")
    clips = [
        json.loads(line) for path in folder.glob("clips-*.jsonl") for line in path.read_text().splitlines()
    ]
    wavs = {f"audio/{p.name}": p for p in (made_corpus / "esc50" / "audio").iterdir()}
    assert {clip["clip_id"] for clip in clips} == set(wavs)
    for clip in clips:
        assert clip["sha256"] == hashlib.sha256(wavs[clip["clip_id"]].read_bytes()).hexdigest()


def test_statistics_know_length_and_level(full_run: Finished) -> None:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    stats_file = full_run.artifact("statistics", "statistics") / "Split-train" / "FeatureStats.pb"
    found = statistics_pb2.DatasetFeatureStatisticsList.FromString(stats_file.read_bytes()).datasets[0]
    names = {".".join(f.path.step): f for f in found.features}
    assert set(names) >= {"num_samples", "level_dbfs"} and "waveform" not in names
    assert names["num_samples"].num_stats.min >= 400 and names["level_dbfs"].num_stats.max <= 0


def test_serving_through_the_transform_graph_equals_the_waveform_signature(full_run: Finished) -> None:
    (version,) = (full_run.workspace / "pushed").iterdir()
    model = tf.saved_model.load(str(version))
    pcm = np.random.default_rng(0).integers(-8000, 8000, (2, 24_000)).astype("<i2")
    through = model.signatures["pcm16"](pcm=tf.constant([row.tobytes() for row in pcm]))["embedding"]
    direct = model.signatures["serving_default"](waveform=tf.constant(pcm.astype(np.float32) / 32768))[
        "embedding"
    ]
    # Transform keeps spectrograms as float16: three digits of a log-mel, so as many of an embedding.
    np.testing.assert_allclose(through, direct, atol=5e-3)


@pytest.mark.parametrize(
    "line",
    [
        "--help", "presets", "report {w}",
        "corpus check {c} --task esc50", "lineage trace hares --workspace {w}",
        "lineage why --workspace {w}",
        "lineage page --workspace {w} --output {t}/page.html", "metadata check --workspace {w}",
        "workspace gc --workspace {w}", "doctor --workspace {w}",
        "compile --target kubeflow --cluster {t}/cluster.yaml --corpus {c} --output {t}/hares.yaml",
    ],
)  # fmt: skip
def test_nothing_but_the_answer_is_on_the_terminal(
    full_run: Finished, made_corpus: Path, tmp_path: Path, line: str
) -> None:
    """Libraries write to the file descriptors, from C++ too; the tests' own environment must not hush them."""
    (tmp_path / "cluster.yaml").write_text(
        f"image: r.example/hares:1\npipeline_root: gs://b/h\nworkspace: {full_run.workspace}\n"
        f"volumes: {{data: {full_run.workspace.parent}}}\n"  # where a step sees the blessed model's report
    )
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *shlex.split(line.format(w=full_run.workspace, c=made_corpus, t=tmp_path))],
        cwd=PROJECT, env={k: v for k, v in os.environ.items() if "MIN_LOG_LEVEL" not in k and "WARNINGS" not in k},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr, full_run.stderr) == (0, "", "") and done.stdout


def test_a_second_run_executes_nothing(full_run: Finished, made_corpus: Path) -> None:
    """Not even after gc, which finds the checkpoints of the training that has ended and no artifact."""
    gc = [
        sys.executable,
        "-m",
        "cli.main",
        "workspace",
        "gc",
        "--workspace",
        str(full_run.workspace),
        "--yes",
    ]
    options = ["--keep-runs", "1", "--json"]
    done = subprocess.run(
        [*gc, *options], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=300
    )
    assert {item["kind"] for item in json.loads(done.stdout)["items"]} - {"scratch"} == {"checkpoints"}
    assert list((full_run.workspace / "checkpoints").iterdir()) == []
    again = run(made_corpus, full_run.workspace)
    assert again.code == 0, again.stderr
    assert again.steps("done") == [] and len(again.steps("cached")) == 31
    assert again.report() == full_run.report()
