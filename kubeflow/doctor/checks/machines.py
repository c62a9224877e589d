"""Machine types, accelerators and TPU topologies, compared with those that Vertex AI knows."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kubeflow.doctor.finding import Finding, Severity, Subject

TABLE = Path(__file__).resolve().parents[1] / "vertex_machines.yaml"
_KEYS = {
    "machine_type": ("machineType", "machine_type"),
    "accelerator_type": ("acceleratorType", "accelerator_type", "accelerator"),
    "accelerator_count": ("acceleratorCount", "accelerator_count"),
    "tpu_topology": ("tpuTopology", "tpu_topology"),
}


@dataclass(frozen=True)
class Machine:
    """A machine as a job requests it; "" and 0 for what it leaves out."""

    machine_type: str
    accelerator_type: str = ""
    accelerator_count: int = 0
    tpu_topology: str = ""


def check_machines(subject: Subject) -> Iterator[Finding]:
    """Every machine in the cluster file and the compiled pipeline, for Vertex."""
    if subject.target != "vertex":
        return
    for file, content in ((subject.cluster_file, subject.cluster), (subject.compiled_file, subject.compiled)):
        reported: set[Machine] = set()
        for where, machine in machines_in(content, ""):
            problem = problem_with(machine)
            if problem and machine not in reported:
                reported.add(machine)
                yield Finding(
                    "machine", Severity.FATAL, f"{file}: {where}", problem,
                    f"use one of those, or add a new one to {TABLE.name} if Vertex has it now",
                )  # fmt: skip


def check_accelerators(subject: Subject) -> Iterator[Finding]:
    """Accelerators of steps that Vertex runs itself: it picks the machine from cores, memory and accelerator."""
    if subject.target != "vertex":
        return
    known = sorted(_accelerators())
    for kind, resources in (subject.cluster.get("resources") or {}).items():
        given = str((resources or {}).get("accelerator") or "")
        if (
            given and "/" not in given and given not in known
        ):  # the check of the cluster file reports Kubernetes' names
            yield Finding(
                "machine", Severity.FATAL, f"{subject.cluster_file}: resources.{kind}.accelerator",
                f"Vertex has no {given}; there are {', '.join(known)}", "give one of those",
            )  # fmt: skip


def problem_with(machine: Machine) -> str:
    """Why Vertex would refuse a machine, with what it accepts; "" if it would not."""
    table = _table()
    if machine.machine_type in table["topologies"]:
        return _topology_problem(machine, table["topologies"][machine.machine_type])
    if machine.tpu_topology:
        return f"{machine.machine_type} takes no tpu_topology; {', '.join(table['topologies'])} do"
    if machine.machine_type in table["built_in"]:
        accepted: Mapping[str, list[int]] = table["built_in"][machine.machine_type]
        return _accelerator_problem(machine, accepted, required=True)
    series, _, size = machine.machine_type.rpartition("-")
    if size.isdigit() and int(size) in table["plain"].get(series, ()):
        attachable = table["n1_accelerators"] if series.startswith("n1-") else {}
        counts = {name: by_cores.get(int(size), []) for name, by_cores in attachable.items()}
        return _accelerator_problem(machine, {n: c for n, c in counts.items() if c}, required=False)
    near = difflib.get_close_matches(machine.machine_type, _machine_types(), n=3)
    return f"Vertex has no machine type {machine.machine_type}; similar are {', '.join(near) or 'none'}"


def machines_in(node: Any, where: str) -> Iterator[tuple[str, Machine]]:
    """Every mapping below a node that names a machine type, also within strings of JSON."""
    if isinstance(node, str) and node.startswith(("{", "[")) and "achine" in node:
        try:
            node = json.loads(node)
        except ValueError:
            return
    if isinstance(node, Mapping):
        found = {name: next((node[k] for k in keys if k in node), None) for name, keys in _KEYS.items()}
        if isinstance(found["machine_type"], str):
            yield (
                where,
                Machine(
                    found["machine_type"],
                    str(found["accelerator_type"] or ""),
                    int(found["accelerator_count"] or 0),
                    str(found["tpu_topology"] or ""),
                ),
            )
        for key, value in node.items():
            yield from machines_in(value, f"{where}.{key}" if where else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from machines_in(value, f"{where}[{index}]")


def _topology_problem(machine: Machine, accepted: list[str]) -> str:
    if machine.accelerator_type:
        return f"{machine.machine_type} takes its TPUs by tpu_topology and no accelerator_type"
    if machine.tpu_topology not in accepted:
        given = machine.tpu_topology or "none"
        return f"{machine.machine_type} with tpu_topology {given}; accepted are {', '.join(accepted)}"
    return ""


def _accelerator_problem(machine: Machine, accepted: Mapping[str, list[int]], required: bool) -> str:
    if not machine.accelerator_type:
        if required:
            return f"{machine.machine_type} needs its accelerator named: {_shown(accepted)}"
        return ""
    if machine.accelerator_count not in accepted.get(machine.accelerator_type, []):
        asked = f"{machine.accelerator_count} x {machine.accelerator_type}"
        return f"{machine.machine_type} with {asked}; accepted are {_shown(accepted)}"
    return ""


def _shown(accepted: Mapping[str, list[int]]) -> str:
    return "; ".join(f"{'/'.join(map(str, counts))} x {name}" for name, counts in accepted.items()) or "none"


def _machine_types() -> list[str]:
    table = _table()
    plain = [f"{series}-{size}" for series, sizes in table["plain"].items() for size in sizes]
    return [*plain, *table["built_in"], *table["topologies"]]


def _accelerators() -> set[str]:
    table = _table()
    return {
        *table["n1_accelerators"],
        *(name for accepted in table["built_in"].values() for name in accepted),
    }


@functools.cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return table
