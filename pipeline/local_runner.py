"""Runs the pipeline on this machine, step by step, and reports each step to an observer.

It uses the launcher of TFX's LocalDagRunner, which only logs; here every step is reported as run, taken from the cache
or failed. A run that was killed goes on where it stopped, because the earlier steps are in the cache.
"""

from __future__ import annotations

import datetime
import functools
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from tfx.dsl.compiler import compiler, constants
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import runtime_parameter_utils
from tfx.orchestration.portable.mlmd import execution_lib
from tfx.proto.orchestration import pipeline_pb2

from hares.code_digest import PROJECT
from hares.interruption import GOES_ON, Interruptible, RunInterruptedError
from models.training.loop import TrainingInterrupted
from pipeline.cache import PortableCache
from pipeline.identity import Identity
from pipeline.lineage.connection import StoreAddress, StoreUnreachableError
from pipeline.lineage.graph import NODE, RUN
from pipeline.lineage.record import COMPLETE, FAILED, RunFacts, begin_run, end_run
from pipeline.lineage.tfx_connection import TfxConnection
from pipeline.listener import listening
from pipeline.local_beam import OPERATORS
from pipeline.unsettled import may_come_from_cache
from workarounds.tfx import Launcher

_LOG = logging.getLogger(__name__)


class Outcome(str, Enum):
    """How a step ended."""

    RAN = "ran"
    CACHED = "cached"
    FAILED = "failed"


@dataclass(frozen=True)
class StepResult:
    """A finished step: its id, how it ended and how long it took."""

    node: str
    outcome: Outcome
    seconds: float


class StepFailedError(RuntimeError):
    """A step of run `run_id` raised; `node` is its id, and the cause is chained."""

    def __init__(self, node: str, cause: BaseException, run_id: str):
        super().__init__(f"step {node} failed: {cause}")
        self.node = node
        self.run_id = run_id


class StepObserver(Protocol):
    """Receives a run's progress, step by step."""

    def begin(self, nodes: list[str]) -> None:
        """The steps, in the order in which they will run."""

    def start(self, node: str) -> None:
        """A step starts."""

    def update(self, node: str, fraction: float, text: str) -> None:
        """A long step says how far it is."""

    def finish(self, result: StepResult) -> None:
        """A step has ended."""


def run_locally(
    pipeline: Pipeline,
    observer: StepObserver,
    facts: RunFacts,
    store: StoreAddress,
    interruption: Interruptible | None = None,
    identity: Identity | None = None,
    stand_ins: Mapping[str, str] | None = None,
) -> tuple[str, list[StepResult]]:
    """Runs every step that the cache does not have.

    Args:
        pipeline: what `create_pipeline` made.
        observer: receives every step's progress.
        facts: recorded in the store with the run.
        store: where everything is recorded. It is not part of the pipeline, so a password never gets into what TFX
            compiles, logs and keeps.
        interruption: the caller's signal handler; None if signals are not handled.
        identity: the workspace's, for the cache (`pipeline.cache`).
        stand_ins: what counts instead of a path in the cache's keys.

    Returns:
        The run's id in ML Metadata, and the steps' results.

    Raises:
        StepFailedError: a step failed; those after it were not started.
        RunInterruptedError: a signal ended it; the same call goes on.
        StoreUnreachableError: the store stopped answering; the run goes on where it is run again.
    """
    ir = compiler.Compiler().compile(pipeline)
    run_id = datetime.datetime.now().isoformat()
    runtime_parameter_utils.substitute_runtime_parameter(
        ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    )
    nodes = [node.pipeline_node for node in ir.nodes]
    observer.begin([node.node_info.id for node in nodes])
    connection = TfxConnection(store)
    root = Path(ir.runtime_spec.pipeline_root.field_value.string_value)
    cache = PortableCache(root, run_id, identity, stand_ins or {})
    with connection as handle:
        begin_run(handle.store, run_id, ir.pipeline_info.id, facts, PROJECT)
    try:
        with cache.used():
            results = _run_steps(run_id, nodes, ir, observer, connection, interruption or Interruptible())
    except BaseException:
        try:
            with connection as handle:
                end_run(handle.store, run_id, FAILED)
        except StoreUnreachableError as error:  # a store that is gone must not hide why the run failed
            _LOG.warning("the end of run %s is not recorded: %s", run_id, error)
        raise
    with connection as handle:
        end_run(handle.store, run_id, COMPLETE)
    return run_id, results


def _run_steps(
    run_id: str,
    nodes: list[pipeline_pb2.PipelineNode],
    ir: pipeline_pb2.Pipeline,
    observer: StepObserver,
    connection: TfxConnection,
    interruption: Interruptible,
) -> list[StepResult]:
    results = []
    for node in nodes:
        interruption.check()
        node_id = node.node_info.id
        began = time.monotonic()
        try:
            observer.start(node_id)
            with listening(functools.partial(observer.update, node_id)):
                outcome = launch(node, ir, connection)
        except BaseException as error:
            observer.finish(StepResult(node_id, Outcome.FAILED, time.monotonic() - began))
            if isinstance(error, TrainingInterrupted):
                raise RunInterruptedError(str(error)) from error
            if interruption.requested:
                raise RunInterruptedError(f"interrupted in step {node_id}; {GOES_ON}") from error
            if isinstance(error, Exception) and not isinstance(error, StoreUnreachableError):
                raise StepFailedError(node_id, error, run_id) from error
            raise
        results.append(StepResult(node_id, outcome, time.monotonic() - began))
        observer.finish(results[-1])
    return results


def _refuse_used(folder: Path) -> None:
    """TFX writes into the folder with the execution's number, whatever is in it.

    With another store, or one restored from a backup, an earlier execution may have had that number.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(
            f"{folder} exists already: another metadata store, or a state of this one after its backup, made it. "
            "`hares metadata check --mend` moves away what no store names; else give the run the store it had "
            "before, or another workspace (--workspace)"
        )


def launch(node: pipeline_pb2.PipelineNode, ir: pipeline_pb2.Pipeline, connection: TfxConnection) -> Outcome:
    """Runs one step, or takes it from the cache. Raises what the step raises."""
    if not may_come_from_cache(node, connection):
        node.execution_options.caching_options.enable_cache = False
    deployment = runner_utils.extract_local_deployment_config(ir)
    node_id = node.node_info.id
    info = Launcher(
        pipeline_node=node,
        mlmd_connection=connection,
        pipeline_info=ir.pipeline_info,
        pipeline_runtime_spec=ir.runtime_spec,
        executor_spec=runner_utils.extract_executor_spec(deployment, node_id),
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node_id),
        custom_executor_operators=OPERATORS,
        before_output=_refuse_used,
        recorded={RUN: ir.runtime_spec.pipeline_run_id.field_value.string_value, NODE: node_id},
    ).launch()
    if info is None:
        return Outcome.CACHED
    with connection as handle:
        (execution,) = handle.store.get_executions_by_id([info.execution_id])
    if execution_lib.is_execution_failed(execution):
        # If inputs cannot be resolved, the launcher publishes that and returns as if the step had run.
        raise RuntimeError(
            f"its inputs could not be resolved (execution {execution.id} in the metadata store)"
        )
    return Outcome.CACHED if execution.last_known_state == execution.CACHED else Outcome.RAN
