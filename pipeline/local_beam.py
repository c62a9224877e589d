"""Runs a step's Beam work in the process that runs the step.

If flags name no runner, Beam's DirectRunner first tries Prism: it downloads a program from the internet, again for
every Beam pipeline where that fails, and leaves a temporary folder each time. Then it falls back on the FnApiRunner.
Here a step gets the FnApiRunner at once, so nothing is fetched, and machines with and without a network do the same.
`--direct_num_workers` and `--direct_running_mode` keep their meaning.

With flags, TFX packs its own sources for workers elsewhere (2 s of processor time and 25 MB for each step). A runner in
this process has no use for them, so the flags go to the Beam pipeline and not to TFX's executor. Flags that name
another runner are left to TFX.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import executable_spec_pb2, execution_result_pb2

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
        return super().run_executor(execution_info, make_beam_pipeline_fn)


OPERATORS = {executable_spec_pb2.BeamExecutableSpec: LocalBeamOperator}


def in_process(flags: Sequence[str]) -> bool:
    """Whether flags for Beam keep its work in this process."""
    runner = PipelineOptions(list(flags)).view_as(StandardOptions).runner or ""
    return runner.rpartition(".")[2].lower() in _IN_PROCESS


def _pipeline_here(flags: Sequence[str]) -> beam.Pipeline:
    return beam.Pipeline(runner=FnApiRunner(), argv=list(flags))
