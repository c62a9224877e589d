"""What has to be known of the Beam runner that flags name: which one it is, and how its work is spread."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

DASK_RUNNER = "apache_beam.runners.dask.dask_runner.DaskRunner"
# As many pieces as keep some tens of workers busy, and each still worth the sending.
DASK_PARTITIONS = 16


def runner_of(beam_args: Sequence[str]) -> str:
    """The class name of the runner that flags name, whichever way it is spelled.

    Beam takes `--runner=DataflowRunner` and `--runner DataflowRunner`, `dataflow` and `dataflowrunner` in capitals or
    not, and the class's whole path; of several flags the last one counts.

    Args:
        beam_args: flags for Beam; others among them are passed over.

    Returns:
        A name as in "DataflowRunner"; "DirectRunner" where no flag names one; of a runner that Beam does not know, the
        name as it was given, without a path before it.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    # A flag without its value names none; who parses all flags says so better.
    parser.add_argument("--runner", nargs="?", default=StandardOptions.DEFAULT_RUNNER)
    name = str(parser.parse_known_args(list(beam_args))[0].runner or "").rpartition(".")[2]
    known = {n.lower(): n for n in (*StandardOptions.KNOWN_RUNNER_NAMES, DASK_RUNNER.rpartition(".")[2])}
    return known.get(name.lower()) or known.get(f"{name.lower()}runner") or name


def listing_slices(beam_args: Sequence[str]) -> int:
    """How many elements a listing has to start from, so that what follows it is spread over the workers.

    Beam's own runners spread the groups of a GroupByKey. Beam's DaskRunner keeps the number of partitions that the
    pipeline starts with, so that one element would leave all the work to one worker.

    Args:
        beam_args: the component's flags for Beam.

    Returns:
        1, or with the DaskRunner the number of partitions: `--dask_npartitions`, else 16.
    """
    if runner_of(beam_args) != "DaskRunner":
        return 1
    # Imported here: its options are only registered where it is used.
    from apache_beam.runners.dask.dask_runner import DaskOptions

    return PipelineOptions(list(beam_args)).view_as(DaskOptions).npartitions or DASK_PARTITIONS


@contextmanager
def let_go(pipeline: beam.Pipeline) -> Iterator[beam.Pipeline]:
    """As `with pipeline`; afterwards no runner has a reason to do any of it again.

    Beam's DaskRunner holds what the workers computed for as long as something refers to the pipeline. A worker that
    dies later, at another step's work, takes it along, and Dask would do this step again beside what it has published.
    """
    try:
        with pipeline:
            yield pipeline
    finally:
        result: Any = getattr(pipeline, "result", None)  # None where it could not be started
        if type(result).__name__ == "DaskRunnerResult":
            result.client.close()
