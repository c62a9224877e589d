"""What lies where in a run's workspace."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


class WorkspaceBusyError(RuntimeError):
    """Another run is at work in the workspace; the message names it and says what can be done."""


@dataclass(frozen=True)
class Workspace:
    """A folder that holds all that runs of one user leave behind.

    | path | what |
    |---|---|
    | metadata.sqlite | the ML Metadata store |
    | artifacts/ | every artifact of every run (the pipeline root) |
    | checkpoints/ | training state, by digest of settings, code and data |
    | pushed/ | blessed models, a folder a version |
    | logs/ | TFX's log, a file a run |
    | run.lock | who is at work in it |
    """

    folder: Path

    @property
    def store(self) -> Path:
        """The SQLite file of the ML Metadata store."""
        return self.folder / "metadata.sqlite"

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
    def logs(self) -> Path:
        """Folder of TFX's logs."""
        return self.folder / "logs"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other runs out while one is at work: two would write the same checkpoints and pushed versions.

        The lock is the kernel's and ends with the process, however that ends, so none is ever left behind.

        Raises:
            WorkspaceBusyError: another run is at work here.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "run.lock"
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise WorkspaceBusyError(
                    f"workspace {self.folder} is in use by {holder}; wait until that run has ended, or give this "
                    "one a workspace of its own (--workspace)"
                ) from error
            file.truncate(0)
            now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {now}\n")
            file.flush()
            yield

    def keep(self, kind: str, name: str, text: str) -> Path:
        """Writes a small file under a folder named by its content, and gives its path.

        TFX's cache sees the path of an imported file and not what is in it: with the digest in the path, a
        changed file is another one.
        """
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        path = self.folder / "imported" / kind / digest / name
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_text(text, encoding="utf-8")
            os.replace(part, path)
        return path
