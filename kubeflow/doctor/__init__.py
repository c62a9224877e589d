"""`hares doctor`: finds in seconds what would fail, where and why, before anything is submitted.

A check is a function `check_...` in a module of `kubeflow/doctor/checks/`, found by its name. It gets a `Subject` and
yields a `Finding` for each fault. A new check needs no change elsewhere.
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
    """The findings about a set-up, fatal ones first."""
    found = [finding for check in all_checks().values() for finding in check(subject)]
    return sorted(found, key=lambda finding: finding.severity is not Severity.FATAL)
