"""Builds an image's target in a clean folder without an engine, and tries what it installed.

    PYTHONPATH=tests python -m kits.image.check [--target pipeline] [--folder DIR]

Parses the Dockerfile and executes its steps (`kits.image.executed` says how this differs from an engine). Then, with
nothing else on the path and an empty environment, it imports everything that our packages import and runs
`hares doctor --target local` in an empty folder. It installs the whole lock file, which takes minutes and gigabytes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hares.digests import file_digest
from hares.version_lines import this_lock
from kits.image.dockerfile import DockerfileError, parse
from kits.image.executed import Built, execute

PROJECT = Path(__file__).resolve().parents[3]
DOCKERFILE = PROJECT / "kubeflow" / "image" / "Dockerfile"
IMPORTS = Path(__file__).with_name("imports.py")
# The address of the package index is a setting of the machine, not of the image.
_INDEX = "PIP_"


@dataclass(frozen=True)
class Trial:
    """A command that was run in a built image, with its exit code and output."""

    words: tuple[str, ...]
    code: int
    output: str


def check(target: str, folder: Path, say: Callable[[str], None]) -> tuple[Built, list[Trial]]:
    """Builds a target below `folder`, which must be empty, and tries it.

    Raises:
        DockerfileError: the Dockerfile cannot be parsed or executed.
    """
    file = parse(DOCKERFILE.read_text(encoding="utf-8"))
    passed = {name: value for name, value in os.environ.items() if name.startswith(_INDEX)}
    built = execute(file, target, PROJECT, folder, build_arguments(PROJECT), passed, say)
    clean = folder / "clean"
    clean.mkdir()
    shutil.copy(IMPORTS, clean)
    trials = [
        trial(built, clean, words)
        for words in (
            ("python", IMPORTS.name),
            ("hares", "doctor", "--target", "local", "--workspace", "workspace"),
        )
    ]
    return built, trials


def build_arguments(project: Path) -> dict[str, str]:
    """The build arguments: the lock file's digest and the revision ("unknown" outside git).

    The digest of the base image is "none", as this machine stands for that image.
    """
    revision = subprocess.run(
        ["git", "-C", str(project), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "LOCK": this_lock(),
        "LOCK_SHA256": file_digest(project / this_lock()),
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
    """The command line; returns 0 if the image can be built and its programs work."""
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
