"""The engine that runs Beam's steps, where it is not this process: its places answer."""

from __future__ import annotations

from collections.abc import Iterator

from kubeflow.doctor.finding import Finding, Severity, Subject


def check_beam_engine(subject: Subject) -> Iterator[Finding]:
    """Job server, Flink, Spark and worker pool of a local run; a cluster's steps see other addresses than we do."""
    if subject.target != "local" or not subject.config.get("beam_args"):
        return
    from pipeline.beam_engine import engine_faults

    for fault in engine_faults(tuple(subject.config["beam_args"])):
        severity = Severity.FATAL if fault.fatal else Severity.WARNING
        yield Finding("beam_engine", severity, f"beam_args: {fault.where}", fault.cause, fault.remedy)
