"""What a run's pods need of Kubernetes: namespace, an account and its rights, volumes, nodes, the bucket's server.

Only the cluster's own API knows that, so this is asked where the cluster file names a `kubeconfig`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from kubeflow.cluster_file import Resources, read_resources
from kubeflow.clusters import ServiceConfig, checked_service
from kubeflow.doctor.finding import Finding, Severity, Subject

_TIMEOUT = 10.0  # seconds
_STANDALONE = "kubeflow"  # the namespace of a Kubeflow Pipelines without profiles
_ACCOUNTS = ("pipeline-runner", "default-editor")  # Kubeflow's own: on a single-user one, and in a profile
# Of the launcher (backend/src/v2/config/env.go), for a root with minio://.
_SECRET, _SECRET_KEYS = "mlpipeline-minio-artifact", ("accesskey", "secretkey")
_MINIO = "minio-service"
_NO_PODS = ("NoSchedule", "NoExecute")  # effects of a node's taints, which our pods do not tolerate


@dataclass(frozen=True)
class _Asked:
    """Kubernetes' API and what a run is to have there."""

    subject: Subject
    service: ServiceConfig
    core: Any
    authorization: Any

    @property
    def namespace(self) -> str:
        return self.service.namespace or _STANDALONE


def check_kubernetes_objects(subject: Subject) -> Iterator[Finding]:
    """Everything that the pods of a run refer to is there, and some node can hold each of them."""
    group = subject.cluster.get("service")
    if subject.target != "kubeflow" or not isinstance(group, Mapping) or not group.get("kubeconfig"):
        return
    if not all(isinstance(subject.cluster.get(name) or {}, Mapping) for name in ("volumes", "resources")):
        return  # the check of the cluster file reports it
    try:
        service = checked_service(group, "kubeflow")
    except ValueError:
        return  # and that of the server this
    import kubernetes
    import yaml
    from kubernetes.client.rest import ApiException
    from urllib3.exceptions import HTTPError

    where = f"{subject.cluster_file}: service.kubeconfig {service.kubeconfig}"
    try:
        client = kubernetes.config.new_client_from_config(service.kubeconfig)
        asked = _Asked(
            subject,
            service,
            kubernetes.client.CoreV1Api(client),
            kubernetes.client.AuthorizationV1Api(client),
        )
        asked.core.get_api_resources(_request_timeout=_TIMEOUT)
    # The client reads the file's groups as it finds them: one of another type raises what Python does then.
    except (
        kubernetes.config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, AttributeError, KeyError,
        HTTPError, ApiException,
    ) as error:  # fmt: skip
        yield Finding(
            "kubernetes", Severity.FATAL, where, f"Kubernetes cannot be asked: {_said(error)}",
            "correct the file, or remove the setting: then nothing is asked of Kubernetes",
        )  # fmt: skip
        return
    for check in (_namespace, _account, _volumes, _bucket, _nodes):
        try:
            found = list(check(asked))
        except (HTTPError, ApiException) as error:
            yield Finding(
                "kubernetes", Severity.WARNING, where, f"{check.__doc__} It is unknown here: {_said(error)}",
                "give its user the right to read that, or try again",
            )  # fmt: skip
            continue
        yield from found
        if check is _namespace and found:
            return  # nothing can be in it


def _namespace(asked: _Asked) -> Iterator[Finding]:
    """The namespace must exist."""
    if _found(asked.core.read_namespace, asked.namespace) is None:
        yield Finding(
            "kubernetes", Severity.FATAL, f"{asked.subject.cluster_file}: service.namespace",
            f"the cluster has no namespace {asked.namespace}",
            "name the one that Kubeflow Pipelines is in, or on full Kubeflow your profile",
        )  # fmt: skip


def _account(asked: _Asked) -> Iterator[Finding]:
    """The pods' account must exist and have the rights that Kubeflow's launcher and Argo use."""
    given = asked.service.service_account
    where = f"{asked.subject.cluster_file}: service.service_account"
    for name in (given,) if given else _ACCOUNTS:
        if _found(asked.core.read_namespaced_service_account, name, asked.namespace) is not None:
            yield from _rights(asked, name, where)
            return
    yield Finding(
        "kubernetes", Severity.FATAL, where,
        f"the namespace {asked.namespace} has no account {given or ' or '.join(_ACCOUNTS)}, so no pod would start",
        "name an account that is there, or create it with the role of Kubeflow's pipeline-runner",
    )  # fmt: skip


def _rights(asked: _Asked, account: str, where: str) -> Iterator[Finding]:
    wanted = [
        ("get", "configmaps", "the launcher's settings"),
        ("patch", "pods", "the state of a step"),
    ]
    if _scheme(asked) == "minio":
        wanted.append(("get", "secrets", "the keys of the bucket"))
    for verb, resource, why in wanted:
        review = {
            "metadata": {"namespace": asked.namespace},
            "spec": {
                "user": f"system:serviceaccount:{asked.namespace}:{account}",
                "groups": ["system:serviceaccounts", f"system:serviceaccounts:{asked.namespace}"],
                "resourceAttributes": {"namespace": asked.namespace, "verb": verb, "resource": resource},
            },
        }  # fmt: skip
        answer = asked.authorization.create_namespaced_local_subject_access_review(
            asked.namespace, review, _request_timeout=_TIMEOUT
        )
        if not answer.status.allowed:
            yield Finding(
                "kubernetes", Severity.FATAL, where,
                f"the account {account} may not {verb} {resource} in {asked.namespace}: {why}",
                f"bind it to the role of Kubeflow's {_ACCOUNTS[0]}, or name another account",
            )  # fmt: skip


def _volumes(asked: _Asked) -> Iterator[Finding]:
    """Every volume claim must exist, be bound, and be writable by pods of all nodes."""
    for name in asked.subject.cluster.get("volumes") or {}:
        where = f"{asked.subject.cluster_file}: volumes.{name}"
        claim = _found(asked.core.read_namespaced_persistent_volume_claim, name, asked.namespace)
        if claim is None:
            yield Finding(
                "kubernetes", Severity.FATAL, where,
                f"the namespace {asked.namespace} has no volume claim {name}, so the pods would wait for ever",
                "create it as docs/kubeflow.md says, or name another",
            )  # fmt: skip
            continue
        modes = set(claim.spec.access_modes or ())
        if claim.status.phase == "Lost" or (
            claim.status.phase == "Pending" and not _bound_late(asked, claim)
        ):
            yield Finding(
                "kubernetes", Severity.FATAL, where,
                f"the volume claim {name} is bound to no volume ({claim.status.phase})",
                f"`kubectl describe pvc {name} --namespace {asked.namespace}` says why",
            )  # fmt: skip
        elif modes == {"ReadOnlyMany"}:
            yield Finding(
                "kubernetes", Severity.FATAL, where, f"pods can only read the volume claim {name}",
                "make it ReadWriteMany: checkpoints and models are written to it",
            )  # fmt: skip
        elif "ReadWriteMany" not in modes:
            yield Finding(
                "kubernetes", Severity.WARNING, where,
                f"pods of one node at a time can use the volume claim {name} ({', '.join(sorted(modes))})",
                "make it ReadWriteMany, unless all steps run on one node",
            )  # fmt: skip


def _bound_late(asked: _Asked, claim: Any) -> bool:
    """Whether the claim waits for its first pod, as its storage class has it."""
    import kubernetes

    if not claim.spec.storage_class_name:
        return False
    storage = kubernetes.client.StorageV1Api(asked.core.api_client)
    found = _found(storage.read_storage_class, claim.spec.storage_class_name)
    return found is not None and found.volume_binding_mode == "WaitForFirstConsumer"


def _bucket(asked: _Asked) -> Iterator[Finding]:
    """The launcher must find the keys of a minio:// root, and its server must run."""
    if _scheme(asked) != "minio":
        return
    where = f"{asked.subject.cluster_file}: pipeline_root"
    secret = _found(asked.core.read_namespaced_secret, _SECRET, asked.namespace)
    keys: Mapping[str, str] = (secret and secret.data) or {}
    if absent := [key for key in _SECRET_KEYS if not keys.get(key)]:
        yield Finding(
            "kubernetes", Severity.FATAL, where,
            f"the launcher has no keys for it: the secret {_SECRET} of {asked.namespace} lacks {' and '.join(absent)}",
            "create the secret as Kubeflow's own manifests do, or give a root with gs:// or s3://",
        )  # fmt: skip
    for namespace in dict.fromkeys((_STANDALONE, asked.namespace)):
        found = _found(asked.core.read_namespaced_endpoints, _MINIO, namespace)
        if found is not None:
            break
    else:
        return  # MinIO is elsewhere, and the launcher's settings say where
    if not any(subset.addresses for subset in found.subsets or ()):
        yield Finding(
            "kubernetes", Severity.FATAL, where, f"no pod is ready behind {_MINIO} in {namespace}",
            f"`kubectl get pods --namespace {namespace}` shows why MinIO does not run",
        )  # fmt: skip


def _nodes(asked: _Asked) -> Iterator[Finding]:
    """Some node must have what each step asks for. A cluster that adds nodes may have none of them yet."""
    nodes = [
        node
        for node in asked.core.list_node(_request_timeout=_TIMEOUT).items
        if not node.spec.unschedulable
        and any(part.type == "Ready" and part.status == "True" for part in node.status.conditions or ())
    ]
    for kind, group in (asked.subject.cluster.get("resources") or {}).items():
        try:
            resources = read_resources(kind, group or {})
        except ValueError:
            continue  # the check of the cluster file reports it
        reasons = {_why_not(resources, node) for node in nodes}
        if nodes and "" in reasons:
            continue
        yield Finding(
            "kubernetes", Severity.WARNING, f"{asked.subject.cluster_file}: resources.{kind}",
            f"none of the {len(nodes)} nodes can take the step now: {'; '.join(sorted(reasons)) or 'none is ready'}",
            "ask for less, or add such a node; if the cluster adds nodes by itself, the step waits for one",
        )  # fmt: skip


def _why_not(resources: Resources, node: Any) -> str:
    """Why a pod with these resources cannot be on a node; "" if it can."""
    labels, has = node.metadata.labels or {}, node.status.allocatable
    for label, value in resources.node_selector.items():
        if labels.get(label) != value:
            return f"no label {label}={value}"
    wanted = {"cpu": resources.cpu, "memory": resources.memory}
    if resources.accelerator:
        wanted[resources.accelerator] = str(resources.accelerator_count)
    for name, amount in wanted.items():
        if amount and _quantity(has.get(name, "0")) < _quantity(amount):
            return f"{name} {has.get(name, '0')}, and {amount} is asked for"
    for taint in node.spec.taints or ():
        # Kubernetes' admission lets pods that ask for an accelerator onto the nodes that are kept for it.
        if taint.effect in _NO_PODS and taint.key != resources.accelerator:
            return f"it is kept for others (taint {taint.key})"
    return ""


def _quantity(text: str) -> Decimal:
    from kubernetes.utils.quantity import parse_quantity

    return Decimal(parse_quantity(text))


def _scheme(asked: _Asked) -> str:
    root = asked.service.pipeline_root or str(asked.subject.cluster.get("pipeline_root") or "")
    return urlsplit(root).scheme


def _found(read: Any, *names: str) -> Any:
    """An object; None if there is no such one. Raises ApiException if that cannot be known."""
    from kubernetes.client.rest import ApiException

    try:
        return read(*names, _request_timeout=_TIMEOUT)
    except ApiException as error:
        if error.status != 404:
            raise
        return None


def _said(error: Exception) -> str:
    status = getattr(error, "status", None)
    text = f"it answers {status} {getattr(error, 'reason', '')}" if status else str(error).splitlines()[0]
    return text[:200]
