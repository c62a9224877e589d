"""Options that several subcommands share."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.errors import CommandError, ExitCode, store_failures

if TYPE_CHECKING:
    from pipeline.lineage.connection import StoreAddress

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
    help="A Python file with encoders, an objective or a task of your own; it is executed.",
)  # fmt: skip
LONGEST_CLIP = click.option(
    "--longest-clip", type=click.FloatRange(0, min_open=True), default=3600.0, show_default=True, metavar="SECONDS",
    help="A file that claims more sound than this is rejected.",
)  # fmt: skip
METADATA = click.option(
    "--metadata", default="", envvar="HARES_METADATA", metavar="PATH|URL",
    help="The metadata store: a SQLite file, mysql://user@host/db, postgresql://user@host/db or grpc://host:port; "
    "by default the workspace's own.",
)  # fmt: skip


def parse_corpus(values: Sequence[str]) -> tuple[Path | None, dict[str, Path]]:
    """`--corpus` values: one folder for all data sets, and `NAME=DIR` for those that are elsewhere.

    `NAME=tfds:DIR` takes a data set from TensorFlow Datasets' `data_dir`, and `tfds:NAME` from its usual one.

    Raises:
        CommandError: two folders without a name, or a missing folder.
    """
    corpus: Path | None = None
    placements: dict[str, Path] = {}
    for value in values:
        name, sign, place = value.partition("=")
        if not sign and value.startswith(TFDS):
            name, sign = value.removeprefix(TFDS), "="
            place = TFDS + os.environ.get("TFDS_DATA_DIR", str(Path.home() / "tensorflow_datasets"))
        path = Path(place if sign else value)
        if not os.path.isdir(
            str(path).removeprefix(TFDS)
        ):  # False, and no error, if a folder above may not be read
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


def check_places(corpus: Path | None, placements: Mapping[str, Path], plugins: Sequence[Path] = ()) -> None:
    """Checks that a run can record the paths of corpora and plugins.

    Raises:
        CommandError: one of them is not.
    """
    from pipeline.settings import SettingError, check_path

    try:
        for path in (*([corpus] if corpus else []), *placements.values()):
            check_path("--corpus", path.resolve())
        for path in plugins:
            check_path("--plugin", path.resolve())
    except SettingError as error:
        raise CommandError(str(error), ExitCode.SETTINGS) from error


def metadata_address(text: str, workspace: Path) -> StoreAddress:
    """The store that `--metadata` names, or the workspace's own. After a move or copy of the workspace it is updated.

    Raises:
        CommandError: not an address of a store, a store that does not answer, or a workspace without a sound identity.
    """
    from pipeline.identity import IdentityError
    from pipeline.lineage.connection import store_address
    from pipeline.relocation import settle_if_moved
    from pipeline.workspace import Workspace

    place = Workspace(workspace)
    try:
        if not text:
            place.refuse_links()
        with store_failures():
            address = store_address(text, place.store)
            settle_if_moved(workspace, address)
            return address
    except IdentityError as error:
        raise CommandError(str(error), ExitCode.DATA) from error
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}", ExitCode.SETTINGS) from error
    except ValueError as error:
        raise CommandError(str(error), ExitCode.SETTINGS) from error
