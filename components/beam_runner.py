"""The Beam runner that flags name: which one it is, how it spreads work, how to release it, what its workers are."""

from __future__ import annotations

import argparse
import functools
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from hares.code_digest import code_digest, is_our_module
from hares.decoding import decoder_versions

DASK_RUNNER = "apache_beam.runners.dask.dask_runner.DaskRunner"
# Enough to keep some tens of workers busy, and each still worth sending.
DASK_PARTITIONS = 16


def runner_of(beam_args: Sequence[str]) -> str:
    """The class name of the runner that flags name, however it is spelled.

    Beam accepts `--runner=DataflowRunner` and `--runner DataflowRunner`, `dataflow` and `dataflowrunner` in any case,
    and the class's whole path. The last flag counts.

    Args:
        beam_args: flags for Beam; others among them are ignored.

    Returns:
        A name as in "DataflowRunner"; "DirectRunner" if no flag names one; for a runner that Beam does not know, the
        given name without its path.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    # A flag without a value names no runner; whoever parses all flags reports it.
    parser.add_argument("--runner", nargs="?", default=StandardOptions.DEFAULT_RUNNER)
    name = str(parser.parse_known_args(list(beam_args))[0].runner or "").rpartition(".")[2]
    known = {n.lower(): n for n in (*StandardOptions.KNOWN_RUNNER_NAMES, DASK_RUNNER.rpartition(".")[2])}
    return known.get(name.lower()) or known.get(f"{name.lower()}runner") or name


def listing_slices(beam_args: Sequence[str]) -> int:
    """How many elements a listing has to start from for the work after it to be spread over the workers.

    Beam's own runners spread the groups of a GroupByKey. Its DaskRunner keeps the number of partitions that a pipeline
    starts with, so one element would leave all the work to one worker.

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


@dataclass(frozen=True)
class Builder:
    """The process that builds a pipeline; a worker elsewhere asks whether it would compute the same.

    A step's cache key says which code and which decoders made its numbers. They are this process's, and a worker pool
    may have been started from an older checkout, or on a machine with another ffmpeg.

    Attributes:
        process: name of the machine, and number of the process.
        modules: where the code digest starts.
        code: the digest.
        decoders: versions of the decoders; empty where nothing is decoded.
    """

    process: tuple[str, int]
    modules: tuple[str, ...]
    code: str
    decoders: tuple[tuple[str, str], ...]

    @functools.lru_cache(maxsize=32)  # noqa: B019 (a frozen value, not an object)
    def require_same(self) -> None:
        """Asked of a worker, once in a process.

        Raises:
            RuntimeError: it has other code, libraries or decoders.
        """
        here = _process()
        if here == self.process:
            return
        of, where = f"a Beam worker on {here[0]}", f"on {self.process[0]}, where the run was started"
        for name, version in dict(decoder_versions() if self.decoders else {}).items():
            if dict(self.decoders).get(name) != version:
                raise RuntimeError(
                    f"{of} has {name} {version}, and {dict(self.decoders).get(name)} is {where}: one may read what the "
                    "other refuses; install the same version"
                )
        if code_digest(*self.modules) != self.code:
            raise RuntimeError(
                f"{of} has other code in {Path(__file__).parents[1]}, or other versions of its libraries, than are "
                f"{where}; install the same there, and start the workers again"
            )


def builder(*modules: str, decodes: bool = False) -> Builder:
    """This process as a pipeline's builder.

    Args:
        modules: those that decide what the workers compute; names that are no modules of ours are left out.
        decodes: whether they decode audio.
    """
    ours = tuple(name for name in modules if is_our_module(name))
    decoders = tuple(sorted(decoder_versions().items())) if decodes else ()
    return Builder(_process(), ours, code_digest(*ours), decoders)


def _process() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()


@contextmanager
def run_and_release(pipeline: beam.Pipeline) -> Iterator[beam.Pipeline]:
    """Runs the pipeline as `with pipeline` does, then releases Dask's futures so that nothing is recomputed.

    Beam's DaskRunner keeps its futures while anything refers to the pipeline. When a worker dies during a later step,
    its results are lost, and Dask would run this step again although it has been published.
    """
    try:
        with pipeline:
            yield pipeline
    finally:
        result: Any = getattr(pipeline, "result", None)  # None if it could not be started
        if type(result).__name__ == "DaskRunnerResult":
            result.client.close()
