"""The layout of a workspace."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hares.atomic_files import refuse_links, write_atomically
from hares.lock import BusyError, held

CHECKPOINT_DATA = "data.txt"  # in a folder of checkpoints: the folder of the records they were trained on
_STORES = "stores.txt"
_OWN_STORE = "metadata.sqlite"
_FILES = (
    _STORES,
    "run.lock",
    "identity.json",
    *(f"{_OWN_STORE}{end}" for end in ("", "-journal", "-wal", "-shm")),
)


class WorkspaceBusyError(RuntimeError):
    """Another run is at work in the workspace; the message names it and says what can be done."""


@dataclass(frozen=True)
class Workspace:
    """A folder that holds everything that one user's runs leave behind.

    | path | what |
    |---|---|
    | metadata.sqlite | the ML Metadata store |
    | stores.txt | every store in which runs of the workspace are recorded, one per line |
    | artifacts/ | every artifact of every run (the pipeline root) |
    | checkpoints/ | training state, by digest of settings, code and data |
    | pushed/ | blessed models, one folder per version |
    | logs/ | TFX's log, one file per run |
    | trash/ | what `hares metadata check --mend` moved out, one folder per call |
    | tmp/ | temporary files of a run's libraries; removed when it ends |
    | identity.json | which workspace it is, and where it has been (`pipeline.identity`) |
    | run.lock | held by the run that is at work |
    """

    folder: Path

    @property
    def store(self) -> Path:
        """The SQLite file of the ML Metadata store."""
        return self.folder / _OWN_STORE

    @property
    def root(self) -> Path:
        """The pipeline root."""
        return self.folder / "artifacts"

    @property
    def checkpoints(self) -> Path:
        """Folder of all runs' checkpoints."""
        return self.folder / "checkpoints"

    @property
    def pushed(self) -> Path:
        """Where the Pusher copies blessed models."""
        return self.folder / "pushed"

    @property
    def trash(self) -> Path:
        """Where files without an artifact are moved, until `hares workspace gc` removes them."""
        return self.folder / "trash"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other runs out while one is at work: two would write the same checkpoints and pushed versions.

        The kernel holds the lock and releases it with the process, however that ends, so none is left behind.

        Raises:
            WorkspaceBusyError: another run is at work here.
            OSError: a link in the workspace would lead what is written elsewhere.
        """
        self.refuse_links()
        try:
            with held(self.folder / "run.lock"):
                yield
        except BusyError as error:
            raise WorkspaceBusyError(
                f"workspace {error}; wait until that run has ended, or give this one a workspace of its own "
                "(--workspace)"
            ) from error

    def refuse_links(self) -> None:
        """Raises OSError for a link that another user owns, or that takes the place of a file of ours."""
        refuse_links(self.folder, _FILES)

    @contextlib.contextmanager
    def temporary_files(self) -> Iterator[Path]:
        """A folder in the workspace for a run's temporary files, removed when the run ends.

        In the system's folder, TFX, Beam and TensorFlow leave files behind. Leftovers of a killed run are removed
        first: the caller holds the workspace (`held`), so no other run uses them.
        """
        folder = self.folder / "tmp"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        # C++ and child processes read the variable; Python may have read it already.
        before, found = os.environ.get("TMPDIR"), tempfile.tempdir
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder.resolve())
        try:
            yield folder
        finally:
            tempfile.tempdir = found
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, kind: str, name: str, text: str) -> Path:
        """Writes a small file into a folder named by its content; returns its path.

        TFX's cache sees the path of an imported file, not its content. With the digest in the path, a changed file has
        another path.
        """
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        path = self.folder / "imported" / kind / digest / name
        if not path.is_file():
            write_atomically(path, text)
        return path

    @property
    def stores(self) -> list[str]:
        """The stores in which runs of the workspace are recorded, as `store_name` names them."""
        path = self.folder / _STORES
        return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []

    def store_name(self, shown: str) -> str:
        """The name of a store in `stores`: a file in the workspace by its relative path, any other by its address."""
        if "://" in shown:
            return shown
        path = Path(shown).resolve()
        folder = self.folder.resolve()
        return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)

    def other_stores(self, shown: str) -> list[str]:
        """The other stores of the workspace, which may refer to what `shown` does not know."""
        return [name for name in self.stores if name != self.store_name(shown)]

    def note_store(self, shown: str) -> None:
        """Adds a store to `stores`; the caller holds the workspace.

        Args:
            shown: its address, without a password.
        """
        stores = self.stores
        if (name := self.store_name(shown)) not in stores:
            write_atomically(self.folder / _STORES, "".join(f"{line}\n" for line in (*stores, name)))
