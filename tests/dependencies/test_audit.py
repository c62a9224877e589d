"""The audit: what counts as an answer, when a service counts as asked, and that the hotfix is where Arrow is."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from dependencies import audit
from dependencies.audit import Advisory, Answer, ServiceError, compare, from_snapshot, service_advisories
from dependencies.lock import PROJECT, Pin, all_locks, gpu_lock, pins_here, read_lock, torch_lock
from hares.version_lines import version_lines

LOCKS = [PROJECT / line.lock for line in version_lines()]
ARROW = Advisory(("PYSEC-2023-238", "CVE-2023-47248"), "pyarrow", "10.0.1", "14.0.1", "runs code")


def test_an_answer_may_be_to_any_name_of_an_advisory() -> None:
    answer = Answer("held back", "not reached")
    for name in ARROW.names:
        done = compare("test", [ARROW], {name: answer})
        assert done.answered == ((ARROW, answer),) and not done.unanswered and not done.gone
    both = compare("test", [ARROW], dict.fromkeys(ARROW.names, answer))
    assert both.gone == ()


def test_an_advisory_without_an_answer_and_an_answer_without_one_are_told() -> None:
    done = compare("test", [ARROW], {"CVE-1999-1": Answer("a", "b")})
    assert done.unanswered == (ARROW,) and done.gone == ("CVE-1999-1",) and done.answered == ()


def test_a_package_that_a_service_skips_was_not_audited() -> None:
    known = {"name": "numpy", "version": "1.26.4", "vulns": []}
    skipped = {"name": "pyarrow", "skip_reason": "Dependency not found on PyPI and could not be audited"}
    found = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2", "3"], "description": "two\nlines"}
    with pytest.raises(ServiceError, match="1 of 2 packages are not known"):
        service_advisories("pypi", [known, skipped])
    with pytest.raises(ServiceError):
        service_advisories("pypi", [])
    assert service_advisories("pypi", [known, {**known, "name": "x", "vulns": [found]}]) == [
        Advisory(("PYSEC-1", "CVE-1"), "x", "1.26.4", "2, 3", "two lines")
    ]


def test_the_snapshot_is_held_against_versions() -> None:
    entry = {
        "id": "A",
        "aliases": ["B"],
        "package": "p",
        "affected": ">=1.2,<2.0.1",
        "fixed": "2.0.1",
        "what": "w",
    }
    holds = {
        version: bool(from_snapshot({"advisories": [entry]}, [Pin("p", version, ())]))
        for version in ("1.1.9", "1.2", "1.10", "2.0.0", "2.0.1", "10.0")
    }
    assert holds == {"1.1.9": False, "1.2": True, "1.10": True, "2.0.0": True, "2.0.1": False, "10.0": False}
    assert from_snapshot({"advisories": [entry]}, [Pin("other", "1.5", ())]) == []


def test_every_advisory_of_the_snapshot_has_an_answer_and_none_is_left_over(
    capsys: pytest.CaptureFixture,
) -> None:
    assert audit.main(["--source", "snapshot"]) == 0
    printed = capsys.readouterr().out
    assert "asked: the snapshot of" in printed and "0 without an answer, 0 gone" in printed
    assert "pyarrow 10.0.1  PYSEC-2023-238" in printed


def test_the_command_fails_where_an_answer_is_missing_or_left_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    text = audit.ANSWERS.read_text()
    changed = tmp_path / "answers.yaml"
    monkeypatch.setattr(audit, "ANSWERS", changed)
    monkeypatch.setattr(audit.read_answers, "__defaults__", (changed,))
    changed.write_text(text.replace("PYSEC-2023-238:", "PYSEC-1999-1:"))
    assert audit.main(["--source", "snapshot"]) == 1
    printed = capsys.readouterr().out
    assert "NO ANSWER: pyarrow 10.0.1 in requirements.lock  PYSEC-2023-238" in printed
    assert "GONE: PYSEC-1999-1" in printed


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_is_read_whole_and_a_pin_without_a_digest_is_refused(lock: Path, tmp_path: Path) -> None:
    pins = read_lock(lock)
    # Another way to count them: every line of the lock that does not begin with a space or a comment.
    lines = [line for line in lock.read_text().splitlines() if line and line[0] not in " #"]
    assert [f"{pin.name}=={pin.version}" for pin in pins] == [line.split(" ")[0] for line in lines]
    assert [pin.marker for pin in pins] == [line.rstrip(" \\").partition(" ; ")[2] for line in lines]
    assert sum(len(pin.sha256) for pin in pins) == lock.read_text().count("--hash=sha256:")
    bare = tmp_path / "requirements.lock"
    bare.write_text("numpy==1.26.4\n")
    with pytest.raises(ValueError, match="got 'numpy==1"):
        read_lock(bare)


def test_of_a_package_for_each_python_one_is_of_this(tmp_path: Path) -> None:
    line = "a=={} ; python_full_version {} '3.10' \\\n    --hash=sha256:" + "0" * 64 + "\n"
    lock = tmp_path / "requirements.lock"
    lock.write_text(line.format("1", "<") + line.format("2", ">="))
    assert [pin.version for pin in read_lock(lock)] == ["1", "2"]
    assert [pin.version for pin in pins_here(lock)] == ["2"]


def test_the_locks_of_both_lines_are_audited() -> None:
    for lock in LOCKS:
        assert {lock, torch_lock(lock), gpu_lock(lock)} <= set(all_locks())
    assert {path.name for path in all_locks()} | {"requirements-docs.lock"} == {
        path.name for path in PROJECT.glob("requirements*.lock")
    }
    told = {name for advisory, _ in audit.snapshot_audit().answered for name in audit.locks_with(advisory)}
    assert {path.name for path in LOCKS} <= told


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_pytorch_is_locked_beside_the_rest_and_audited_with_it(lock: Path) -> None:
    base, added = ({pin.name: pin.version for pin in read_lock(path)} for path in (lock, torch_lock(lock)))
    assert "torch" not in base, "gigabytes that nobody else needs"
    assert {name: base[name] for name in set(base) & set(added)} == {
        n: v for n, v in added.items() if n in base
    }
    (floor,) = re.findall(r'^TORCH = \["torch(.*)"\]$', (PROJECT / "setup.py").read_text(), re.MULTILINE)
    assert added["torch"] in SpecifierSet(floor)
    told = {advisory.package for advisory, _ in audit.snapshot_audit().answered}
    assert "torch" in told and "2.10.0" not in SpecifierSet(floor)


# A column type whose pickle would write a file: what PYSEC-2023-238 is about.
EXPLOIT = """
import io, os, pickle, sys
{first}
import pyarrow as pa

class Payload:
    def __reduce__(self):
        return os.mkdir, (sys.argv[1],)

class Typed(pa.PyExtensionType):
    def __init__(self):
        pa.PyExtensionType.__init__(self, pa.int8())
    def __reduce__(self):
        return Payload().__reduce__()

sink = io.BytesIO()
batch = pa.record_batch([pa.ExtensionArray.from_storage(Typed(), pa.array([1], pa.int8()))], ["column"])
with pa.ipc.new_stream(sink, batch.schema) as writer:
    writer.write_batch(batch)
try:
    pa.ipc.open_stream(sink.getvalue()).schema.field(0).type
except Exception as error:
    print(type(error).__name__, str(error).splitlines()[0])
print("ran", os.path.isdir(sys.argv[1]))
"""


OLD_ARROW = Version(version("pyarrow")) < Version("14.0.1")


@pytest.mark.parametrize("first, runs", [("", OLD_ARROW), ("import pyarrow_hotfix", False)])
def test_the_hotfix_closes_the_advisory(first: str, runs: bool, tmp_path: Path) -> None:
    """And without it Arrow 10 does run the code: were that no longer so, the answer could go. Arrow 18 does not."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EXPLOIT.format(first=first), str(tmp_path / "written")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert f"ran {runs}" in done.stdout, done.stdout + done.stderr
    assert ("Disallowed deserialization" in done.stdout) == bool(first)


def test_the_hotfix_is_there_before_tfx_is() -> None:
    """Of what every executor imports first, whatever a later Beam does."""
    code = (
        "import importlib.abc, sys\n"
        "class First(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name in ('pyarrow_hotfix', 'apache_beam', 'tfx'):\n"
        "            print('FIRST', name)\n"
        "            sys.exit()\n"
        "sys.meta_path.insert(0, First())\n"
        "import components\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["FIRST pyarrow_hotfix"], done.stdout + done.stderr


def test_the_hotfix_is_there_before_a_data_set_may_be_parquet() -> None:
    """No import of TensorFlow Datasets is without it, whichever file it is in."""
    for package in ("hares", "models", "components", "pipeline", "kubeflow", "cli", "workarounds"):
        for path in (PROJECT / package).rglob("*.py"):
            lines = [line.strip() for line in path.read_text().splitlines()]
            for number, line in enumerate(lines):
                if line.startswith(("import tensorflow_datasets", "from tensorflow_datasets")):
                    assert lines[number - 1].startswith("import pyarrow_hotfix"), path
