"""Builds an image's target in a clean folder without an engine, and tries what it installed.

    python -m kubeflow.image.check [--target pipeline] [--folder DIR]

Parses the Dockerfile, executes its steps (`kubeflow/image/executed.py` says what differs from an engine), then with
nothing else on the path and an empty environment: imports everything our packages import, and runs
`hares doctor --target local` in an empty folder. Takes minutes and gigabytes: it installs the whole lock file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hares.digests import file_digest
from kubeflow.image.dockerfile import DockerfileError, parse
from kubeflow.image.executed import Built, execute

PROJECT = Path(__file__).resolve().parents[2]
DOCKERFILE = Path(__file__).with_name("Dockerfile")
# Where the package index is belongs to the machine and not to the image.
_INDEX = "PIP_"


@dataclass(frozen=True)
class Trial:
    """A command that was run in a built image: its words, exit code and output."""

    words: tuple[str, ...]
    code: int
    output: str


def check(target: str, folder: Path, say: Callable[[str], None]) -> tuple[Built, list[Trial]]:
    """Builds a target below `folder`, which must be empty, and tries it.

    Raises:
        DockerfileError: the Dockerfile cannot be read or executed.
    """
    file = parse(DOCKERFILE.read_text(encoding="utf-8"))
    passed = {name: value for name, value in os.environ.items() if name.startswith(_INDEX)}
    built = execute(file, target, PROJECT, folder, build_arguments(PROJECT), passed, say)
    clean = folder / "clean"
    clean.mkdir()
    trials = [
        trial(built, clean, words)
        for words in (
            ("python", "-m", "kubeflow.image.imports"),
            ("hares", "doctor", "--target", "local", "--workspace", "workspace"),
        )
    ]
    return built, trials


def build_arguments(project: Path) -> dict[str, str]:
    """What `docker build` gets with --build-arg: the lock file's digest and the revision ("unknown" outside git).

    There is no base image here whose digest could be given.
    """
    revision = subprocess.run(
        ["git", "-C", str(project), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "LOCK_SHA256": file_digest(project / "requirements.lock"),
        "REVISION": revision.stdout.strip() or "unknown",
        "PYTHON_DIGEST": "none",
    }


def trial(built: Built, folder: Path, words: Sequence[str]) -> Trial:
    """Runs a command of a built image in a folder, with the image's environment and no other."""
    program = next(
        (
            str(Path(place, words[0]))
            for place in built.environment["PATH"].split(os.pathsep)
            if Path(place, words[0]).exists()
        ),
        None,
    )
    if program is None:
        return Trial(tuple(words), 127, f"{words[0]} is not on the image's PATH")
    done = subprocess.run(
        [program, *words[1:]], cwd=folder, env=built.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return Trial(tuple(words), done.returncode, done.stdout)


def main() -> int:
    """The command line; 0 where the image can be built and what it installs works."""
    parser = argparse.ArgumentParser(description="Build and try an image's target without an engine.")
    parser.add_argument("--target", default="pipeline")
    parser.add_argument(
        "--folder", type=Path, help="empty folder to build in; a temporary one where not given"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            built, trials = check(given.target, folder, lambda line: print(line, flush=True))
        except DockerfileError as error:
            print(f"{DOCKERFILE.name}: {error}", file=sys.stderr)
            return 1
        for line in built.left_out:
            print(f"left to an engine: {line}")
        for tried in trials:
            print(f"{' '.join(tried.words)}: exit code {tried.code}\n{tried.output}")
        return max(abs(tried.code) for tried in trials)


if __name__ == "__main__":
    sys.exit(main())
