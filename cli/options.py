"""Options that several subcommands share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from pipeline.lineage.connection import StoreAddress

# ML Metadata's C++ part reports every connection on stderr, and reads this once, when it is imported.
os.environ.setdefault("GLOG_minloglevel", "2")

TFDS = "tfds:"
CONFIG = click.option(
    "--config", "name", default="demo", show_default=True, help="A preset's name, or a YAML file."
)
SET = click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change one setting; may be repeated."
)
CORPUS = click.option(
    "--corpus", "corpora", multiple=True, metavar="DIR|NAME=DIR", help="Data sets; NAME=DIR places one."
)
PLUGIN = click.option(
    "--plugin", "plugins", multiple=True, metavar="FILE", type=click.Path(path_type=Path),
    help="A Python file with encoders of your own; it is executed.",
)  # fmt: skip
LONGEST_CLIP = click.option(
    "--longest-clip", type=click.FloatRange(0, min_open=True), default=3600.0, show_default=True, metavar="SECONDS",
    help="A file that claims more sound than this is rejected.",
)  # fmt: skip
METADATA = click.option(
    "--metadata", default="", envvar="HARES_METADATA", metavar="PATH|URL",
    help="The metadata store: a SQLite file, mysql://user@host/db, postgresql://user@host/db or grpc://host:port; "
    "the workspace's own where not given.",
)  # fmt: skip


def parse_corpus(values: Sequence[str]) -> tuple[Path | None, dict[str, Path]]:
    """`--corpus` values: one folder for all data sets, and `NAME=DIR` for those that are elsewhere.

    `NAME=tfds:DIR` takes a data set from TensorFlow Datasets' `data_dir`, and `tfds:NAME` from its usual one.

    Raises:
        CommandError: two folders without a name, or a folder that is not there.
    """
    corpus: Path | None = None
    placements: dict[str, Path] = {}
    for value in values:
        name, sign, place = value.partition("=")
        if not sign and value.startswith(TFDS):
            name, sign = value.removeprefix(TFDS), "="
            place = TFDS + os.environ.get("TFDS_DATA_DIR", str(Path.home() / "tensorflow_datasets"))
        path = Path(place if sign else value)
        if not os.path.isdir(str(path).removeprefix(TFDS)):  # no error where a folder above may not be read
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


def metadata_address(text: str, workspace: Path) -> StoreAddress:
    """The store that `--metadata` names, or the workspace's own.

    Raises:
        CommandError: not an address of a store.
    """
    from pipeline.lineage.connection import store_address
    from pipeline.workspace import Workspace

    try:
        return store_address(text, Workspace(workspace).store)
    except ValueError as error:
        raise CommandError(str(error), ExitCode.SETTINGS) from error
