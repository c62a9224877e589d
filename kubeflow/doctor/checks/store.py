"""The metadata store: it answers, and what the last run was made with is what this one would be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kubeflow.doctor.finding import Finding, Severity, Subject

if TYPE_CHECKING:
    from ml_metadata.metadata_store import MetadataStore


def check_store(subject: Subject) -> Iterator[Finding]:
    """The store answers; a workspace without one has never been used, which is no fault."""
    try:
        _open(subject)
    except (ConnectionError, ValueError) as error:
        yield Finding(
            "store", Severity.FATAL, f"--metadata {subject.metadata or subject.workspace}", str(error).splitlines()[0],
            "without it no span, baseline or warm start can be resolved; docs/metadata.md says how to set one up",
        )  # fmt: skip


def check_settings(subject: Subject) -> Iterator[Finding]:
    """The settings are those of this pipeline's last run on this target, or the finding says which differ."""
    if not subject.config:
        return
    from pipeline.lineage.runs import RunFilter, config_of, list_runs

    try:
        store = _open(subject)
    except (ConnectionError, ValueError):
        return  # check_store says so
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
                "settings", Severity.WARNING, f"run {run.run_id}", f"its settings were others: {'; '.join(changed)}",
                "nothing, if that is meant; else give the settings of that run with --config and --set",
            )  # fmt: skip
        return


# Of a store with many pipelines' runs, how many of the latest are looked through.
_LOOKED_AT = 50


def differences(before: Mapping[str, Any], now: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Settings that differ, by their dotted names, as in "training.steps 100 -> 200"."""
    for name in dict.fromkeys([*before, *now]):
        ours, theirs = before.get(name), now.get(name)
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            yield from differences(ours, theirs, f"{where}{name}.")
        elif ours != theirs:
            yield f"{where}{name} {ours!r} -> {theirs!r}"


def _open(subject: Subject) -> MetadataStore | None:
    """The store, or None where the workspace has none yet. Raises ConnectionError or ValueError."""
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
