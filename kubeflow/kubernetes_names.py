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
# k8s.io/apimachinery, pkg/util/validation: IsDNS1123Subdomain, IsQualifiedName, IsValidLabelValue.
_OBJECT = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_PART = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def check_volumes(volumes: Mapping[str, str]) -> None:
    """Checks claims and the paths where they are mounted.

    Raises:
        ValueError: Kubernetes would refuse one; or two claims have one path.
    """
    for claim, path in volumes.items():
        if not _is_object_name(claim):
            raise ValueError(
                f"volumes.{claim}: no claim can have this name; accepted are a-z, 0-9, - and ., with a letter or "
                "digit at either end of each part"
            )
        if not str(path).startswith("/") or ":" in str(path):
            raise ValueError(f"volumes.{claim}: got {path!r}; accepted is an absolute path without ':'")
    if len(set(volumes.values())) < len(volumes):
        raise ValueError(f"volumes: two claims are mounted at one path; got {dict(volumes)}")


def check_label(what: str, key: str, value: str) -> None:
    """Raises ValueError if Kubernetes would refuse a label or a node selector."""
    prefix, slash, name = key.rpartition("/")
    good = _LABEL_PART.fullmatch(name) and (not slash or _is_object_name(prefix))
    if not good or not isinstance(value, str) or (value and not _LABEL_PART.fullmatch(value)):
        raise ValueError(
            f"{what}.{key}: {value!r}: accepted are texts of up to 63 letters, digits, -, _ and ., with a letter or "
            "digit at either end; a key may have a domain and a slash in front"
        )


def _is_object_name(name: str) -> bool:
    return len(name) <= 253 and _OBJECT.fullmatch(name) is not None
