"""A study: a grid of cells over one corpus, each a pipeline run, in one workspace and one process.

Cells share what they can: ingestion and, where the front end is the same, the spectrograms come from TFX's cache, and
TFX is imported once. A cell that is done is not run again: its run key, which covers settings, data and code, stands
on its run's context under the study's in ML Metadata. One that was killed goes on where it stopped, as any run does. A
cell that fails is recorded with its error, and the study goes on; the next run of the study tries it again.

`W/study/<name>/study.json` and `study.html` are written after every cell, each complete or not at all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hares.atomic_files import write_atomically
from hares.interruption import Interruptible
from hares.report.runs import REPORT_FILE, load_run
from hares.report.study import StudyCell, build_study, render_study
from models.encoder import load_encoder
from pipeline.grid import Cell, Grid
from pipeline.lineage.connection import StoreAddress
from pipeline.lineage.study import (
    COMPLETE,
    FAILED,
    CellRecord,
    attach_run,
    complete_cells,
    study_context,
)
from pipeline.local_runner import Observer, StepFailedError
from pipeline.relocation import settle_if_moved
from pipeline.resolve import ResolvedRun, resolve
from pipeline.run import execute, own_store
from pipeline.settings import SettingError
from pipeline.workspace import Workspace

STUDY_JSON, STUDY_PAGE = "study.json", "study.html"


class StudyObserver(Protocol):
    """Who is told how the cells go."""

    def begin(self, cell: Cell, number: int, of: int) -> Observer:
        """A cell runs; gives who is told of its steps."""

    def finish(self, cell: StudyCell, reused: bool) -> None:
        """A cell has ended, or was done before."""


@dataclass(frozen=True)
class StudyOutcome:
    """A study that has been gone through: its content as data, and where its files are."""

    content: Mapping[str, Any]
    folder: Path

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the cells that failed."""
        return tuple(cell["name"] for cell in self.content["cells"] if cell["state"] == "failed")


def run_study(
    grid: Grid,
    corpus: Path | None,
    placements: Mapping[str, Path],
    workspace: Path,
    observer: StudyObserver,
    address: StoreAddress | None = None,
    interruption: Interruptible | None = None,
) -> StudyOutcome:
    """Runs every cell that is not done, and writes the study after each.

    Args:
        grid: the cells.
        corpus: folder with one folder a data set, or None where `placements` has them all.
        placements: data set name to its folder, where it is elsewhere.
        workspace: of all runs of the study.
        observer: told of every cell.
        address: the metadata store; None for the workspace's own.
        interruption: what the caller listens for signals with; None where nobody does.

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
    observer: Observer,
    address: StoreAddress,
    interruption: Interruptible,
) -> CellRecord:
    """Runs a cell, puts its run under the study, and says how it ended."""
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
