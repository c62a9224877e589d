"""The metadata store: it answers, and the last run had the same settings as the planned one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kubeflow.doctor.finding import Finding, Severity, Subject

if TYPE_CHECKING:
    from ml_metadata.metadata_store import MetadataStore


def check_store(subject: Subject) -> Iterator[Finding]:
    """The store answers. A workspace without a store is new, which is no fault."""
    try:
        _open(subject)
    except (ConnectionError, ValueError) as error:
        yield Finding(
            "store", Severity.FATAL, f"--metadata {subject.metadata or subject.workspace}", str(error).splitlines()[0],
            "spans, baseline and warm start are resolved from it; docs/metadata.md says how to set one up",
        )  # fmt: skip


def check_recorded_runs(subject: Subject) -> Iterator[Finding]:
    """Kubeflow's own ML Metadata answers, where the cluster file names it."""
    service = subject.cluster.get("service")
    there = service.get("metadata_store") if isinstance(service, Mapping) else ""
    if subject.target != "kubeflow" or not isinstance(there, str) or not there:
        return
    from pipeline.lineage.connection import store_address

    try:
        with store_address(there, subject.workspace).asking() as store:
            store.get_context_types()
    except (ConnectionError, ValueError) as error:
        yield Finding(
            "store", Severity.FATAL, f"{subject.cluster_file}: service.metadata_store", str(error).splitlines()[0],
            "`hares watch` reads from it what the runs made: see that metadata-grpc-service can be reached there",
        )  # fmt: skip


def check_settings(subject: Subject) -> Iterator[Finding]:
    """The settings are those of this pipeline's last run on this target."""
    if not subject.config:
        return
    from pipeline.lineage.runs import RunFilter, config_of, list_runs

    try:
        store = _open(subject)
    except (ConnectionError, ValueError):
        return  # check_store reports it
    if store is None:
        return
    for run in list_runs(store, RunFilter(), limit=_LOOKED_AT):
        last = config_of(store, run)
        if last is None or last.get("name") != subject.config.get("name"):
            continue
        if run.facts.get("target", subject.target) != subject.target:
            continue
        changed = list(differences(last, subject.config))
        if changed:
            yield Finding(
                "settings", Severity.WARNING, f"run {run.run_id}", f"its settings were different: {'; '.join(changed)}",
                "nothing, if this is intended; otherwise give that run's settings with --config and --set",
            )  # fmt: skip
        return


# How many of the latest runs are searched, in a store that other pipelines share.
_LOOKED_AT = 50


def differences(before: Mapping[str, Any], now: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Settings that differ, with dotted names, as "training.steps 100 -> 200"."""
    for name in dict.fromkeys([*before, *now]):
        ours, theirs = before.get(name), now.get(name)
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            yield from differences(ours, theirs, f"{where}{name}.")
        elif ours != theirs:
            yield f"{where}{name} {ours!r} -> {theirs!r}"


def _open(subject: Subject) -> MetadataStore | None:
    """The store, or None if the workspace has none yet. Raises ConnectionError or ValueError."""
    from pipeline.lineage.connection import store_address
    from pipeline.workspace import Workspace

    address = store_address(subject.metadata, Workspace(subject.workspace).store)
    if not subject.metadata and not address.exists():
        return None
    try:
        store = address.open()
        store.get_context_types()
        return store
    except FileNotFoundError as error:
        raise ConnectionError(str(error)) from error
    except ConnectionError:
        raise
    except Exception as error:  # ML Metadata's own errors share no base with the standard library's
        raise ConnectionError(f"{address.shown}: {str(error).splitlines()[0]}") from error
