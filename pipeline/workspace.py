"""What lies where in a run's workspace."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path


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
