"""This machine's Python and packages, compared with the lock file, and the state of the checkout."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator

from hares.version_lines import this_line, version_lines
from kubeflow.doctor.finding import Finding, Severity, Subject
from kubeflow.image.runtime_lock import normalise, reached, read_lock, required_names

_SHOWN = 5


def check_python(subject: Subject) -> Iterator[Finding]:
    """Python has a version that locked packages are for."""
    if this_line() is None:
        known = "; ".join(f"{line.lock} is for {', '.join(line.pythons)}" for line in version_lines())
        yield Finding(
            "python", Severity.FATAL, "Python", f"it is {sys.version.split()[0]}: {known}",
            "set the environment up with `make setup`, which finds or installs one of these",
        )  # fmt: skip


def check_packages(subject: Subject) -> Iterator[Finding]:
    """The installed versions are those of the lock file. Packages that only tests need may be missing."""
    if subject.lock is None:
        yield Finding(
            "packages", Severity.WARNING, "the lock file", "it is neither with the code nor installed with it",
            "install from a checkout, or from a wheel built from one",
        )  # fmt: skip
        return
    pins = read_lock(subject.lock.read_text(encoding="utf-8"))
    installed = {normalise(d.metadata["Name"]): d.version for d in importlib.metadata.distributions()}
    needed = reached(pins, required_names(importlib.metadata.requires("hares-tfx") or []) & set(pins))
    wrong = [
        f"{name} is {installed.get(name, 'missing')}, locked is {pin.version}"
        for name, pin in pins.items()
        if (name in installed or name in needed) and installed.get(name) != pin.version
    ]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        yield Finding(
            "packages", Severity.FATAL, str(subject.lock), "; ".join(wrong[:_SHOWN]) + more,
            "run `make setup`, or rebuild the image; to change a version on purpose, `make lock`",
        )  # fmt: skip


def check_git(subject: Subject) -> Iterator[Finding]:
    """The checkout is clean, so the revision on the run identifies its code."""
    if subject.project is None or not (subject.project / ".git").exists():
        return
    done = subprocess.run(
        ["git", "-C", str(subject.project), "status", "--porcelain"], capture_output=True, text=True, check=False
    )  # fmt: skip
    if done.returncode:
        yield Finding(
            "git", Severity.WARNING, str(subject.project), f"git does not answer: {done.stderr.strip()}",
            "without it the run's revision is recorded as unknown",
        )  # fmt: skip
    elif changed := done.stdout.splitlines():
        yield Finding(
            "git", Severity.WARNING, str(subject.project),
            f"{len(changed)} file(s) differ from the revision, {changed[0][3:]} among them",
            "commit first: image and run carry the revision, and could not be reproduced",
        )  # fmt: skip
