"""`hares doctor` from outside: what it prints and its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "doctor", *arguments],
        cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_fatal_finding_is_exit_code_3_and_json_is_all_that_is_printed(tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text(f"image: pipeline\npipeline_root: s3://bucket/hares\nworkspace: {tmp_path}\n")
    done = doctor("--target", "kubeflow", "--cluster", str(cluster), "--json")
    found = {(finding["check"], finding["severity"]) for finding in json.loads(done.stdout)}
    assert {("image", "fatal"), ("storage", "warning")} <= found
    assert done.returncode == 3
    said = doctor("--target", "kubeflow", "--cluster", str(cluster))
    assert f"fatal: {cluster}: image: pipeline: expected REGISTRY/NAME:TAG" in said.stdout
    assert "remedy: give the image's full name" in said.stdout


def test_files_and_settings_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1\n")
    for arguments, said in (
        (("--cluster", str(tmp_path / "gone.yaml")), "gone.yaml: No such file"),
        (("--compiled", str(tmp_path / "list.yaml")), "expected `key: value`"),
        (("--config", "demo", "--set", "training.stepz=1"), "training.steps"),
    ):
        done = doctor(*arguments)
        assert done.returncode == 3 and not done.stdout
        assert said in done.stderr and done.stderr.startswith("hares: ") and done.stderr.count("\n") == 1
