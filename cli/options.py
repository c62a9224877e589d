"""Options that several subcommands share."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.errors import CommandError, ExitCode, store_failures

if TYPE_CHECKING:
    from hares.buckets import Place
    from pipeline.lineage.connection import StoreAddress

TFDS = "tfds:"
CONFIG = click.option(
    "--config", "name", default="demo", show_default=True, help="A preset's name, or a YAML file."
)
SET = click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change one setting; may be repeated."
)
CORPUS = click.option(
    "--corpus", "corpora", multiple=True, metavar="DIR|NAME=DIR",
    help="Data sets; NAME=DIR places one. DIR may be s3://BUCKET/FOLDER or gs://BUCKET/FOLDER.",
)  # fmt: skip
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


def parse_corpus(values: Sequence[str]) -> tuple[Place | None, dict[str, Place]]:
    """`--corpus` values: one folder for all data sets, and `NAME=DIR` for those that are elsewhere.

    A folder may be in a bucket (`s3://`, `gs://`). `NAME=tfds:DIR` takes a data set from TensorFlow Datasets'
    `data_dir`, and `tfds:NAME` from its usual one.

    Raises:
        CommandError: two folders without a name, a missing folder, or an address that may not be one.
        BucketError: the bucket's service fails.
    """
    from hares.buckets import is_address, place
    from hares.files import is_folder

    corpus: Place | None = None
    placements: dict[str, Place] = {}
    for value in values:
        name, sign, where = ("", "", value) if is_address(value) else value.partition("=")
        if not sign and value.startswith(TFDS):
            name, sign = value.removeprefix(TFDS), "="
            where = TFDS + os.environ.get("TFDS_DATA_DIR", str(Path.home() / "tensorflow_datasets"))
        try:
            path = place(where if sign else value)
        except ValueError as error:
            raise CommandError(f"--corpus: {error}", ExitCode.SETTINGS) from error
        if not is_folder(path if is_address(path) else Path(str(path).removeprefix(TFDS))):
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


def check_places(corpus: Place | None, placements: Mapping[str, Place], plugins: Sequence[Path] = ()) -> None:
    """Checks that a run can record the paths of corpora and plugins.

    Raises:
        CommandError: one of them is not.
    """
    from pipeline.settings import SettingError, check_path

    try:
        for path in (*([corpus] if corpus else []), *placements.values()):
            check_path("--corpus", str(path.resolve()))
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
