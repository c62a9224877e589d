"""Submits a pipeline for each new complete span of a growing source: once per span, however often it is restarted.

A span is complete when its folder holds the marker file. A ledger in the workspace, written atomically, lists what was
submitted. A crash between a submission and its entry does no harm: a span's idempotency key is made from the pattern
and the span's number, so the next start gets the existing run. A lock keeps two watchers apart.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hares.atomic_files import write_atomically
from hares.buckets import is_address, own
from hares.folder import spans
from hares.lock import BusyError, held
from kubeflow.clusters import ClusterRun, PipelineService


class WatchError(RuntimeError):
    """The ledger, the lock or the compile command failed; the message says which, and what to do."""


class Watch:
    """Watches one source from one workspace."""

    def __init__(self, pattern: str, marker: str, workspace: Path, command: Sequence[str]):
        """
        Args:
            pattern: path with `{SPAN}` in it once, as for `hares.folder`.
            marker: name of the file that marks a span as complete.
            workspace: ledger, lock and compiled files are kept in its folder `watch/`.
            command: compiles the pipeline; `{SPAN}` becomes the span's number, `{SOURCE}` the pattern, and `{OUTPUT}`
                the file to write.

        Raises:
            ValueError: the command lacks `{OUTPUT}`, or the pattern does not have `{SPAN}` once.
        """
        if not any("{OUTPUT}" in word for word in command):
            raise ValueError(
                "the command after -- has no {OUTPUT}; put it where the compiled file's name goes"
            )
        spans(pattern)
        self._pattern, self._marker, self._command = pattern, marker, command
        self._folder = workspace / "watch"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Inside the block no other process watches from this workspace.

        Raises:
            WatchError: another one does.
        """
        try:
            with held(self._folder / "lock"):
                yield
        except BusyError as error:
            raise WatchError(f"{error}; stop it, or give another --workspace") from error

    def due(self) -> list[int]:
        """Complete spans that are not yet submitted, oldest first.

        Raises:
            WatchError: the ledger cannot be read.
            ValueError: two folders have the same number.
        """
        done = self._ledger()
        found = spans(self._pattern)
        return sorted(
            n for n, folder in found.items() if str(n) not in done and own(folder / self._marker).is_file()
        )

    def submit(self, span: int, service: PipelineService) -> ClusterRun:
        """Compiles for a span and submits it.

        Raises:
            WatchError: the command failed.
            ServiceError: the cluster refused; the ledger stays as it was.
        """
        output = self._folder / f"span-{span}.compiled"
        words = [
            word.replace("{SPAN}", str(span))
            .replace("{OUTPUT}", str(output))
            .replace("{SOURCE}", self._pattern)
            for word in self._command
        ]
        output.unlink(missing_ok=True)
        try:
            code = subprocess.run(words, check=False, stdout=subprocess.DEVNULL).returncode
        except OSError as error:
            raise WatchError(f"span {span}: {words[0]} cannot be run: {error.strerror}") from error
        if code or not output.is_file():
            raise WatchError(
                f"span {span}: {' '.join(words)} ended with {code} and wrote no {output.name}; run it by itself"
            )
        key = json.dumps(
            [self._pattern if is_address(self._pattern) else os.path.abspath(self._pattern), span]
        )
        run = service.submit(output, f"{output.stem}", key, {})
        self._write({**self._ledger(), str(span): run.run_id})
        return run

    def last_run(self) -> str:
        """The run of the newest span that was submitted; "" if there is none. Raises WatchError, as `due` does."""
        done = self._ledger()
        return done[max(done, key=int)] if done else ""

    @property
    def _path(self) -> Path:
        return self._folder / "ledger.json"

    def _ledger(self) -> dict[str, str]:
        """Run ids by span."""
        if not self._path.exists():
            return {}
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            if content["source"] == self._pattern:
                return dict(content["runs"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WatchError(
                f"{self._path} cannot be read ({error!r}); remove it; no run is started twice without it"
            ) from error
        raise WatchError(
            f"{self._path} belongs to {content['source']}; give each source a workspace of its own"
        )

    def _write(self, runs: dict[str, str]) -> None:
        write_atomically(self._path, json.dumps({"source": self._pattern, "runs": runs}, indent=1))
