"""Which of Beam's flags a file may set.

A settings file, a grid or a cluster file may come from someone else. Beam's flags name programs to run
(`--prism_location`, `--environment_config`), packages to install, files to send, hosts that get the data, and modules
to import. A file may therefore set only the flags listed here; every other one, known to Beam or not, has to be given
on the command line (`--set 'beam_args=[...]'`). The lists cover apache-beam 2.74 and the options of the job servers
(`pipeline.job_server_options`); `tests/security/test_settings_files.py` attacks with the others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.job_server_options import JOB_SERVER_OPTIONS
from pipeline.settings import SettingError, refuse_secrets

# Runners that start no program but this Python.
_RUNNERS_HERE = {"DirectRunner", "BundleBasedDirectRunner", "SwitchingDirectRunner", "FnApiRunner"}
_RUNNERS_ON_A_CLUSTER = {"DataflowRunner", "FlinkRunner", "SparkRunner", "PortableRunner", "DaskRunner"}
_RUNNER_MODULES = "apache_beam.runners."
# Numbers, switches and choices: they change how the work is spread, never where it goes or what is executed.
_TUNING = {
    "runner", "type_check_strictness", "type_check_additional", "no_pipeline_type_check", "runtime_type_check",
    "performance_runtime_type_check", "disable_beartype", "no_direct_runner_use_stacked_bundle",
    "direct_runner_bundle_repeat", "direct_num_workers", "direct_running_mode", "direct_embed_docker_python",
    "auto_unique_labels", "num_workers", "max_num_workers", "autoscaling_algorithm", "disk_size_gb",
    "disk_provisioned_iops", "disk_provisioned_throughput_mibps", "default_sdk_harness_log_level",
    "max_cache_memory_usage_mb", "element_processing_timeout_minutes", "number_of_worker_harness_threads",
    "job_server_timeout", "job-server-timeout", "sdk_worker_parallelism", "environment_cache_millis", "parallelism",
    "max_parallelism", "wait_until_finish_duration", "dask_connection_timeout", "dask_connection_limit",
    "dask_npartitions", "dask_partition_size",
    *(name for options in JOB_SERVER_OPTIONS.values() for name in (*options.switches, *options.numbers)),
    "checkpointing_mode", "execution_mode_for_batch", "report_checkpoint_duration", "storage_level",
    "read_time_percentage",
}  # fmt: skip
# Where work and data go, and in which image: what a cluster file is for. No program, no file of this machine.
_PLACES = {
    "project", "job_name", "staging_location", "temp_location", "region", "service_account_email", "label", "labels",
    "dataflow_kms_key", "flexrs_goal", "dataflow_service_option", "dataflow_service_options", "worker_machine_type",
    "machine_type", "worker_disk_type", "disk_type", "worker_region", "worker_zone", "zone", "network", "subnetwork",
    "sdk_container_image", "use_public_ips", "no_use_public_ips", "min_cpu_platform", "job_endpoint",
    "artifact_endpoint", "environment_type", "environment_config", "flink_master", "flink_version",
    "spark_master_url", "spark_master", "spark_version", "dask_client_address", "dask_client_name",
}  # fmt: skip
# The address of a worker pool or the name of an image. The command of a worker process is JSON, and never matches.
_ADDRESS = re.compile(r"[A-Za-z0-9._:/@-]+")
_SECRET_FLAG = re.compile(
    r"secret|token|passw|passphrase|credential|connection_string|(private|access|account|api)_?key",
    re.IGNORECASE,
)


def check_runner(args: Sequence[str]) -> None:
    """Refuses a runner that is not Beam's own: Beam would import whatever module its name says.

    Args:
        args: flags, each with its value in one text.

    Raises:
        SettingError: `--runner` names a module outside of Beam, or no runner of Beam's.
    """
    from apache_beam.options.pipeline_options import StandardOptions

    from components.beam_runner import runner_of

    known = {*StandardOptions.KNOWN_RUNNER_NAMES, "DaskRunner"}
    for arg in args:
        name, _, value = arg.partition("=")
        if name != "--runner" or not value:
            continue
        if runner_of([arg]) not in known or ("." in value and not value.startswith(_RUNNER_MODULES)):
            raise SettingError(
                f"beam_args: --runner cannot be used: {value!r} is not one of Beam's; accepted are "
                f"{', '.join(sorted(known))}"
            )


def check_no_secrets(args: Sequence[str]) -> None:
    """Refuses a flag that holds a secret: flags are recorded in the metadata store, the log and the lineage page.

    Raises:
        SettingError: the flag's name says that its value is a secret, or the value looks like one; the message leaves
            the value out.
    """
    for arg in args:
        name = arg.partition("=")[0].partition(" ")[0]
        if _SECRET_FLAG.search(name):
            raise SettingError(
                f"beam_args: {name} holds a secret, and flags are recorded with the run; give it to Beam's workers in "
                "their environment (as AWS_SECRET_ACCESS_KEY) or as the account they run under"
            )
    refuse_secrets(list(args), "beam_args")


def check_from_a_file(args: Sequence[str], cluster: bool = False) -> None:
    """Refuses flags that a file may not set.

    Args:
        args: flags from the file, each with its value in one text.
        cluster: whether the file is a cluster's, which also says where the work is done.

    Raises:
        SettingError: the flag is to be given on the command line.
    """
    from components.beam_runner import runner_of

    allowed = _TUNING | _PLACES if cluster else _TUNING
    runners = _RUNNERS_HERE | _RUNNERS_ON_A_CLUSTER if cluster else _RUNNERS_HERE
    for arg in args:
        name, _, value = arg.partition("=")
        refused = name.removeprefix("--") not in allowed
        if name == "--runner":
            refused = runner_of([arg]) not in runners
        elif name in ("--environment_config", "--sdk_container_image"):
            refused |= _ADDRESS.fullmatch(value) is None
        if refused:
            shown = arg if name == "--runner" else name
            raise SettingError(
                f"beam_args: {shown} can make Beam run a program or send data elsewhere, so no file may set it; if "
                f"you mean it, give it on the command line: --set 'beam_args=[{shown}...]'"
            )
