"""Parses a Dockerfile into stages and instructions: the part of the language that ours uses.

It knows FROM, ARG, ENV, WORKDIR, COPY, RUN, USER, LABEL and ENTRYPOINT, comments, continued lines, ${NAME} and $NAME.
Everything else is an error, because a check that skipped what it does not know would pass too much: other instructions,
defaults in a reference (`${NAME:-x}`), several ENV or LABEL pairs in a line, and flags other than `COPY --from`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

_REFERENCE = re.compile(r"\$\{([^}]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)")
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_FLAG = re.compile(r"^--([a-z]+)=(\S+)\s+")


class DockerfileError(ValueError):
    """A Dockerfile that cannot be parsed or executed; the message names the line."""


@dataclass(frozen=True)
class From:
    """The stage or image that a stage builds on."""

    line: int
    image: str


@dataclass(frozen=True)
class Arg:
    """A build argument; `default` is None if it has to be given."""

    line: int
    name: str
    default: str | None


@dataclass(frozen=True)
class Env:
    """An environment variable of later steps and of the container."""

    line: int
    name: str
    value: str


@dataclass(frozen=True)
class Label:
    """A label of the image."""

    line: int
    name: str
    value: str


@dataclass(frozen=True)
class Workdir:
    """The folder of later steps; created if it does not exist."""

    line: int
    path: str


@dataclass(frozen=True)
class Copy:
    """Copies files from the build's context, or from another stage if `stage` is not ""."""

    line: int
    stage: str
    sources: tuple[str, ...]
    target: str


@dataclass(frozen=True)
class Run:
    """A shell command."""

    line: int
    command: str


@dataclass(frozen=True)
class User:
    """The user of later steps and of the container."""

    line: int
    user: str


@dataclass(frozen=True)
class Entrypoint:
    """The container's program."""

    line: int
    words: tuple[str, ...]


Instruction = From | Arg | Env | Label | Workdir | Copy | Run | User | Entrypoint


@dataclass(frozen=True)
class Stage:
    """A FROM and the instructions after it."""

    name: str
    base: From
    steps: tuple[Instruction, ...]


@dataclass(frozen=True)
class Dockerfile:
    """The build arguments before the first FROM, and the stages by name, in order."""

    arguments: tuple[Arg, ...]
    stages: Mapping[str, Stage]

    def stage(self, name: str) -> Stage:
        """A stage by its name. Raises DockerfileError."""
        if name not in self.stages:
            raise DockerfileError(f"no stage {name!r}; there are {', '.join(self.stages)}")
        return self.stages[name]

    def base_of(self, stage: Stage) -> str:
        """The stage that a stage builds on, or "" if it builds on an image from a registry."""
        return stage.base.image if stage.base.image in self.stages else ""

    def ancestry(self, name: str) -> list[Stage]:
        """A stage and those it builds on, the lowest first."""
        stage = self.stage(name)
        base = self.base_of(stage)
        return [*(self.ancestry(base) if base else []), stage]


def parse(text: str) -> Dockerfile:
    """A Dockerfile's stages.

    Raises:
        DockerfileError: an instruction or form that is not understood, a stage twice or without a name, a COPY from
            an unknown stage.
    """
    arguments: list[Arg] = []
    stages: dict[str, Stage] = {}
    open_: tuple[str, From] | None = None
    steps: list[Instruction] = []
    for line, keyword, rest in _instructions(text):
        if keyword == "FROM":
            if open_:
                stages[open_[0]] = Stage(*open_, tuple(steps))
            name, base = _from(line, rest, arguments)
            if name in stages or (open_ and name == open_[0]):
                raise DockerfileError(f"line {line}: a second stage named {name}")
            open_, steps = (name, base), []
            continue
        step = _step(line, keyword, rest)
        if open_:
            steps.append(step)
        elif isinstance(step, Arg):
            arguments.append(step)
        else:
            raise DockerfileError(f"line {line}: {keyword} before the first FROM, where only ARG may stand")
    if open_:
        stages[open_[0]] = Stage(*open_, tuple(steps))
    for stage in stages.values():
        for step in stage.steps:
            if isinstance(step, Copy) and step.stage and step.stage not in stages:
                raise DockerfileError(
                    f"line {step.line}: COPY --from={step.stage}, which is no stage of this file; "
                    "name an image by a stage of its own (FROM image AS name)"
                )
    return Dockerfile(tuple(arguments), stages)


def substitute(text: str, values: Mapping[str, str], line: int) -> str:
    """`text` with ${NAME} and $NAME replaced. Raises DockerfileError for a name without a value."""

    def value(match: re.Match[str]) -> str:
        name = match[1] if match[1] is not None else match[2]
        if not _NAME.match(name):
            raise DockerfileError(f"line {line}: ${{{name}}}: only plain references are understood")
        if name not in values:
            raise DockerfileError(
                f"line {line}: {name} has no value here; give it with --build-arg {name}=..."
            )
        return values[name]

    return _REFERENCE.sub(value, text)


def _instructions(text: str) -> list[tuple[int, str, str]]:
    found: list[tuple[int, str, str]] = []
    pending, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        start = start if pending else number
        if line.endswith("\\"):
            pending += line[:-1].rstrip() + " "
            continue
        keyword, _, rest = (pending + line).partition(" ")
        found.append((start, keyword.upper(), rest.strip()))
        pending = ""
    if pending:
        raise DockerfileError(f"line {start}: the file ends in a continued line")
    return found


def _from(line: int, rest: str, arguments: list[Arg]) -> tuple[str, From]:
    words = rest.split()
    if len(words) != 3 or words[1].upper() != "AS":
        raise DockerfileError(f"line {line}: FROM {rest}: expected FROM image AS name")
    # An argument that has to be given stays a reference: it is the digest of an image that only an engine fetches.
    values = {a.name: f"${{{a.name}}}" if a.default is None else a.default for a in arguments}
    return words[2], From(line, substitute(words[0], values, line))


def _step(line: int, keyword: str, rest: str) -> Instruction:
    if keyword == "ARG":
        name, sign, default = rest.partition("=")
        return Arg(line, name, _unquoted(default) if sign else None)
    if keyword in ("ENV", "LABEL"):
        name, sign, value = rest.partition("=")
        if not sign or re.search(r"\s\S+=", value):
            raise DockerfileError(f"line {line}: {keyword} {rest}: expected one NAME=value")
        return (Env if keyword == "ENV" else Label)(line, name, _unquoted(value))
    if keyword == "WORKDIR":
        return Workdir(line, rest)
    if keyword == "COPY":
        return _copy(line, rest)
    if keyword == "RUN":
        if rest.startswith(("--", "[")):
            raise DockerfileError(f"line {line}: RUN {rest}: flags and the JSON form are not understood")
        return Run(line, rest)
    if keyword == "USER":
        return User(line, rest)
    if keyword == "ENTRYPOINT":
        try:
            words = json.loads(rest)
        except json.JSONDecodeError as error:
            raise DockerfileError(f"line {line}: ENTRYPOINT {rest}: expected its JSON form") from error
        return Entrypoint(line, tuple(words))
    raise DockerfileError(
        f"line {line}: {keyword} is not understood; there are FROM, ARG, ENV, WORKDIR, COPY, RUN, USER, LABEL and "
        "ENTRYPOINT"
    )


def _copy(line: int, rest: str) -> Copy:
    stage = ""
    while match := _FLAG.match(rest):
        if match[1] != "from":
            raise DockerfileError(f"line {line}: COPY --{match[1]} is not understood; only --from is")
        stage, rest = match[2], rest[match.end() :]
    *sources, target = rest.split()
    if not sources or rest.startswith(("[", "--")):
        raise DockerfileError(f"line {line}: COPY {rest}: expected sources and a target")
    return Copy(line, stage, tuple(sources), target)


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else text
