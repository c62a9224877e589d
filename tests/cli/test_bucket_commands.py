"""Commands on buckets that cannot be read: one line and an exit code, before anything is made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
NOWHERE = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "hush-id", "AWS_SECRET_ACCESS_KEY": "hush-key",
    "AWS_REGION": "us-east-1", "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9",
}  # fmt: skip


def hares(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=PROJECT, env={**os.environ, **NOWHERE, "PYTHONWARNINGS": "ignore"}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("command", [("corpus", "check"), ("evaluate", "--encoder", "log_mel", "--corpus")])
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_service_that_does_not_answer_is_exit_code_9(command, scheme, tmp_path):
    more = ("--output", str(tmp_path / "out")) if command[0] == "evaluate" else ()
    done = hares(*command, f"{scheme}://bucket/corpora", *more)
    assert done.returncode == 9, done.stderr
    assert done.stderr.count("\n") == 1 and f"{scheme}://bucket/corpora" in done.stderr
    assert "hush" not in done.stdout + done.stderr


def test_an_address_with_a_password_is_exit_code_3_and_not_repeated():
    done = hares("corpus", "check", "s3://me:hush@bucket/corpora")
    assert done.returncode == 3 and "hush" not in done.stdout + done.stderr
