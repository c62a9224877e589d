"""Which runner flags name, against Beam's own way of finding it."""

from __future__ import annotations

import pytest

pytest.importorskip("tfx")  # the package imports it

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import create_runner

from components.beam_runner import DASK_PARTITIONS, DASK_RUNNER, listing_slices, runner_of

DATAFLOW_PATH = "apache_beam.runners.dataflow.dataflow_runner.DataflowRunner"


@pytest.mark.parametrize(
    "flags",
    [
        ["--runner=DataflowRunner"],
        ["--runner", "DataflowRunner"],
        ["--runner=dataflow"],
        ["--runner", "Dataflow"],
        ["--runner=DATAFLOWRUNNER"],
        [f"--runner={DATAFLOW_PATH}"],
        ["--runner=FlinkRunner"],
        ["--project", "some-project", "--runner", "flink", "--parallelism", "2"],
        ["--runner=spark"],
        ["--runner=portable"],
        ["--runner=dataflow", "--runner=FlinkRunner"],
        ["--project=DataflowRunner", "--runner=BundleBasedDirectRunner"],
    ],
)
def test_a_runner_has_one_name_however_it_is_spelled(flags: list[str]) -> None:
    given = PipelineOptions(flags).view_as(StandardOptions).runner
    assert runner_of(flags) == type(create_runner(given)).__name__


def test_without_a_flag_it_is_beams_default() -> None:
    assert runner_of([]) == runner_of(["--project=p"]) == StandardOptions.DEFAULT_RUNNER
    assert runner_of(["--runner=FlinkRuner"]) == "FlinkRuner"


@pytest.mark.parametrize("name", ["DaskRunner", "dask", DASK_RUNNER])
def test_beam_knows_dask_by_its_path_and_we_by_its_name(name: str) -> None:
    assert runner_of([f"--runner={name}"]) == runner_of(["--runner", name]) == "DaskRunner"


def test_only_dask_lists_in_slices() -> None:
    assert listing_slices([]) == listing_slices(["--runner=FlinkRunner"]) == 1
    pytest.importorskip("distributed", reason="Dask is not installed; it comes with hares-tfx[dask]")
    assert listing_slices([f"--runner={DASK_RUNNER}"]) == DASK_PARTITIONS
    assert listing_slices(["--runner", DASK_RUNNER, "--dask_npartitions=3"]) == 3
