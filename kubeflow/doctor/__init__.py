"""`hares doctor`: what will fail, where and why, found in seconds and before anything is submitted.

A check is a function `check_...` in a module of `kubeflow/doctor/checks/`, found by that name: it is given a `Subject`
and yields a `Finding` for each fault it sees. Adding one touches no other file.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator

from kubeflow.doctor.finding import Finding, Severity, Subject

Check = Callable[[Subject], Iterator[Finding]]
_PREFIX = "check_"


def all_checks() -> dict[str, Check]:
    """All checks by name, in the order of their modules' and their own names."""
    package = importlib.import_module("kubeflow.doctor.checks")
    found: dict[str, Check] = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for name, function in sorted(vars(module).items()):
            if name.startswith(_PREFIX) and function.__module__ == module.__name__:
                found[name.removeprefix(_PREFIX)] = function
    return found


def diagnose(subject: Subject) -> list[Finding]:
    """What is wrong with a set-up, fatal findings first."""
    found = [finding for check in all_checks().values() for finding in check(subject)]
    return sorted(found, key=lambda finding: finding.severity is not Severity.FATAL)
