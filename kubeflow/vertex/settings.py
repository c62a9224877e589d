"""Groups of the cluster file that Vertex alone has: a step's `custom_job`, and `model_registry`.

    resources: {trainer: {custom_job: {machine_type: g2-standard-12, accelerator: NVIDIA_L4, accelerator_count: 1}}}
    model_registry: {model_id: hares-sf-nfnet-f0, aliases: [blessed]}

What a custom job can run on:

| hardware | machine | accelerators |
|---|---|---|
| CPU | any, as "n1-standard-8" | none |
| GPU | "n1-standard-8", "g2-standard-12", ... | `NVIDIA_...`, as many as the machine takes |
| several workers | as above | pool 0 is the chief, pool 1 the other workers; Vertex sets TF_CONFIG |
| TPU v2, v3 | "cloud-tpu" | `TPU_V2` or `TPU_V3`, 8 cores |
| TPU v5e | "ct5lp-hightpu-1t", "-4t", "-8t" | none: `tpu_topology` "1x1", "2x2", "2x4" |

TPU slices of more than one host are refused: our strategy drives the chips of its own host
(`models.training.distribution`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_V5E_TOPOLOGY = {"ct5lp-hightpu-1t": "1x1", "ct5lp-hightpu-4t": "2x2", "ct5lp-hightpu-8t": "2x4"}
_TPU_CORES = 8  # of a v2 or v3 board, the smallest slice that Vertex rents
_MODEL_ID = re.compile(r"[a-z]([a-z0-9_-]{0,61}[a-z0-9])?")
_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
# TensorFlow's own prediction container, for the version of TensorFlow that exports the model.
_SERVING_IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"


@dataclass(frozen=True)
class HardwareSpec:
    """What a custom job runs on; the table above says which values go together.

    Attributes:
        machine_type: of every worker.
        accelerator: Vertex's name, as "NVIDIA_L4" or "TPU_V3"; "" for none.
        accelerator_count: GPUs of each worker, or TPU cores.
        tpu_topology: of v5e, as "2x2".
        workers: machines, chief included.
        boot_disk_gb: of each machine.
        max_hours: Vertex ends the job after this time.
    """

    machine_type: str = "n1-standard-8"
    accelerator: str = ""
    accelerator_count: int = 0
    tpu_topology: str = ""
    workers: int = 1
    boot_disk_gb: int = 100
    max_hours: int = 168

    def __post_init__(self) -> None:
        if not self.machine_type:
            raise ValueError("machine_type: is empty; give one, as in 'n1-standard-8'")
        if self.accelerator and self.accelerator not in (names := _accelerators()):
            raise ValueError(f"accelerator: got {self.accelerator!r}; accepted are {', '.join(names)}")
        if bool(self.accelerator) != (self.accelerator_count > 0):
            raise ValueError(
                f"accelerator and accelerator_count: got {self.accelerator!r} and "
                f"{self.accelerator_count}; give both or neither"
            )
        if self.workers < 1 or self.boot_disk_gb < 1 or self.max_hours < 1:
            raise ValueError("workers, boot_disk_gb and max_hours must be 1 or more")
        self._check_tpu()

    @property
    def tpu(self) -> bool:
        """Whether the job runs on TPUs; its image needs TensorFlow's TPU build."""
        return self.accelerator.startswith("TPU_") or self.machine_type.startswith("ct5lp-")

    def _check_tpu(self) -> None:
        if self.machine_type.startswith("ct5lp-"):
            topology = _V5E_TOPOLOGY.get(self.machine_type)
            if topology is None or self.tpu_topology != topology or self.accelerator:
                accepted = ", ".join(f"{machine} with {shape}" for machine, shape in _V5E_TOPOLOGY.items())
                raise ValueError(
                    f"machine_type: TPU v5e is chosen by machine type and topology alone; accepted are {accepted}; got "
                    f"{self.machine_type} with {self.tpu_topology or 'no topology'} and accelerator "
                    f"{self.accelerator!r}"
                )
        elif self.tpu_topology:
            raise ValueError("tpu_topology: only machines ct5lp-hightpu-*t have one")
        board = self.accelerator in ("TPU_V2", "TPU_V3") and self.accelerator_count == _TPU_CORES
        if (self.accelerator.startswith("TPU_") or self.machine_type == "cloud-tpu") and not (
            board and self.machine_type == "cloud-tpu"
        ):
            raise ValueError(
                f"machine_type: accepted is cloud-tpu with {_TPU_CORES} of TPU_V2 or TPU_V3; got "
                f"{self.machine_type} with {self.accelerator_count} of {self.accelerator or 'no accelerator'}"
            )
        if self.tpu and self.workers > 1:
            raise ValueError(
                f"workers: got {self.workers}; a TPU slice belongs to one host; give it 1 worker"
            )


@dataclass(frozen=True)
class ModelRegistrySettings:
    """How pushed models are registered: the group `model_registry`.

    Attributes:
        model_id: the model that they become versions of, as in "hares-sf-nfnet-f0".
        aliases: names that always point to the newest version.
        serving_image: container that serves the model.
    """

    model_id: str
    aliases: tuple[str, ...] = ("blessed",)
    serving_image: str = _SERVING_IMAGE

    def __post_init__(self) -> None:
        if not _MODEL_ID.fullmatch(self.model_id):
            raise ValueError(
                f"model_id: got {self.model_id!r}; accepted are up to 63 of a-z, 0-9, _ and -, with a letter in front "
                "and a letter or digit at the end"
            )
        for alias in self.aliases:
            if not _ALIAS.fullmatch(alias):
                raise ValueError(
                    f"aliases: got {alias!r}; accepted are 2 to 128 letters, digits and -, starting with a-z"
                )


def _accelerators() -> list[str]:
    """Vertex's names. Its client takes seconds to import, and most settings need none of these."""
    from google.cloud.aiplatform_v1 import types

    kinds: Any = types.AcceleratorType  # its stubs do not say that it is an enumeration
    return [kind.name for kind in kinds if kind]  # 0 is "unspecified"
