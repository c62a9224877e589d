"""`beam_args` of the settings: checked by Beam's own parser before any data is read, and given to the right steps.

What runs where, as measured with apache-beam 2.74:

- Beam's in-memory, multi-process, Flink, Spark and Dataflow runners run every Beam step, so their flags go to the
  whole pipeline.
- Beam's DaskRunner loses data silently where a pipeline branches, where a DoFn has several outputs, and where one
  emits when its bundle ends: StatisticsGen and Transform do all three. Ingestion and embedding are straight lines
  that write their own files, so with Dask these two run there and the others in memory.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import NoReturn

from pipeline.settings import SettingError

DASK = "DaskRunner"
REMOTE = ("DataflowRunner", "FlinkRunner", "SparkRunner", "PortableRunner")
# Their job servers bring options of their own (`--parallelism`), which Beam asks for when the job is submitted.
JOB_SERVER = ("FlinkRunner", "SparkRunner", "PortableRunner")
# Workers of these environments are processes where our packages are installed already.
NO_IMAGE_NEEDED = ("LOOPBACK", "EXTERNAL", "PROCESS")


def checked_beam_args(beam_args: Sequence[str]) -> tuple[str, ...]:
    """The flags as Beam takes them, once its own parser and validator accept them.

    Args:
        beam_args: flags, one a text, as in `--direct_num_workers=2`.

    Returns:
        The same, with the DaskRunner by its full name (Beam knows its other runners by their short ones).

    Raises:
        SettingError: a flag that Beam does not know, a value it refuses, a runner that is not there, an option
            that the runner requires, or no worker image where workers are other machines.
    """
    if not beam_args:
        return ()
    # Imported here: it takes seconds, and only settings with flags for Beam need it.
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
    from apache_beam.runners.runner import create_runner

    from components.beam_runner import DASK_RUNNER

    for arg in beam_args:
        if not arg.startswith("--"):
            raise SettingError(f"beam_args: got {arg!r}; each is one flag with its value, as in --name=value")
    runner_flags = {f"--runner={DASK}": f"--runner={DASK_RUNNER}"}
    args = tuple(runner_flags.get(arg, arg) for arg in beam_args)
    if f"--runner={DASK_RUNNER}" in args:
        _require_dask()
    unknown = _parse(args)
    options = PipelineOptions(list(args))
    name = (options.view_as(StandardOptions).runner or "DirectRunner").rpartition(".")[2]
    if unknown and name not in JOB_SERVER:
        raise SettingError(f"beam_args: Beam does not know {unknown[0]!r}{_hint(unknown[0])}")
    try:
        runner = create_runner(options.view_as(StandardOptions).runner or "DirectRunner")
    except (ValueError, ImportError, AttributeError) as error:
        raise SettingError(f"beam_args: --runner cannot be used: {error}") from error
    errors = PipelineOptionsValidator(options, runner).validate()
    if errors:
        raise SettingError(f"beam_args: {'; '.join(errors)}")
    _require_image(options, name)
    return args


def by_step(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Checked flags for the whole pipeline, and those for ingestion and embedding alone."""
    from components.beam_runner import DASK_RUNNER

    if f"--runner={DASK_RUNNER}" in args:
        return [], list(args)
    return list(args), []


class _Parser(argparse.ArgumentParser):
    """Beam's options without argparse's way of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise SettingError(f"beam_args: {message}")


def _options() -> _Parser:
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = _Parser(allow_abbrev=False, add_help=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)
    return parser


def _parse(args: Sequence[str]) -> list[str]:
    """The flags that Beam does not know. Raises SettingError for a value that it refuses."""
    return _options().parse_known_args(list(args))[1]


def _hint(arg: str) -> str:
    known = [flag for action in _options()._actions for flag in action.option_strings]
    close = difflib.get_close_matches(arg.partition("=")[0], known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _require_dask() -> None:
    try:
        import apache_beam.runners.dask.dask_runner  # noqa: F401 (registers the --dask_* options)
        import distributed  # noqa: F401
    except ImportError as error:
        raise SettingError(
            f"beam_args: --runner={DASK} needs Dask, which is not installed ({error}); "
            "install hares-tfx[dask]"
        ) from error


def _require_image(options: object, runner: str) -> None:
    from apache_beam.options.pipeline_options import PortableOptions, WorkerOptions

    if runner not in REMOTE:
        return
    portable = options.view_as(PortableOptions)  # type: ignore[attr-defined]
    if portable.environment_type in NO_IMAGE_NEEDED or portable.environment_config:
        return
    if not options.view_as(WorkerOptions).sdk_container_image:  # type: ignore[attr-defined]
        raise SettingError(
            f"beam_args: {runner} starts workers that lack this package; "
            "give the worker image as --sdk_container_image=REPOSITORY/IMAGE:TAG"
        )
