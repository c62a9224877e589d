"""Kubeflow Pipelines on a node of `node.py`, by its own manifests: what a user installs with `kubectl apply -k`.

Its source is a folder that the caller gives, since the Go module proxy has no module of its root; it is built and
read, and nothing of it lies here. Left out are the parts that no run of ours needs: the pages, the viewers, and
version 1's cache and writer of metadata. MySQL, which Debian does not package, is MariaDB.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.images import PROJECT, Images
from cluster.node import HERE, PAUSE_IMAGE, REGISTRY, Node, build

NAMESPACE = "kubeflow"
ARGO = "github.com/argoproj/argo-workflows"
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
HARES_IMAGE = f"{REGISTRY}/hares:test"
DATA_CLAIM = "hares-data"


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
        (version,) = {line.split()[1] for line in lines if line.strip().startswith(f"{ARGO}/")}
        return version

    def build(self) -> None:
        self.programs.mkdir(parents=True, exist_ok=True)
        for name, package in PROGRAMS.items():
            self._go(name, f"./{package}", cgo=name == "apiserver")  # whose SQLite is C
        self._build_argo()

    def _go(self, name: str, package: str, cgo: bool = False) -> None:
        subprocess.run(
            ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(self.programs / name), package],
            cwd=self.source, env={**os.environ, "CGO_ENABLED": str(int(cgo))}, check=True,
        )  # fmt: skip

    def _build_argo(self) -> None:
        """From a copy of its module with a file that is a link in Argo's tree: archives of modules have no links."""
        major, minor, _ = self.argo.removeprefix("v").split(".")
        name, module = f"{ARGO}/v{major}", HERE / f"argo_{major}_{minor}"
        done = subprocess.run(
            ["go", "list", "-m", "-f", "{{.Dir}}", name],
            cwd=module,
            capture_output=True,
            text=True,
            check=True,
        )
        copy, modfile = self.programs / "argo", self.programs / "argo.mod"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(done.stdout.strip(), copy)
        subprocess.run(["chmod", "-R", "u+w", copy], check=True)
        signals = copy / "workflow" / "executor" / "os-specific"
        shutil.copy(signals / "signal_darwin.go", signals / "signal_linux.go")
        for end in (".mod", ".sum"):
            shutil.copy(module / f"go{end}", modfile.with_suffix(end))
        subprocess.run(["go", "mod", "edit", f"-replace={name}={copy}", str(modfile)], check=True)
        build(module, self.programs, modfile=modfile)

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

    def make_images(self, images: Images) -> None:
        """Builds every image and sends it to the node's registry."""
        config = self.source / "backend" / "src" / "apiserver" / "config"
        shutil.copytree(config, self.programs / "apiserver-config", dirs_exist_ok=True)
        for path in ("kits/grpc_store_server.py", "cluster/mysql.sh", "cluster/metadata_store_server"):
            shutil.copy(PROJECT / "tests" / path, self.programs)
        images.python()
        images.of_dockerfile(HARES_IMAGE, "pipeline")
        for target, image in {"pause": PAUSE_IMAGE, **self.images()}.items():
            images.of_containerfile(image, PROJECT / "tests/cluster/Containerfile", target, self.programs)
            images.push(image)
        images.push(HARES_IMAGE)

    def install(self, node: Node, folder: Path) -> None:
        """Applies the manifests and waits until every deployment is available."""
        manifests = self.source / "manifests" / "kustomize"
        node.kubectl("apply", "--server-side", "-k", str(manifests / "cluster-scoped-resources"))
        (folder / "volumes" / "minio-pvc" / "minio").mkdir(parents=True, exist_ok=True)
        for name, user in (("mysql-pv-claim", 999), ("minio-pvc", 1000), (DATA_CLAIM, 1000)):
            node.apply(volume(folder / "volumes" / name, name, user))
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
        node.apply(claim(DATA_CLAIM))
        node.wait("Kubeflow Pipelines", lambda: self._available(node), 900)

    def _available(self, node: Node) -> bool:
        listed = json.loads(node.kubectl("get", "deployments", "--namespace", NAMESPACE, "--output", "json"))
        return all(
            deployment["status"].get("availableReplicas", 0) >= deployment["spec"]["replicas"]
            for deployment in listed["items"]
        )


def volume(path: Path, claim: str, user: int) -> dict[str, Any]:
    """A folder of the node, of this user, as the volume of a claim of Kubeflow's namespace."""
    path.mkdir(parents=True, exist_ok=True)
    for place in (path, *path.rglob("*")):
        os.chown(place, user, user)
    return {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": claim},
        "spec": {
            "capacity": {"storage": "20Gi"}, "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "hostPath": {"path": str(path)}, "claimRef": {"namespace": NAMESPACE, "name": claim},
        },
    }  # fmt: skip


def claim(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "20Gi"}}},
    }  # fmt: skip
