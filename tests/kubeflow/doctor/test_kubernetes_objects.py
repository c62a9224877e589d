"""The doctor's questions to Kubernetes, against a server that answers as kube-apiserver 1.32 does.

The objects are those of a real cluster, reduced to what is read; `tests/cluster` plants the same faults in a real one.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kubeflow.doctor.checks.kubernetes_objects import check_kubernetes_objects
from kubeflow.doctor.finding import Finding, Severity, Subject

Objects = dict[str, Any]
SPACE = "/api/v1/namespaces/kubeflow"
RUNNER = "system:serviceaccount:kubeflow:pipeline-runner"
CLAIM = f"{SPACE}/persistentvolumeclaims/hares-data"
OBJECTS: Objects = {
    "/api/v1/": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
    SPACE: {"kind": "Namespace", "metadata": {"name": "kubeflow"}, "status": {"phase": "Active"}},
    f"{SPACE}/serviceaccounts/pipeline-runner": {
        "kind": "ServiceAccount",
        "metadata": {"name": "pipeline-runner"},
    },
    CLAIM: {
        "kind": "PersistentVolumeClaim", "metadata": {"name": "hares-data"},
        "spec": {"accessModes": ["ReadWriteMany"], "volumeName": "hares-data", "storageClassName": ""},
        "status": {"phase": "Bound"},
    },
    f"{SPACE}/secrets/mlpipeline-minio-artifact": {
        "kind": "Secret", "data": {"accesskey": "bWluaW8=", "secretkey": "bWluaW8xMjM="},
    },
    f"{SPACE}/endpoints/minio-service": {
        "kind": "Endpoints", "subsets": [{"addresses": [{"ip": "10.98.0.7"}], "ports": [{"port": 9000}]}],
    },
    "/api/v1/nodes": {"kind": "NodeList", "items": [{
        "metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "n1"}}, "spec": {},
        "status": {
            "allocatable": {"cpu": "2", "memory": "24605364Ki"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }]},
    "/apis/storage.k8s.io/v1/storageclasses/late": {
        "kind": "StorageClass", "provisioner": "p", "volumeBindingMode": "WaitForFirstConsumer",
    },
}  # fmt: skip


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[Objects]:
    """What the server holds, by path; "rights" are those of each account, and "refused" paths end with 403."""
    held: Objects = {**copy.deepcopy(OBJECTS), "rights": {RUNNER}, "refused": set()}

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            if self.path in held["refused"]:
                return self.answer(403, {"kind": "Status", "reason": "Forbidden", "code": 403})
            if self.path not in held:
                return self.answer(404, {"kind": "Status", "reason": "NotFound", "code": 404})
            self.answer(200, held[self.path])

        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/apis/authorization.k8s.io/v1/namespaces/kubeflow/localsubjectaccessreviews"
            self.answer(201, {**review, "status": {"allowed": review["spec"]["user"] in held["rights"]}})

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    held["kubeconfig"] = tmp_path / "kubeconfig"
    held["kubeconfig"].write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }))  # fmt: skip
    yield held
    server.shutdown()
    server.server_close()


def findings(objects: Objects, service: dict[str, Any] | None = None, **cluster: Any) -> list[Finding]:
    content = {
        "pipeline_root": "minio://mlpipeline/hares",
        "volumes": {"hares-data": "/mnt"},
        "resources": {"trainer": {"cpu": "2", "memory": "16Gi"}},
        "service": {
            "host": "http://127.0.0.1:8888",
            "kubeconfig": str(objects["kubeconfig"]),
            **(service or {}),
        },
        **cluster,
    }
    return list(check_kubernetes_objects(Subject("kubeflow", Path(), cluster=content, cluster_file="c.yaml")))


def test_a_cluster_that_has_all_is_well(objects: Objects) -> None:
    assert findings(objects) == []


FAULTS: dict[str, tuple[Callable[[Objects], object], dict[str, Any], Severity, str]] = {
    "namespace": (lambda held: held.pop(SPACE), {}, Severity.FATAL, "no namespace kubeflow"),
    "account": (
        lambda held: held.pop(f"{SPACE}/serviceaccounts/pipeline-runner"), {}, Severity.FATAL,
        "no account pipeline-runner or default-editor",
    ),
    "another account": (
        lambda held: None, {"service": {"service_account": "trainer"}}, Severity.FATAL, "no account trainer",
    ),
    "claim": (lambda held: held.pop(CLAIM), {}, Severity.FATAL, "no volume claim hares-data"),
    "unbound claim": (
        lambda held: held[CLAIM]["status"].update(phase="Pending"), {}, Severity.FATAL, "(Pending)",
    ),
    "lost claim": (lambda held: held[CLAIM]["status"].update(phase="Lost"), {}, Severity.FATAL, "(Lost)"),
    "read-only claim": (
        lambda held: held[CLAIM]["spec"].update(accessModes=["ReadOnlyMany"]), {}, Severity.FATAL, "only read",
    ),
    "claim of one node": (
        lambda held: held[CLAIM]["spec"].update(accessModes=["ReadWriteOnce"]), {}, Severity.WARNING, "one node",
    ),
    "secret": (
        lambda held: held.pop(f"{SPACE}/secrets/mlpipeline-minio-artifact"), {}, Severity.FATAL,
        "lacks accesskey and secretkey",
    ),
    "half a secret": (
        lambda held: held[f"{SPACE}/secrets/mlpipeline-minio-artifact"]["data"].pop("secretkey"), {},
        Severity.FATAL, "lacks secretkey",
    ),
    "bucket's server": (
        lambda held: held[f"{SPACE}/endpoints/minio-service"].pop("subsets"), {}, Severity.FATAL,
        "no pod is ready behind minio-service",
    ),
    "cores": (lambda held: None, {"resources": {"embed": {"cpu": "3"}}}, Severity.WARNING, "cpu 2, and 3"),
    "memory": (
        lambda held: None, {"resources": {"embed": {"memory": "32Gi"}}}, Severity.WARNING, "and 32Gi is asked for",
    ),
    "accelerator": (
        lambda held: None, {"resources": {"trainer": {"accelerator": "nvidia.com/gpu", "accelerator_count": 1}}},
        Severity.WARNING, "nvidia.com/gpu 0, and 1",
    ),
    "node selector": (
        lambda held: None, {"resources": {"trainer": {"node_selector": {"pool": "gpu"}}}}, Severity.WARNING,
        "no label pool=gpu",
    ),
    "taint": (
        lambda held: held["/api/v1/nodes"]["items"][0]["spec"].update(
            taints=[{"key": "dedicated", "effect": "NoSchedule"}]
        ), {}, Severity.WARNING, "taint dedicated",
    ),
    "no ready node": (
        lambda held: held["/api/v1/nodes"]["items"][0]["status"]["conditions"][0].update(status="Unknown"), {},
        Severity.WARNING, "none of the 0 nodes",
    ),
    "a right of ours": (
        lambda held: held["refused"].add("/api/v1/nodes"), {}, Severity.WARNING, "It is unknown here: it answers 403",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named(objects: Objects, fault: str) -> None:
    plant, changes, severity, cause = FAULTS[fault]
    plant(objects)
    (found,) = findings(objects, **changes)
    assert found.severity is severity and cause in found.cause


def test_an_account_without_rights(objects: Objects) -> None:
    objects["rights"].clear()
    found = findings(objects)
    assert [finding.severity for finding in found] == [Severity.FATAL] * 3
    assert all("pipeline-runner may not" in finding.cause for finding in found)
    assert len(findings(objects, pipeline_root="gs://bucket/hares")) == 2  # the keys of MinIO are not read


def test_a_claim_that_waits_for_its_first_pod_is_well(objects: Objects) -> None:
    objects[CLAIM]["status"]["phase"] = "Pending"
    objects[CLAIM]["spec"]["storageClassName"] = "late"
    assert findings(objects) == []
    del objects["/apis/storage.k8s.io/v1/storageclasses/late"]
    assert len(findings(objects)) == 1


def test_a_node_kept_for_the_accelerator_takes_its_step(objects: Objects) -> None:
    (node,) = objects["/api/v1/nodes"]["items"]
    node["spec"]["taints"] = [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]
    node["status"]["allocatable"]["nvidia.com/gpu"] = "1"
    gpu = {"trainer": {"accelerator": "nvidia.com/gpu", "accelerator_count": 1}}
    assert findings(objects, resources=gpu) == []


@pytest.mark.parametrize("content", [None, "not: a kubeconfig", "{", "[]", "5", "clusters: 3", "unreachable"])
def test_a_kubeconfig_that_opens_nothing_is_fatal(objects: Objects, content: str | None) -> None:
    path = objects["kubeconfig"]
    if content is None:
        path.unlink()
    elif content == "unreachable":
        path.write_text(
            path.read_text().replace("http://127.0.0.1:", "http://127.0.0.1:9/")
        )  # nobody answers there
    else:
        path.write_text(content)
    (found,) = findings(objects)
    assert found.severity is Severity.FATAL and "Kubernetes cannot be asked" in found.cause


def test_without_a_kubeconfig_nothing_is_asked(objects: Objects) -> None:
    assert findings(objects, service={"kubeconfig": ""}) == []
