"""What a component has to know of the Beam runner it is given."""

from __future__ import annotations

from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

DASK_RUNNER = "apache_beam.runners.dask.dask_runner.DaskRunner"
# As many pieces as keep some tens of workers busy, and each still worth the sending.
DASK_PARTITIONS = 16


def listing_slices(beam_args: Sequence[str]) -> int:
    """How many elements a listing has to start from, so that what follows it is spread over the workers.

    Beam's own runners spread the groups of a GroupByKey. Beam's DaskRunner keeps the number of partitions that the
    pipeline starts with, so that one element would leave all the work to one worker.

    Args:
        beam_args: the component's flags for Beam.

    Returns:
        1, or with the DaskRunner the number of partitions: `--dask_npartitions`, else 16.
    """
    options = PipelineOptions(list(beam_args))
    if options.view_as(StandardOptions).runner != DASK_RUNNER:
        return 1
    # Imported here: the module is there without Dask, its options are only registered where it is used.
    from apache_beam.runners.dask.dask_runner import DaskOptions

    return options.view_as(DaskOptions).npartitions or DASK_PARTITIONS
