"""`make audit`: what the locked versions are exposed to, and that there is an answer to each.

    python -m dependencies.audit [--source pip-audit|snapshot]

Asked first is pip-audit, with PyPI's advisories and then OSV's. pip-audit *skips* a package that its service does not
know, and a service that cannot be reached knows none: a source counts only where it knew every package. Where no
service can be reached, `advisories.yaml` stands in, a snapshot with a date and a list of what was looked at; the output
says so.

Exit code 1 for an advisory without an answer in `answers.yaml`, and for an answer whose advisory holds no more.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from packaging.specifiers import SpecifierSet

from dependencies.lock import Pin, all_locks, read_lock
from hares.version_lines import version_lines

SNAPSHOT = Path(__file__).with_name("advisories.yaml")
ANSWERS = Path(__file__).with_name("answers.yaml")
SERVICES = ("pypi", "osv")


class ServiceError(RuntimeError):
    """An advisory service did not answer for every package."""


@dataclass(frozen=True)
class Advisory:
    """An advisory that holds for a locked version; `names` are its id and all its aliases."""

    names: tuple[str, ...]
    package: str
    version: str
    fixed: str
    what: str


@dataclass(frozen=True)
class Answer:
    """What holds the version back, and why the advisory does no harm here."""

    because: str
    answer: str


@dataclass(frozen=True)
class Audit:
    """What an audit came to.

    Attributes:
        source: who was asked, and when.
        answered: each advisory with our answer.
        unanswered: advisories without one.
        gone: names of answers whose advisory holds no more.
    """

    source: str
    answered: tuple[tuple[Advisory, Answer], ...]
    unanswered: tuple[Advisory, ...]
    gone: tuple[str, ...]


def from_service(service: str, locks: Sequence[Path]) -> list[Advisory]:
    """What pip-audit says of lock files.

    Raises:
        ServiceError: the service cannot be reached, or does not know a package; or pip-audit is not installed.
    """
    files = [word for lock in locks for word in ("--requirement", str(lock))]
    command = [sys.executable, "-m", "pip_audit", *files, "--disable-pip", "--require-hashes",
               "--vulnerability-service", service, "--format", "json", "--progress-spinner", "off"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    # 1 is pip-audit's own code for advisories found as well as for a crash: what it prints tells them apart.
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise ServiceError(f"pip-audit with {service}: {reason[:200]}") from None
    return service_advisories(service, packages)


def service_advisories(service: str, packages: Sequence[Mapping[str, Any]]) -> list[Advisory]:
    """The advisories in pip-audit's own JSON.

    Raises:
        ServiceError: it skipped a package.
    """
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped or not packages:
        raise ServiceError(
            f"pip-audit with {service}: {len(skipped)} of {len(packages)} packages are not known to the service "
            f"({', '.join(skipped[:3])}{', ...' if skipped[3:] else ''}), so that it says nothing of them"
        )
    return [
        Advisory(
            (found["id"], *found["aliases"]), package["name"], package["version"], ", ".join(found["fix_versions"]),
            " ".join(found.get("description", "").split())[:160],
        )
        for package in packages
        for found in package["vulns"]
    ]  # fmt: skip


def from_snapshot(snapshot: Mapping[str, Any], pins: Iterable[Pin]) -> list[Advisory]:
    """The advisories of the snapshot that hold for the locked versions."""
    versions: dict[str, set[str]] = {}
    for pin in pins:
        versions.setdefault(pin.name, set()).add(pin.version)
    return [
        Advisory((e["id"], *e["aliases"]), e["package"], version, e["fixed"], e["what"])
        for e in snapshot["advisories"]
        for version in sorted(versions.get(e["package"], ()))
        if version in SpecifierSet(e["affected"])
    ]


def read_answers(path: Path = ANSWERS) -> dict[str, Answer]:
    """Our answers by the name of the advisory that they are to."""
    return {name: Answer(**entry) for name, entry in yaml.safe_load(path.read_text(encoding="utf-8")).items()}


def compare(source: str, advisories: Iterable[Advisory], answers: Mapping[str, Answer]) -> Audit:
    """Holds advisories against answers."""
    answered, unanswered, used = [], [], set()
    for advisory in advisories:
        name = next((name for name in advisory.names if name in answers), None)
        if name is None:
            unanswered.append(advisory)
        else:
            answered.append((advisory, answers[name]))
            used.update(set(advisory.names) & set(answers))
    return Audit(source, tuple(answered), tuple(unanswered), tuple(sorted(set(answers) - used)))


def locks_with(advisory: Advisory) -> list[str]:
    """Names of the lock files that pin what an advisory is about."""
    return [
        lock.name
        for lock in all_locks()
        if any((pin.name, pin.version) == (advisory.package, advisory.version) for pin in read_lock(lock))
    ]


def snapshot_audit() -> Audit:
    """The locks against the snapshot."""
    snapshot = yaml.safe_load(SNAPSHOT.read_text(encoding="utf-8"))
    pins = [pin for lock in all_locks() for pin in read_lock(lock)]
    source = f"the snapshot of {snapshot['date']} over {len(snapshot['packages'])} packages"
    return compare(source, from_snapshot(snapshot, pins), read_answers())


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dependencies.audit", description=__doc__.splitlines()[0])
    parser.add_argument("--source", choices=("pip-audit", "snapshot"), help="ask only this; by default the first, "
                        "and the second where no service answers")  # fmt: skip
    source = parser.parse_args(arguments).source
    audit = None
    for service in () if source == "snapshot" else SERVICES:
        try:
            audit = compare(f"pip-audit with {service}", from_service(service, all_locks()), read_answers())
            break
        except ServiceError as error:
            print(f"not asked: {error}")
    if audit is None:
        if source == "pip-audit":
            print("no advisory service answers; --source snapshot reads the one in the repository")
            return 1
        audit = snapshot_audit()
    print(f"asked: {audit.source}\n")
    for advisory, answer in audit.answered:
        print(
            f"{advisory.package} {advisory.version}  {' '.join(advisory.names)} (fixed in {advisory.fixed or 'none'})"
            f"\n  in {', '.join(locks_with(advisory))}"
        )
        print(f"  {advisory.what}\n  held back: {answer.because}\n  answer: {answer.answer}")
    for advisory in audit.unanswered:
        print(
            f"NO ANSWER: {advisory.package} {advisory.version} in {', '.join(locks_with(advisory))}  "
            f"{' '.join(advisory.names)}: {advisory.what}"
        )
    for name in audit.gone:
        print(f"GONE: {name} holds for no locked version any more; take its answer out of {ANSWERS.name}")
    print()
    for line in version_lines():
        held = sum(line.lock in locks_with(advisory) for advisory, _ in audit.answered)
        print(f"{line.lock}: {held} answered")
    print(
        f"{len(audit.answered)} answered, {len(audit.unanswered)} without an answer, {len(audit.gone)} gone"
    )
    return 1 if audit.unanswered or audit.gone else 0


if __name__ == "__main__":
    sys.exit(main())
