"""Finds the service of a kind of cluster."""

from __future__ import annotations

import importlib
from pathlib import Path

from kubeflow.service import PipelineService
from kubeflow.service_config import load_service

_PLACES = {
    "kubeflow": ("kubeflow.kfp_service", "KfpService"),
    "vertex": ("kubeflow.vertex_service", "VertexService"),
}


def open_service(target: str, cluster: Path) -> PipelineService:
    """The service that a cluster file describes; its module is imported now, and nothing is asked of it yet.

    Args:
        target: `kubeflow` or `vertex`.
        cluster: YAML file with the group `service:`.

    Raises:
        ValueError: as `kubeflow.service_config.load_service`.
    """
    config = load_service(cluster, target)
    module, name = _PLACES[target]
    service: PipelineService = getattr(importlib.import_module(module), name)(config)
    return service
