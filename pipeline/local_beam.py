"""How a step of a local run does its Beam work: in the process that runs the step, or on the engine that flags name.

If flags name no runner, Beam's DirectRunner first tries Prism: it downloads a program from the internet, again for
every Beam pipeline where that fails, and leaves a temporary folder each time. Then it falls back on the FnApiRunner.
Here a step gets the FnApiRunner at once, so nothing is fetched, and machines with and without a network do the same.
`--direct_num_workers` and `--direct_running_mode` keep their meaning.

With flags, TFX packs its own sources for workers elsewhere (2 s of processor time and 25 MB for each step). A runner in
this process has no use for them, nor has an engine, whose workers have this package and with it TFX. So the flags go to
the Beam pipeline and not to TFX's executor. Dask's and Beam's own worker processes are left to TFX.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import executable_spec_pb2, execution_result_pb2

from components.beam_runner import runner_of
from pipeline.beam_args import REMOTE
from workarounds.tfx import BeamOperator

_IN_PROCESS = ("", "directrunner", "fnapirunner")


class LocalBeamOperator(BeamOperator):
    """TFX's operator of Beam steps; a step whose flags name no other runner runs in this process."""

    def run_executor(
        self,
        execution_info: data_types.ExecutionInfo,
        make_beam_pipeline_fn: Callable[[], beam.Pipeline] | None = None,
    ) -> execution_result_pb2.ExecutorOutput:
        """As TFX's."""
        flags = self.flags(execution_info)
        if make_beam_pipeline_fn is None and in_process(flags):
            self.beam_pipeline_args = []
            make_beam_pipeline_fn = partial(_pipeline_here, flags)
        elif make_beam_pipeline_fn is None and runner_of(flags) in REMOTE:
            self.beam_pipeline_args = []
            make_beam_pipeline_fn = partial(EnginePipeline, argv=flags)
        return super().run_executor(execution_info, make_beam_pipeline_fn)


class EnginePipeline(beam.Pipeline):
    """A pipeline on an engine. Beam would leave its job running there when the step is interrupted."""

    def __exit__(self, *exception: Any) -> None:
        """Runs the job, and cancels it where something other than its own failure ends the wait.

        Raises:
            RuntimeError: the job failed, or its job server stopped answering.
        """
        try:
            super().__exit__(*exception)
        except grpc.RpcError as error:
            raise RuntimeError(
                f"Beam's job server stopped answering ({error.code().name.lower()}: {error.details()}); see its own "
                "log, start it again, and give the same command: finished steps come from the cache"
            ) from error
        except Exception:
            raise
        except BaseException:  # a signal
            if isinstance(result := getattr(self, "result", None), PipelineResult):
                with contextlib.suppress(Exception):
                    result.cancel()
            raise


OPERATORS = {executable_spec_pb2.BeamExecutableSpec: LocalBeamOperator}


def in_process(flags: Sequence[str]) -> bool:
    """Whether flags for Beam keep its work in this process."""
    runner = PipelineOptions(list(flags)).view_as(StandardOptions).runner or ""
    return runner.rpartition(".")[2].lower() in _IN_PROCESS


def _pipeline_here(flags: Sequence[str]) -> beam.Pipeline:
    return beam.Pipeline(runner=FnApiRunner(), argv=list(flags))
