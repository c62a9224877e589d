"""Which line of versions a machine takes, and that the table, setup.py and the locks agree."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dependencies.lock import read_lock
from hares.version_lines import PROJECT, VersionLine, find_lock, this_line, version_lines

NEW, OLD = version_lines()


def which(
    folder: Path, glibc: str, pythons: tuple[str, ...], line: str = ""
) -> subprocess.CompletedProcess[str]:
    """What `make setup` would take on a machine with these Pythons and this glibc, as `getconf` says it there."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("bash", "cut", "dirname", "head", "printf", "sort"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    (programs / "getconf").write_text(f"#!/bin/sh\necho 'glibc {glibc}'\n")
    for (
        version
    ) in pythons:  # this Python under another name: of the answer that it gives only its version counts
        answer = (
            f'exec {sys.executable} -c "import sys; sys.version_info = ({version.replace(".", ",")}, 0); $2"'
        )
        (programs / f"python{version}").write_text(f"#!/bin/bash\n{answer}\n")
    for program in programs.iterdir():
        if not program.is_symlink():
            program.chmod(0o755)
    environment = {"PATH": str(programs), "HOME": str(folder), **({"LINE": line} if line else {})}
    return subprocess.run(
        ["/bin/bash", "bootstrap.sh", "--which"],
        cwd=PROJECT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "glibc, pythons, asked, line, why",
    [
        ("2.41", ("3.13", "3.10"), "", NEW, ""),
        ("2.39", ("3.12",), "", NEW, ""),
        ("2.36", ("3.13", "3.10"), "", OLD, "Not 2.21: it needs glibc 2.39, and this machine has 2.36."),
        ("2.41", ("3.10",), "", OLD, "Not 2.21: no Python 3.13, 3.12, 3.11 on the PATH"),
        ("2.41", ("3.13", "3.10"), OLD.name, OLD, ""),
    ],
)
def test_the_newest_line_is_taken_that_can_be_installed(
    tmp_path: Path, glibc: str, pythons: tuple[str, ...], asked: str, line: VersionLine, why: str
) -> None:
    done = which(tmp_path, glibc, pythons, asked)
    assert done.returncode == 0, done.stderr
    assert f"the line of TensorFlow {line.name} ({line.lock})." in done.stdout and why in done.stdout
    assert ("Not" in done.stdout) == bool(why)


@pytest.mark.parametrize(
    "glibc, pythons, asked, why",
    [
        ("2.36", ("3.13", "3.10"), NEW.name, "needs glibc 2.39"),
        ("2.41", ("3.9",), "", "no Python 3.10 on the PATH"),
        ("2.41", ("3.13",), "2.99", "no line of versions called 2.99"),
    ],
)
def test_a_machine_without_a_line_is_told_why(
    tmp_path: Path, glibc: str, pythons: tuple[str, ...], asked: str, why: str
) -> None:
    done = which(tmp_path, glibc, pythons, asked)
    assert done.returncode == 3 and why in done.stderr


def test_this_python_is_of_one_line_and_its_lock_is_here() -> None:
    pythons = [version for line in version_lines() for version in line.pythons]
    assert len(set(pythons)) == len(pythons)
    line = this_line()
    assert line is not None and find_lock() == PROJECT / line.lock
    assert this_line((3, 9)) is None
    assert line.loads_here(), platform.libc_ver()


@pytest.mark.parametrize("line", version_lines(), ids=lambda line: line.name)
def test_setup_asks_each_python_for_the_versions_of_its_line(line: VersionLine) -> None:
    source = (PROJECT / "setup.py").read_text(encoding="utf-8")
    texts = re.findall(r'^    "([^"]+)",', source, re.MULTILINE)
    requirements = [Requirement(text) for text in texts if re.match(r"[a-z]", text) and "*" not in text]
    assert len(requirements) > 60
    for python in line.pythons:
        environment = {
            "python_version": python,
            "python_full_version": f"{python}.0",
            "sys_platform": "linux",
        }
        pins = {
            pin.name: pin.version
            for pin in read_lock(PROJECT / line.lock)
            if not pin.marker or Requirement(f"x; {pin.marker}").marker.evaluate(environment)
        }
        asked = [one for one in requirements if one.marker is None or one.marker.evaluate(environment)]
        wrong = [str(one) for one in asked if pins.get(one.name.lower(), "0") not in one.specifier]
        assert not wrong, python
        (tensorflow,) = (one for one in asked if one.name == "tensorflow")
        assert f"{line.name}.9" in tensorflow.specifier and os.path.exists(PROJECT / line.lock)
