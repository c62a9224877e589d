"""Kubeflow Pipelines on a node of `node.py`, by its own manifests: what a user installs with `kubectl apply -k`.

Its source is a folder that the caller gives, since the Go module proxy has no module of its root; it is built and
read, and nothing of it lies here. Left out are the parts that no run of ours needs: the pages, the viewers, version 1's
cache and the writer of metadata for version 1.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cluster.images import PROJECT, Images
from cluster.node import Node

NAMESPACE = "kubeflow"
PROGRAMS = {
    "apiserver": "backend/src/apiserver",
    "persistence_agent": "backend/src/agent/persistence",
    "scheduledworkflow": "backend/src/crd/controller/scheduledworkflow",
    "driver": "backend/src/v2/cmd/driver",
    "launcher-v2": "backend/src/v2/cmd/launcher-v2",
}
LEFT_OUT = (
    "cache-server", "cache-deployer-deployment", "ml-pipeline-ui", "ml-pipeline-viewer-crd",
    "ml-pipeline-visualizationserver", "metadata-writer", "metadata-envoy-deployment",
)  # fmt: skip
HARES_IMAGE = "localhost/hares:test"


@dataclass(frozen=True)
class KubeflowPipelines:
    """One release.

    Attributes:
        source: its source tree.
        programs: what was built from it, and Argo's and MinIO's programs.
    """

    source: Path
    programs: Path

    @property
    def release(self) -> str:
        return (self.source / "VERSION").read_text().strip()

    @property
    def argo(self) -> str:
        """The release of Argo Workflows that it pins."""
        lines = (self.source / "go.mod").read_text().splitlines()
        (version,) = {line.split()[1] for line in lines if line.strip().startswith("github.com/argoproj/argo-workflows/")}
        return version

    def build(self) -> None:
        for name, package in PROGRAMS.items():
            subprocess.run(
                ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(self.programs / name), f"./{package}"],
                cwd=self.source, env={**os.environ, "CGO_ENABLED": "0"}, check=True,
            )  # fmt: skip

    def images(self) -> dict[str, str]:
        """The names that its manifests use, by target of the Containerfile."""
        release, argo = self.release, self.argo
        return {
            "kfp-api-server": f"ghcr.io/kubeflow/kfp-api-server:{release}",
            "kfp-persistence-agent": f"ghcr.io/kubeflow/kfp-persistence-agent:{release}",
            "kfp-scheduled-workflow-controller": f"ghcr.io/kubeflow/kfp-scheduled-workflow-controller:{release}",
            "kfp-driver": f"ghcr.io/kubeflow/kfp-driver:{release}",
            "kfp-launcher": f"ghcr.io/kubeflow/kfp-launcher:{release}",
            "workflow-controller": f"quay.io/argoproj/workflow-controller:{argo}",
            "argoexec": f"quay.io/argoproj/argoexec:{argo}",
            "minio": "gcr.io/ml-pipeline/minio:RELEASE.2019-08-14T20-37-41Z-license-compliance",
            "mysql": "gcr.io/ml-pipeline/mysql:8.0.26",
            "ml_metadata_store_server": "gcr.io/tfx-oss-public/ml_metadata_store_server:1.14.0",
        }

    def make_images(self, images: Images, node: Node) -> None:
        """Builds every image and hands it to the node."""
        for path in ("backend/src/apiserver/config",):
            shutil.copytree(self.source / path, self.programs / "apiserver-config", dirs_exist_ok=True)
        for path in ("tests/kits/grpc_store_server.py", "tests/cluster/mysql.sh", "tests/cluster/metadata_store_server"):
            shutil.copy(PROJECT / path, self.programs)
        images.python()
        if not images.has(HARES_IMAGE):
            images.of_dockerfile(HARES_IMAGE, "pipeline")
        for target, image in {"pause": "localhost/pause:1", **self.images()}.items():
            images.of_containerfile(image, PROJECT / "tests/cluster/Containerfile", target, self.programs)
            images.hand_over(image, node)
        images.hand_over(HARES_IMAGE, node)

    def install(self, node: Node, folder: Path) -> None:
        """Applies the manifests and waits until every deployment is available."""
        manifests = self.source / "manifests" / "kustomize"
        node.kubectl("apply", "--server-side", "-k", str(manifests / "cluster-scoped-resources"))
        node.apply(*(self._volume(folder, *place) for place in (("mysql-pv-claim", 999), ("minio-pvc", 1000))))
        overlay = folder / "overlay"
        overlay.mkdir(parents=True, exist_ok=True)
        patch = json.dumps([{"op": "add", "path": "/spec/replicas", "value": 0}])
        content = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "namespace": NAMESPACE,
            "resources": [os.path.relpath(manifests / "env" / "platform-agnostic", overlay)],
            "patches": [{"target": {"kind": "Deployment", "name": name}, "patch": patch} for name in LEFT_OUT],
        }  # fmt: skip
        (overlay / "kustomization.yaml").write_text(json.dumps(content))
        node.kubectl("apply", "--server-side", "-k", str(overlay))
        node.wait("Kubeflow Pipelines", lambda: self._available(node), 900)

    def _available(self, node: Node) -> bool:
        listed = json.loads(node.kubectl("get", "deployments", "--namespace", NAMESPACE, "--output", "json"))
        return all(
            deployment["status"].get("availableReplicas", 0) >= deployment["spec"]["replicas"]
            for deployment in listed["items"]
        )

    def _volume(self, folder: Path, claim: str, user: int) -> dict:
        path = folder / "volumes" / claim
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, user, user)
        return {
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": claim},
            "spec": {
                "capacity": {"storage": "20Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": str(path)},
                "claimRef": {"namespace": NAMESPACE, "name": claim},
            },
        }  # fmt: skip
