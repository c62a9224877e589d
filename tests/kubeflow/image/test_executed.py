"""Executing a Dockerfile's steps in a folder, on files of three lines; the whole image is marked `full`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from kits.image.check import PROJECT, build_arguments, check, trial
from kits.image.dockerfile import DockerfileError, parse
from kits.image.executed import Built, execute
from kits.image.imports import first_party_modules, imports_of
from kubeflow.image.fetch import fetch

SMALL = """
FROM python:3.10 AS base
ENV HOME_OF=/opt/thing
ENV PATH=/opt/thing/bin:${PATH}

FROM base AS made
ARG WHO
WORKDIR /opt/build
COPY hello.py ./
RUN mkdir -p "${HOME_OF}/bin" && cp hello.py "${HOME_OF}/bin/hello"
RUN python -c 'import os; open("env", "w").write(" ".join(sorted(os.environ)))'

FROM registry/other:1 AS other

FROM base AS target
ARG WHO
RUN useradd x
COPY --from=made /opt/thing /opt/thing
COPY --from=made /opt/build/env /srv/env
COPY --from=other /opt/elsewhere /opt/elsewhere
LABEL made.by=${WHO}
USER 1000
"""


def build(folder: Path, text: str, target: str = "target", **arguments: str) -> Built:
    context, out = folder / "context", folder / "out"
    context.mkdir(exist_ok=True)
    (context / "hello.py").write_text("print('hello')\n")
    out.mkdir()
    return execute(parse(text), target, context, out, arguments, {}, lambda line: None)


def test_stages_are_layered_and_the_target_holds_what_was_copied(tmp_path: Path) -> None:
    built = build(tmp_path, SMALL, WHO="us")
    files = {str(p.relative_to(built.root)) for p in built.root.rglob("*") if p.is_file()}
    assert files == {"opt/thing/bin/hello", "srv/env"}  # nothing of the build's own folder
    assert built.labels == {"made.by": "us"}
    assert built.user == "1000"
    assert built.environment["HOME_OF"] == str(built.root / "opt/thing")
    assert built.environment["PATH"].split(":")[0] == str(built.root / "opt/thing/bin")
    assert [text.split(": ")[1] for text in built.left_out] == [
        "useradd changes the system",
        "/opt/elsewhere of another image is not here",
    ]


def test_commands_see_an_empty_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setenv("SECRET", "x")
    built = build(tmp_path, SMALL, WHO="us")
    seen = set((built.root / "srv/env").read_text().split())
    # PWD and the like are the shell's own; LC_CTYPE is what Python sets for its children and itself.
    assert seen - {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"} == {"HOME_OF", "PATH", "WHO"}
    outside = trial(built, tmp_path, ["pytest"])
    assert outside.code == 127
    assert trial(built, tmp_path, ["python", "-c", "print(1)"]).output == "1\n"


def test_the_contexts_files_are_copied_and_never_changed(tmp_path: Path) -> None:
    build(tmp_path, "FROM a AS target\nWORKDIR /w\nCOPY hello.py ./\nRUN echo changed > hello.py\n")
    assert (tmp_path / "out/root/w/hello.py").read_text() == "changed\n"
    assert (tmp_path / "context/hello.py").read_text() == "print('hello')\n"


def test_what_dockerignore_keeps_out_cannot_be_copied(tmp_path: Path) -> None:
    context = tmp_path / "context"
    (context / "taken/__pycache__").mkdir(parents=True)
    for name in ("taken/a.py", "taken/__pycache__/a.pyc", "secret"):
        (context / name).write_text("x")
    (context / ".dockerignore").write_text("*\n!taken\n**/__pycache__\n")
    built = build(tmp_path, "FROM a AS target\nCOPY taken ./taken\n")
    assert [p.name for p in built.root.rglob("*") if p.is_file()] == ["a.py"]
    (tmp_path / "out").rename(tmp_path / "first")
    with pytest.raises(DockerfileError, match=r"secret is not in the context"):
        build(tmp_path, "FROM a AS target\nCOPY secret ./\n")


@pytest.mark.parametrize(
    ("step", "named"),
    [
        ("RUN rm -rf /var/lib/x", "/var/lib/x"),
        ("RUN apt-get update && apt-get install --yes nothing-of-this-name", "nothing-of-this-name"),
        ("RUN cat nothing", "ended with 1.*nothing"),
        ("ENV A=${NOT_GIVEN}", "NOT_GIVEN has no value"),
    ],
)
def test_a_step_that_fails_or_cannot_be_moved_ends_it(tmp_path: Path, step: str, named: str) -> None:
    with pytest.raises(DockerfileError, match=f"(?s)line 2: .*{named}"):
        build(tmp_path, f"FROM a AS target\n{step}\n")


def test_a_step_does_not_outlive_whoever_stops_it(tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "out").mkdir()
    text = 'FROM a AS target\nRUN python -c \'import time; open("began", "w").close(); time.sleep(600)\' & wait\n'

    def stop(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGUSR1, stop)
    began = tmp_path / "out" / "root" / "began"
    waits = f"while [ ! -e {began} ]; do sleep 0.05; done; kill -USR1 {os.getpid()}"
    with subprocess.Popen(["sh", "-c", waits]):
        try:
            with pytest.raises(TimeoutError):
                execute(
                    parse(text), "target", tmp_path / "context", tmp_path / "out", {}, {}, lambda line: None
                )
        finally:
            signal.signal(signal.SIGUSR1, before)
    for _ in range(200):  # the kernel takes its time
        if not any(str(began.parent) == where for where in working_folders()):
            return
        time.sleep(0.05)
    pytest.fail("the step goes on")


def working_folders() -> list[str]:
    """Where the processes of this machine work, as far as they may be seen; those that have ended are nowhere."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(process / "cwd"))
    return found


def test_a_download_is_kept_only_with_its_digest(tmp_path: Path) -> None:
    (tmp_path / "lib.so").write_bytes(b"bytes")
    into = tmp_path / "into"
    into.mkdir()
    address = (tmp_path / "lib.so").as_uri()
    for wrong in ("", "0" * 64):
        with pytest.raises(ValueError, match="SHA-256"):
            fetch(address, wrong, into)
        assert not list(into.iterdir())
    assert fetch(address, hashlib.sha256(b"bytes").hexdigest(), into).read_bytes() == b"bytes"


def test_imports_are_found_at_the_head_and_within_functions_and_not_where_they_may_fail() -> None:
    source = (
        "import a.b\nfrom c import d\n"
        "def f():\n    import e\n"
        "try:\n    import g\nexcept ImportError:\n    import h\n"
    )
    assert set(imports_of(source)) == {("a.b", ""), ("c", "d"), ("e", ""), ("h", "")}
    assert {"kubeflow.image.fetch", "kubeflow.image", "cli.main"} <= set(first_party_modules())


@pytest.mark.full
@pytest.mark.timeout(5400)  # pip alone takes minutes on a quiet machine, and half an hour on a busy one
def test_the_pipeline_image_installs_imports_and_finds_nothing_wrong() -> None:
    with tempfile.TemporaryDirectory() as folder:  # gigabytes, which pytest would keep
        built, trials = check("pipeline", Path(folder), print)
    assert built.labels["hares.lock.sha256"] == build_arguments(PROJECT)["LOCK_SHA256"]
    assert [(tried.words[-1], tried.code) for tried in trials] == [
        ("imports.py", 0),
        ("workspace", 0),
    ], "\n".join(tried.output for tried in trials)
