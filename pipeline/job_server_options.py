"""Options that only the job servers of Flink and Spark know, so that a misspelled one is found before a run starts.

Beam's Python package passes them on, and asks the job server for their names only when a job is submitted: after all
data was listed, and with a cluster. The names and kinds here come from Beam's published documentation: the table of the
Flink runner's options for Python, and the reference of SparkCommonPipelineOptions and SparkPipelineOptions. A job
server that was started by hand (`--runner=PortableRunner --job_endpoint=HOST:PORT`) may know others.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class JobServerOptions:
    """Names without the two dashes: switches (no value), whole numbers, and texts."""

    switches: tuple[str, ...]
    numbers: tuple[str, ...]
    texts: tuple[str, ...]

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Adds these options to a parser that resolves conflicts: Beam's Python package knows some of them too."""
        for name in self.switches:
            parser.add_argument(f"--{name}", action="store_true")
        for name in self.numbers:
            parser.add_argument(f"--{name}", type=int)
        for name in self.texts:
            parser.add_argument(f"--{name}")


JOB_SERVER_OPTIONS: Mapping[str, JobServerOptions] = {
    "FlinkRunner": JobServerOptions(
        switches=(
            "allow_non_restored_state",
            "auto_balance_write_files_sharding_enabled",
            "disable_metrics",
            "externalized_checkpoints_enabled",
            "fail_on_checkpointing_errors",
            "faster_copy",
            "finish_bundle_before_checkpointing",
            "object_reuse",
            "operator_chaining",
            "re_iterable_group_by_key_result",
            "retain_externalized_checkpoints_on_cancellation",
        ),
        numbers=(
            "auto_watermark_interval",
            "checkpoint_timeout_millis",
            "checkpointing_interval",
            "execution_retry_delay",
            "latency_tracking_interval",
            "max_bundle_size",
            "max_bundle_time_mills",
            "max_parallelism",
            "min_pause_between_checkpoints",
            "num_concurrent_checkpoints",
            "number_of_execution_retries",
            "parallelism",
            "shutdown_sources_after_idle_ms",
        ),
        texts=(
            "checkpointing_mode",
            "execution_mode_for_batch",
            "flink_conf_dir",
            "report_checkpoint_duration",
            "savepoint_path",
            "state_backend",
            "state_backend_factory",
            "state_backend_storage_path",
        ),
    ),
    "SparkRunner": JobServerOptions(
        switches=(
            "cache_disabled",
            "enable_spark_metric_sinks",
            "prefer_group_by_key_to_handle_huge_values",
            "uses_provided_spark_context",
        ),
        numbers=(
            "batch_interval_millis",
            "bundle_size",
            "checkpoint_duration_millis",
            "max_records_per_batch",
            "min_read_time_millis",
        ),
        texts=("checkpoint_dir", "read_time_percentage", "spark_master", "storage_level"),
    ),
}
