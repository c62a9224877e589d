"""Which runner flags name, against Beam's own way of finding it."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest

pytest.importorskip("tfx")  # the package imports it

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import create_runner

from components.audio_example_gen import executor as ingestion
from components.beam_runner import DASK_PARTITIONS, DASK_RUNNER, Builder, builder, listing_slices, runner_of
from hares.decoding import Limits, decoder_versions

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


def elsewhere(**changes: object) -> Builder:
    """What a worker of another machine gets."""
    return dataclasses.replace(
        builder("components.audio_example_gen.executor", "hares.tasks.esc50", "hares.tasks.folder", decodes=True),
        process=("submitter", 1), **changes,
    )  # fmt: skip


def test_a_worker_with_the_same_code_and_decoders_works() -> None:
    elsewhere().require_same()
    assert elsewhere().modules == ("components.audio_example_gen.executor", "hares.tasks.esc50")
    here = builder("hares.tasks.esc50")
    dataclasses.replace(here, code="another").require_same()  # the process itself is not asked
    assert here.decoders == ()


def test_a_worker_with_other_code_or_decoders_stops_the_step() -> None:
    with pytest.raises(
        RuntimeError, match=r"a Beam worker on .* has other code in .*on submitter.*; install the same"
    ):
        elsewhere(code="another").require_same()
    older = tuple({**decoder_versions(), "ffmpeg": "ffmpeg version 4"}.items())
    with pytest.raises(RuntimeError, match=r"has ffmpeg .*, and ffmpeg version 4 is on submitter"):
        elsewhere(decoders=older).require_same()


def test_a_worker_that_does_not_see_the_corpus_rejects_no_clip_but_stops(tmp_path: Path) -> None:
    sources = {"esc50": str(tmp_path / "not mounted")}
    write = ingestion._IngestShard(sources, {"test": 1}, str(tmp_path), str(tmp_path), Limits())
    with pytest.raises(ValueError, match=r"there is no folder .*not mounted where this step runs"):
        pickle.loads(pickle.dumps(write)).setup()
    with pytest.raises(ValueError, match="there is no folder"):
        next(ingestion._keyed_entries((sources, ["test"], 0), {"test": 1}, 1))
