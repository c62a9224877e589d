"""The log that a command writes beside its work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
FAILS = """
import logging, sys
from pathlib import Path
from cli.quiet import logging_to

try:
    with logging_to(Path(sys.argv[1])) as console:
        print("what a library prints")
        logging.getLogger("library").warning("what a library logs")
        console.print("what we show")
        raise ValueError("what went wrong")
except ValueError as error:
    print(error)
"""


def run(log: str) -> subprocess.CompletedProcess[str]:
    # With unbuffered output the library's own `print` would fail, and not what comes after it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, "-c", FAILS, log], cwd=PROJECT, env=environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_libraries_go_to_the_log_and_the_rest_to_the_terminal(tmp_path: Path) -> None:
    done = run(str(tmp_path / "logs" / "a.log"))
    assert (done.stdout, done.stderr, done.returncode) == ("what we show\nwhat went wrong\n", "", 0)
    text = (tmp_path / "logs" / "a.log").read_text()
    assert "what a library prints" in text and "WARNING library: what a library logs" in text


def test_a_log_that_does_not_fit_hides_nothing() -> None:
    """`/dev/full` is a disk without room: every write to it fails."""
    done = run("/dev/full")
    assert (done.stdout, done.stderr, done.returncode) == ("what we show\nwhat went wrong\n", "", 0)
