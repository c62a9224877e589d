"""The names that Argo and Kubernetes accept: what they would refuse in a pod is refused before anything is sent.

tests/kubeflow/compiled/test_argo.py holds these rules against Argo's and Kubernetes' own code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# Kubeflow passes task names on to Argo, whose validator takes no others; a run with another name is never created
# (argo-workflows, workflow/validate/validate.go, workflowFieldNameFmt; kubeflow/pipelines,
# backend/src/apiserver/resource/resource_manager.go, which validates before it creates).
ARGO_TASK_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
# k8s.io/apimachinery, pkg/util/validation: IsDNS1123Label, IsDNS1123Subdomain, IsQualifiedName, IsValidLabelValue.
_VOLUME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_PART = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
# What Kubeflow mounts in every step's pod (backend/src/v2/compiler/argocompiler/container.go).
_KUBEFLOWS_OWN = ("/kfp-launcher", "/gcs", "/s3", "/minio", "/.local", "/.cache", "/.config")


def check_volumes(volumes: Mapping[str, str]) -> None:
    """Checks claims and the paths where they are mounted.

    Kubeflow names a pod's volume after its claim (backend/src/v2/driver/k8s.go, makeVolumeMountPatch), and volumes have
    shorter names than claims.

    Raises:
        ValueError: Kubernetes would refuse one, or two volumes would have one path.
    """
    paths = list(_KUBEFLOWS_OWN)
    for claim, path in volumes.items():
        if not _VOLUME.fullmatch(claim):
            raise ValueError(
                f"volumes.{claim}: no volume can have this name; accepted are up to 63 of a-z, 0-9 and -, with a "
                "letter or digit at either end"
            )
        if not str(path).startswith("/") or ":" in str(path):
            raise ValueError(f"volumes.{claim}: got {path!r}; accepted is an absolute path without ':'")
        if path.rstrip("/") in paths:
            raise ValueError(f"volumes.{claim}: another volume is mounted at {path}; choose another path")
        paths.append(path.rstrip("/"))


def check_label(what: str, key: str, value: str) -> None:
    """Raises ValueError if Kubernetes would refuse a label or a node selector."""
    prefix, slash, name = key.rpartition("/")
    good = _LABEL_PART.fullmatch(name) and (not slash or _is_domain(prefix))
    if not good or not isinstance(value, str) or (value and not _LABEL_PART.fullmatch(value)):
        raise ValueError(
            f"{what}.{key}: {value!r}: accepted are texts of up to 63 letters, digits, -, _ and ., with a letter or "
            "digit at either end; a key may have a domain and a slash in front"
        )


def _is_domain(name: str) -> bool:
    return len(name) <= 253 and _DOMAIN.fullmatch(name) is not None
