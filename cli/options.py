"""Options that several subcommands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cli.errors import CommandError, ExitCode


def parse_corpus(values: Sequence[str]) -> tuple[Path | None, dict[str, Path]]:
    """`--corpus` values: one folder for all data sets, and `name=folder` for those that are elsewhere.

    Raises:
        CommandError: two folders without a name, or a folder that is not there.
    """
    corpus: Path | None = None
    placements: dict[str, Path] = {}
    for value in values:
        name, sign, folder = value.partition("=")
        path = Path(folder if sign else value)
        if not path.is_dir():
            raise CommandError(f"--corpus {value}: {path} is not a folder", ExitCode.SETTINGS)
        if sign:
            placements[name] = path
        elif corpus is not None:
            raise CommandError(
                f"--corpus {value}: {corpus} is given already; place single data sets with NAME=DIR",
                ExitCode.SETTINGS,
            )
        else:
            corpus = path
    return corpus, placements
