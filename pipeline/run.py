"""One local run from settings to verdict: resolve, build, run, and read the outcome from the store."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from hares.buckets import Place
from hares.interruption import Interruptible
from hares.report.runs import REPORT_FILE
from pipeline.beam_engine import require_engine
from pipeline.config import PipelineConfig
from pipeline.identity import IDENTITY_FILE
from pipeline.lineage.connection import StoreAddress, sqlite_config, store_address
from pipeline.lineage.record import UNKNOWN, RunFacts
from pipeline.lineage.store import Verdict, latest_blessed_report, verdict_of_run
from pipeline.local_runner import StepObserver, StepResult, run_locally
from pipeline.pipeline import create_pipeline
from pipeline.relocation import settle, settle_if_moved
from pipeline.resolve import ResolvedRun, resolve
from pipeline.settings import SettingError, as_dict
from pipeline.workspace import Workspace


@dataclass(frozen=True)
class RunOutcome:
    """A finished run: its id, how each step ended, the verdict, and the report as data."""

    run_id: str
    steps: list[StepResult]
    verdict: Verdict
    report: dict[str, Any]


def prepare(
    config: PipelineConfig,
    corpus: Place | None,
    placements: Mapping[str, Place],
    workspace: Path,
    address: StoreAddress | None = None,
    in_image: bool = False,
) -> ResolvedRun:
    """Resolves a run, its baseline included.

    Args:
        config: the settings.
        corpus: as `resolve` takes it.
        placements: as `resolve` takes them.
        workspace: where the run lives.
        address: the metadata store, for the latest blessed model, as baseline and to start from; None for the
            workspace's own.
        in_image: as `resolve` takes it.

    Raises:
        SettingError: as `resolve` does; or the run is local, and cannot read the baseline or reach Beam's engine.
        StoreUnreachableError: the store's server does not answer or refuses us.
        IdentityError: the workspace's identity cannot be read.
    """
    if not in_image:
        require_engine(config.beam_args)
    address = address or own_store(workspace.resolve())
    settle_if_moved(workspace, address)
    start = Path(config.pretraining.warm_start)  # a workspace, perhaps, which was moved as well
    if (start / IDENTITY_FILE).is_file():
        settle_if_moved(start, own_store(start))
    run = resolve(config, corpus, placements, workspace.resolve(), address, in_image)
    if not address.exists():
        return run
    with address.asking() as store:
        baseline = latest_blessed_report(store, config.name, run.run_key)
    if baseline and not in_image and not _can_be_read(os.path.join(baseline, REPORT_FILE)):
        raise SettingError(
            f"the latest blessed model of {config.name} in {address.shown} has its report in {baseline}, which cannot "
            "be read here: it was removed, or lies where only a cluster sees it; run this where it is, or give another "
            "--workspace or --metadata"
        )
    return dataclasses.replace(run, baseline=baseline)


def _can_be_read(path: str) -> bool:
    try:
        return bool(tf.io.gfile.exists(path))
    except tf.errors.OpError:  # a kind of address that TensorFlow does not know, or no access
        return False


def own_store(workspace: Path) -> StoreAddress:
    """The SQLite store of a workspace."""
    return store_address("", Workspace(workspace).store)


def execute(
    run: ResolvedRun,
    observer: StepObserver,
    preset: str = UNKNOWN,
    address: StoreAddress | None = None,
    interruption: Interruptible | None = None,
) -> RunOutcome:
    """Runs a prepared run here, and reads its verdict from the store.

    Args:
        run: what to run.
        observer: receives every step's progress.
        preset: the preset that its settings started from, which the store records.
        address: the metadata store; None for the workspace's own.
        interruption: the caller's signal handler; None if signals are not handled.

    Raises:
        StepFailedError: a step failed.
        RunInterruptedError: a signal ended it; the same call goes on.
        WorkspaceBusyError: another run is at work in the workspace.
        StoreUnreachableError: the store stopped answering.
    """
    workspace = Workspace(run.workspace)
    address = address or own_store(run.workspace)
    with workspace.held(), workspace.temporary_files():
        identity = settle(workspace, address)
        workspace.note_store(address.shown)
        facts = RunFacts(as_dict(run.config), preset, "local", run.run_key, run.code, identity.id)
        if address.file is not None:
            place = address.file.resolve()
            address = dataclasses.replace(address, config=sqlite_config(place), file=place)
        try:
            with _working_in(run.workspace):
                run_id, steps = run_locally(
                    create_pipeline(run), observer, facts, address, interruption, identity, _stand_ins(run)
                )
        finally:
            _give_memory_back()
    with address.asking() as store:
        verdict = verdict_of_run(store, run.config.name, run_id)
    report = json.loads((Path(verdict.report_uri) / REPORT_FILE).read_text(encoding="utf-8"))
    return RunOutcome(run_id, steps, verdict, report)


def _stand_ins(run: ResolvedRun) -> dict[str, str]:
    """What counts instead of a file's path in the cache's keys: the digest of its content."""
    found = {path: f"{{plugin {digest}}}" for path, digest in run.config.plugins}
    if run.warm_start is not None:
        found[run.warm_start.weights] = found[run.warm_start.model] = f"{{weights {run.warm_start.digest}}}"
    return found


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """Makes a folder the current one, because every process that Beam or Dask starts imports from the current folder.

    The user may have started `hares` in a data set's folder that holds an `apache_beam.py`.
    """
    before = os.open(".", os.O_RDONLY)  # it may have been removed, and has no name then
    try:
        os.chdir(folder)
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def _give_memory_back() -> None:
    """Releases what TensorFlow keeps of a run (graphs, functions, kernels), for processes that make many runs.

    That memory is freed in pieces, and glibc keeps the pieces until `malloc_trim`.
    """
    tf.keras.backend.clear_session()
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # other C libraries have none
        trim(0)
