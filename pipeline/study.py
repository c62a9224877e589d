"""A study: a grid of cells over one corpus, each a pipeline run, in one workspace and one process.

Cells share what they can: TFX is imported once, and ingestion and (with the same front end) spectrograms come from its
cache. A finished cell is not run again: its run key, which covers settings, data and code, is recorded on its run's
context under the study's in ML Metadata. A cell that was killed goes on where it stopped, as any run does. A cell that
fails is recorded with its error, and the study goes on; the next run of the study tries it again.

`W/study/<name>/study.json` and `study.html` are written atomically after every cell.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hares.atomic_files import write_atomically
from hares.buckets import Place
from hares.interruption import Interruptible
from hares.report.runs import REPORT_FILE, load_run
from hares.report.study import StudyCell, build_study, render_study
from models.encoder import load_encoder
from pipeline.grid import Cell, Grid
from pipeline.lineage.connection import StoreAddress
from pipeline.lineage.record import (
    COMPLETE,
    FAILED,
    CellRecord,
    attach_run,
    complete_cells,
    study_context,
)
from pipeline.local_runner import StepFailedError, StepObserver
from pipeline.relocation import settle_if_moved
from pipeline.resolve import ResolvedRun, resolve
from pipeline.run import execute, own_store
from pipeline.settings import SettingError
from pipeline.workspace import Workspace

STUDY_JSON, STUDY_PAGE = "study.json", "study.html"


class StudyObserver(Protocol):
    """Receives a study's progress, cell by cell."""

    def begin(self, cell: Cell, number: int, of: int) -> StepObserver:
        """A cell starts; returns the observer of its steps."""

    def finish(self, cell: StudyCell, reused: bool) -> None:
        """A cell has ended, or was finished before."""


@dataclass(frozen=True)
class StudyOutcome:
    """A finished study: its content as data, and where its files are."""

    content: Mapping[str, Any]
    folder: Path

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the cells that failed."""
        return tuple(cell["name"] for cell in self.content["cells"] if cell["state"] == "failed")


def run_study(
    grid: Grid,
    corpus: Place | None,
    placements: Mapping[str, Place],
    workspace: Path,
    observer: StudyObserver,
    address: StoreAddress | None = None,
    interruption: Interruptible | None = None,
) -> StudyOutcome:
    """Runs every unfinished cell, and writes the study after each.

    Args:
        grid: the cells.
        corpus: folder with one folder for each data set, or None if `placements` has them all.
        placements: data set name to its folder, if that is elsewhere.
        workspace: of all runs of the study.
        observer: receives every cell's progress.
        address: the metadata store; None for the workspace's own.
        interruption: the caller's signal handler; None if signals are not handled.

    Raises:
        RunInterruptedError: a signal ended it; the same call goes on.
        WorkspaceBusyError: another run is at work in the workspace.
        StoreUnreachableError: the store does not answer, or stopped answering.
    """
    place = Workspace(workspace.resolve())
    address = address or own_store(place.folder)
    interruption = interruption or Interruptible()
    settle_if_moved(place.folder, address)
    done = _done(address, grid.name)
    cells = {cell.name: _pending(cell) for cell in grid.cells}
    folder = place.folder / "study" / grid.name
    for number, cell in enumerate(grid.cells, 1):
        interruption.check()
        try:
            run = resolve(cell.config, corpus, placements, place.folder, address)
        except SettingError as error:
            cells[cell.name] = _pending(cell, str(error))
            observer.finish(cells[cell.name], reused=False)
        else:
            record = done.get(run.run_key)
            reused = record is not None and (Path(record.report) / REPORT_FILE).is_file()
            if record is None or not reused:
                steps = observer.begin(cell, number, len(grid.cells))
                record = _run_cell(cell, run, grid.name, steps, address, interruption)
            cells[cell.name] = _finished(cell, record)
            observer.finish(cells[cell.name], reused)
        content = _write(grid.name, list(cells.values()), folder)
    return StudyOutcome(content, folder)


def _done(address: StoreAddress, study: str) -> dict[str, CellRecord]:
    if not address.exists():
        return {}
    with address.asking() as store:
        return complete_cells(store, study)


def _run_cell(
    cell: Cell,
    run: ResolvedRun,
    study: str,
    observer: StepObserver,
    address: StoreAddress,
    interruption: Interruptible,
) -> CellRecord:
    """Runs a cell and adds its run to the study; returns how it ended."""
    began = time.monotonic()
    report, error = "", ""
    try:
        outcome = execute(run, observer, cell.preset, address, interruption)
        run_id, report = outcome.run_id, outcome.verdict.report_uri
    except StepFailedError as failure:
        run_id, error = failure.run_id, str(failure)
    state = FAILED if error else COMPLETE
    record = CellRecord(cell.name, run.run_key, state, report, error, time.monotonic() - began)
    with address.asking() as store:
        attach_run(store, study_context(store, study), run_id, record)
    return record


def _pending(cell: Cell, error: str = "") -> StudyCell:
    training = cell.config.training
    parameters = load_encoder(training.encoder).parameters
    return StudyCell(cell.name, training.encoder, training.objective, parameters, cell.row, None, error)


def _finished(cell: Cell, record: CellRecord) -> StudyCell:
    pending = _pending(cell, record.error)
    run = load_run(Path(record.report), cell.name) if record.state == COMPLETE else None
    return StudyCell(
        pending.name, pending.encoder, pending.objective, pending.parameters, pending.row, run, record.error,
        record.seconds,
    )  # fmt: skip


def _write(name: str, cells: list[StudyCell], folder: Path) -> dict[str, Any]:
    content = build_study(name, cells)
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    write_atomically(folder / STUDY_PAGE, render_study(content))
    write_atomically(folder / STUDY_JSON, text)
    return content
