"""Executes a Dockerfile's steps without an engine, in a folder that stands for the image's root.

Like an engine it builds only the stages that the target needs, one after another. Each is built in the same folder, so
that paths in scripts stay valid; a finished stage is moved aside, and COPY --from reads it there. The environment of
commands is empty except for the ENVs and ARGs so far, whose paths lie below the folder. A command that names an
absolute path itself is refused, because it cannot be relocated.

Unlike an engine, and reported in `Built.left_out`: the base image is this Python with a few commands;
apt-get links this machine's programs; useradd and the files of other images are left out. Everything runs as this user.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from kits.image.dockerfile import (
    Arg,
    Copy,
    Dockerfile,
    DockerfileError,
    Env,
    Label,
    Run,
    Stage,
    User,
    Workdir,
    substitute,
)

# What our commands use of python's slim image, beside python.
_COMMANDS = ("sh", "cat", "cp", "env", "ln", "mkdir", "mv", "rm", "sha256sum", "uname")
_SYSTEM = ("apt-get", "useradd")
# The programs that our steps call, by the distribution's package.
_PROVIDES = {"g++": ("gcc", "g++", "as", "ld"), "ffmpeg": ("ffmpeg",)}
_ABSOLUTE = re.compile(r"""(?:^|[\s="'>])(/(?!dev/null)[A-Za-z][^\s"']*)""")


@dataclass
class Built:
    """A built target.

    Attributes:
        root: folder that stands for the image's root.
        environment: the container's environment, paths below `root`.
        labels: the image's labels.
        user: that the container runs as.
        left_out: lines of the Dockerfile that only an engine can execute, with the reason.
    """

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    user: str = "root"
    workdir: str = "/"
    left_out: list[str] = field(default_factory=list)

    def place(self, path: str) -> Path:
        """A path of the image on this machine."""
        return self.root / os.path.normpath(os.path.join("/", self.workdir, path)).lstrip("/")


def execute(
    file: Dockerfile,
    target: str,
    context: Path,
    folder: Path,
    arguments: Mapping[str, str],
    passed: Mapping[str, str],
    say: Callable[[str], None],
) -> Built:
    """Builds a target.

    Args:
        file: the Dockerfile.
        target: name of the stage.
        context: folder that COPY reads, through its .dockerignore.
        folder: an empty folder for all this.
        arguments: build arguments.
        passed: environment of every command beside the image's own, as the address of the package index.
        say: called with each step as it begins.

    Raises:
        DockerfileError: a step failed, or cannot be executed here; the message has the end of its output.
    """
    build = _Build(file, context, folder.resolve(), dict(arguments), dict(passed), say)
    build.base_commands()
    built = build.stage(target)
    (build.folder / "stages" / target).rename(build.root)  # the path in its scripts
    return built


class _Build:
    def __init__(
        self,
        file: Dockerfile,
        context: Path,
        folder: Path,
        arguments: dict[str, str],
        passed: dict[str, str],
        say: Callable[[str], None],
    ):
        self.file, self.context, self.folder = file, context, folder
        self.arguments, self.passed, self.say = arguments, passed, say
        self.root, self.commands = folder / "root", folder / "commands"
        self.done: dict[str, Built] = {}
        self.ignored = read_ignore(context / ".dockerignore")

    def base_commands(self) -> None:
        """Creates the commands that stand for the base image's."""
        self.commands.mkdir(parents=True)
        for name in _COMMANDS:
            path = shutil.which(name)
            if path is None:
                raise DockerfileError(f"this machine has no {name}, which the image's steps use")
            (self.commands / name).symlink_to(path)
        python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
        for name in ("python", "python3"):
            # A script, not a link: Python looks for its library beside the name it was called by.
            script = self.commands / name
            script.write_text(f'#!{self.commands / "sh"}\nexec "{python}" "$@"\n', encoding="utf-8")
            script.chmod(0o755)

    def stage(self, name: str) -> Built:
        """Builds a stage once; its files are left in `folder/stages/name`."""
        if name in self.done:
            return self.done[name]
        stage = self.file.stage(name)
        base = self.file.base_of(stage)
        for needed in [base, *(s.stage for s in stage.steps if isinstance(s, Copy))]:
            if needed:
                self.stage(needed)
        self.say(f"stage {name}")
        built = self._begin(stage, self.done[base] if base else None)
        scope: dict[str, str] = {}
        for step in stage.steps:
            self._do(step, built, scope)
        kept = self.folder / "stages" / name
        kept.parent.mkdir(exist_ok=True)
        self.root.rename(kept)
        self.done[name] = built
        return built

    def _begin(self, stage: Stage, base: Built | None) -> Built:
        if base is None:
            self.root.mkdir()
            built = Built(self.root)
            if stage.steps:
                built.environment["PATH"] = f"{self.commands}{os.pathsep}{self.root / 'usr/bin'}"
            else:
                built.left_out.append(f"line {stage.base.line}: {stage.base.image} comes from a registry")
            return built
        _link_tree(self.folder / "stages" / stage.base.image, self.root)
        return Built(
            self.root,
            dict(base.environment),
            dict(base.labels),
            base.user,
            base.workdir,
            list(base.left_out),
        )

    def _do(self, step: object, built: Built, scope: dict[str, str]) -> None:
        if isinstance(step, Arg):
            value = self.arguments.get(step.name, step.default)
            if value is not None:
                scope[step.name] = value
        elif isinstance(step, Env):
            value = substitute(step.value, {**scope, **built.environment}, step.line)
            built.environment[step.name] = os.pathsep.join(
                str(self.root) + part
                if part.startswith("/") and not part.startswith(str(self.folder))
                else part
                for part in value.split(os.pathsep)
            )
        elif isinstance(step, Label):
            built.labels[step.name] = substitute(step.value, {**scope, **built.environment}, step.line)
        elif isinstance(step, Workdir):
            built.workdir = step.path
            built.place("").mkdir(parents=True, exist_ok=True)
        elif isinstance(step, Copy):
            self._copy(step, built)
        elif isinstance(step, Run):
            self._run(step, built, scope)
        elif isinstance(step, User):
            built.user = step.user

    def _copy(self, step: Copy, built: Built) -> None:
        source_root = self.folder / "stages" / step.stage if step.stage else self.context
        target = built.place(step.target)
        if step.stage and self.done[step.stage].left_out and not self.file.stage(step.stage).steps:
            built.left_out.append(f"line {step.line}: {' '.join(step.sources)} of another image is not here")
            return
        # Files of the context are copied, not linked: a step that writes into one must not change the project.
        copy = _link if step.stage else shutil.copy2
        for name in step.sources:
            source = source_root / name.lstrip("/")
            if not source.exists() or (not step.stage and self._is_ignored(name)):
                where = f"stage {step.stage}" if step.stage else "the context (.dockerignore)"
                raise DockerfileError(f"line {step.line}: {name} is not in {where}")
            if source.is_dir():
                shutil.copytree(
                    source, target, symlinks=True, dirs_exist_ok=True, copy_function=copy,
                    ignore=None if step.stage else self._ignored_in,
                )  # fmt: skip
            else:
                into = target / source.name if step.target.endswith("/") or len(step.sources) > 1 else target
                into.parent.mkdir(parents=True, exist_ok=True)
                copy(str(source), str(into))

    def _run(self, step: Run, built: Built, scope: dict[str, str]) -> None:
        if step.command.split()[0] in _SYSTEM:
            self._system(step, built)
            return
        if written := _ABSOLUTE.search(step.command):
            raise DockerfileError(
                f"line {step.line}: RUN names the path {written[1]}; take it from an ENV, so that it can be relocated"
            )
        self.say(f"line {step.line}: {step.command}")
        environment = {**self.passed, **scope, **built.environment}
        process = subprocess.Popen(
            [str(self.commands / "sh"), "-c", step.command],
            cwd=built.place(""), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            output, _ = process.communicate()
        finally:  # the folder may be removed now, and no process may go on writing into it
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode:
            raise DockerfileError(
                f"line {step.line}: RUN {step.command} ended with {process.returncode}: {output[-2000:].strip()}"
            )

    def _system(self, step: Run, built: Built) -> None:
        """Links this machine's programs in place of an apt-get; anything else on the system is left out."""
        installed = re.search(r"apt-get install ([^&;|]*)", step.command)
        if installed is None:
            built.left_out.append(f"line {step.line}: {step.command.split()[0]} changes the system")
            return
        for package in (word for word in installed[1].split() if not word.startswith("-")):
            if package not in _PROVIDES:
                raise DockerfileError(
                    f"line {step.line}: it is unknown which programs {package} provides; add it to _PROVIDES"
                )
            for program in _PROVIDES[package]:
                here = shutil.which(program)
                if here is None:
                    built.left_out.append(
                        f"line {step.line}: this machine has no {program} to stand for {package}"
                    )
                    continue
                link = self.root / "usr/bin" / program
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(here)
            built.left_out.append(
                f"line {step.line}: apt-get installs {package}; this machine's stands for it"
            )

    def _is_ignored(self, name: str) -> bool:
        ignored = False
        for pattern, negated in self.ignored:
            plain = pattern.removeprefix("**/")
            names = [os.path.basename(name)] if plain != pattern else _ancestors(name)
            if any(fnmatch(candidate, plain) for candidate in names):
                ignored = not negated
        return ignored

    def _ignored_in(self, folder: str, names: list[str]) -> set[str]:
        inside = os.path.relpath(folder, self.context)
        return {name for name in names if self._is_ignored(os.path.join(inside, name))}


def read_ignore(path: Path) -> list[tuple[str, bool]]:
    """The patterns of a .dockerignore in order, and whether each includes files again.

    Raises:
        DockerfileError: a pattern other than `*`, a path, `!path` or `**/name`.
    """
    if not path.is_file():
        return []
    patterns = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    found = [(p.removeprefix("!"), p.startswith("!")) for p in patterns if p and not p.startswith("#")]
    for pattern, _ in found:
        if "*" in pattern.removeprefix("**/") and pattern != "*":
            raise DockerfileError(
                f".dockerignore: {pattern}: only `*`, paths, `!path` and `**/name` are understood"
            )
    return found


def _ancestors(name: str) -> list[str]:
    parts = Path(name).parts
    return [os.path.join(*parts[: i + 1]) for i in range(len(parts))]


def _link(source: str, target: str) -> None:
    """A hard link if the file system allows one, since environments are gigabytes; else a copy."""
    if os.path.lexists(target):
        os.unlink(target)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _link_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, copy_function=_link)
