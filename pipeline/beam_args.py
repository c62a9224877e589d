"""`beam_args` of the settings: checked by Beam's own parser before any data is read, and given to the right steps.

Where steps run, with apache-beam 2.74:

- Beam's in-memory and multi-process runners, and those of Flink, Spark and Dataflow, take every Beam step, so their
  flags go to the whole pipeline.
- Beam's DaskRunner loses data silently where a pipeline branches, where a DoFn has several outputs, and where one
  emits when its bundle ends: StatisticsGen and Transform do all three. Ingestion and embedding are straight lines
  that write their own files, so with Dask these two run there and the others in memory.

Nothing is contacted: no cloud, no cluster, no job server.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from pipeline.beam_flags import check_from_a_file, check_no_secrets, check_runner
from pipeline.job_server_options import JOB_SERVER_OPTIONS
from pipeline.settings import SettingError

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

DASK = "DaskRunner"
REMOTE = ("DataflowRunner", "FlinkRunner", "SparkRunner", "PortableRunner")
# Workers of these environments are processes where our packages are installed already.
NO_IMAGE_NEEDED = ("LOOPBACK", "EXTERNAL", "PROCESS")


def checked_beam_args(
    beam_args: Sequence[str], from_file: Sequence[str] = (), cluster: bool = False
) -> tuple[str, ...]:
    """The flags as Beam takes them, once its own parser and validator accept them.

    Args:
        beam_args: flags as in `--direct_num_workers=2`; a value may be a separate text.
        from_file: those of them that a file gave; it may not give every flag (`pipeline.beam_flags`).
        cluster: whether that file is a cluster's.

    Returns:
        The same, each with its value in one text, and the DaskRunner by its full name (Beam knows its other runners
        by their short ones).

    Raises:
        SettingError: a flag that Beam does not know, a value it refuses, a runner that is missing or not Beam's, a
            missing option that the runner requires, a secret, a flag that no file may give, or no worker image although
            workers are other machines.
    """
    if not beam_args:
        return ()
    # Imported here: it takes seconds, and only settings with flags for Beam need it.
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
    from apache_beam.runners.runner import create_runner

    from components.beam_runner import DASK_RUNNER, runner_of

    check_no_secrets(beam_args)
    args, own = _joined(beam_args), _joined(from_file)
    check_runner(args)
    name = runner_of(args)
    if name == DASK:
        _require_dask()
        others = [arg for arg in args if arg.partition("=")[0] != "--runner"]
        args = (f"--runner={DASK_RUNNER}", *others)
    if name != "PortableRunner":  # whose job server may know others: `pipeline.beam_engine` asks it
        for flag, hint in unknown_flags(args, name):
            raise SettingError(f"beam_args: {name} does not know {flag!r}{hint}")
    else:
        _parser(name).parse_known_args(list(args))
    check_from_a_file(own, cluster)  # before Beam's validator, which unpickles one of its flags
    options = PipelineOptions(list(args))
    try:
        runner = create_runner(options.view_as(StandardOptions).runner or StandardOptions.DEFAULT_RUNNER)
    except (ValueError, ImportError, AttributeError) as error:
        raise SettingError(f"beam_args: --runner cannot be used: {error}") from error
    # With `dry_run` Beam's validator does not ask the cloud about the buckets.
    validator = PipelineOptionsValidator(PipelineOptions([*args, "--dry_run=true"]), runner)
    if validator.is_service_runner():
        _require_place(options, validator)
    errors = validator.validate()
    if errors:
        raise SettingError(f"beam_args: {'; '.join(errors)}")
    _require_image(options, name)
    return args


def unknown_flags(args: Sequence[str], runner: str, more: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Flags that neither Beam nor the runner knows, each with a hint at the one that may be meant, or "".

    Args:
        args: flags, each with its value in one text.
        runner: the runner's name.
        more: names of options that its job server knows.

    Raises:
        SettingError: a flag's value is of the wrong kind.
    """
    from workarounds.beam import flags_of

    parser = _parser(runner)
    for flag in {f"--{name}" for name in more}.difference(flags_of(parser)):
        parser.add_argument(flag, nargs="?")
    return [(flag, _hint(flag, parser)) for flag in parser.parse_known_args(list(args))[1]]


def by_step(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Flags for the whole pipeline, and those for ingestion and embedding alone."""
    if not args:
        return [], []
    from components.beam_runner import runner_of

    return ([], list(args)) if runner_of(args) == DASK else (list(args), [])


def _joined(beam_args: Sequence[str]) -> tuple[str, ...]:
    """`--name`, `value` as `--name=value`. Raises SettingError for a text that belongs to no flag."""
    joined: list[str] = []
    for arg in beam_args:
        if arg.startswith("--"):
            joined.append(arg)
        elif joined and "=" not in joined[-1]:
            joined[-1] += f"={arg}"
        else:
            raise SettingError(f"beam_args: got {arg!r}; each is one flag with its value, as in --name=value")
    return tuple(joined)


class _Parser(argparse.ArgumentParser):
    """Beam's options; an error raises SettingError instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise SettingError(f"beam_args: {message}")


def _parser(runner: str) -> _Parser:
    from workarounds.beam import add_options

    parser = _Parser(allow_abbrev=False, add_help=False, conflict_handler="resolve")
    add_options(parser)
    if runner in JOB_SERVER_OPTIONS:
        JOB_SERVER_OPTIONS[runner].add_to(parser)
    return parser


def _hint(arg: str, parser: _Parser) -> str:
    from workarounds.beam import flags_of

    close = difflib.get_close_matches(arg.partition("=")[0], flags_of(parser), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _require_dask() -> None:
    try:
        # Makes the --dask_* options known.
        import apache_beam.runners.dask.dask_runner  # noqa: F401
        import distributed  # noqa: F401
    except ImportError as error:
        raise SettingError(
            f"beam_args: --runner={DASK} needs Dask, which is not installed ({error}); "
            "install hares-tfx[dask]"
        ) from error


def _require_place(options: PipelineOptions, validator: PipelineOptionsValidator) -> None:
    """Checks what Beam's validator would ask the cloud about: it would make a bucket, and look up the region."""
    from apache_beam.options.pipeline_options import GoogleCloudOptions

    cloud = options.view_as(GoogleCloudOptions)
    errors = [validator.validate_gcs_path(cloud, name) for name in ("temp_location", "staging_location")]
    if all(errors):
        raise SettingError(
            f"beam_args: {errors[0][0]} Give --temp_location=gs://BUCKET/FOLDER, in an existing bucket"
        )
    if not cloud.region:
        raise SettingError("beam_args: DataflowRunner needs a region; give --region=REGION")


def _require_image(options: PipelineOptions, runner: str) -> None:
    from apache_beam.options.pipeline_options import PortableOptions, WorkerOptions

    if runner not in REMOTE or workers_are_here(options, runner):
        return
    portable = options.view_as(PortableOptions)
    kind = (portable.environment_type or "").upper()
    if kind in NO_IMAGE_NEEDED or portable.environment_config:
        return
    if not options.view_as(WorkerOptions).sdk_container_image:
        raise SettingError(
            f"beam_args: {runner} starts workers that lack this package; "
            "give the worker image as --sdk_container_image=REPOSITORY/IMAGE:TAG"
        )


def workers_are_here(options: PipelineOptions, runner: str) -> bool:
    """Whether Beam would start its own Flink or Spark on this machine, whose workers share this Python."""
    from apache_beam.options.pipeline_options import FlinkRunnerOptions, SparkRunnerOptions
    from apache_beam.runners.portability.flink_runner import MAGIC_HOST_NAMES
    from apache_beam.runners.portability.spark_runner import LOCAL_MASTER_PATTERN

    if runner == "FlinkRunner":
        return str(options.view_as(FlinkRunnerOptions).flink_master).strip() in MAGIC_HOST_NAMES
    if runner == "SparkRunner":
        master = str(options.view_as(SparkRunnerOptions).spark_master_url)
        return re.match(LOCAL_MASTER_PATTERN, master) is not None
    return False
