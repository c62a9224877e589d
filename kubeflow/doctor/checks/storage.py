"""Whether workspace and pipeline root can be written: a small file is written and removed."""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

import requests

from kubeflow.doctor.credentials import NoCredentialsError, require_token
from kubeflow.doctor.finding import Finding, Severity, Subject
from pipeline.hosts import service_address, without_user
from pipeline.http import NO_CREDENTIAL, Client, Credential

# Google's own clients read it too: the address of a server in place of the storage service.
_ENDPOINT_VARIABLE = "STORAGE_EMULATOR_HOST"
_ENDPOINT = "https://storage.googleapis.com"
_TIMEOUT = 10.0  # seconds
_ROLE = "give the service account the role Storage Object User on the bucket"


def check_workspace(subject: Subject) -> Iterator[Finding]:
    """The workspace on this machine can be written; it need not exist yet."""
    folder = subject.workspace.absolute()
    if subject.cluster and not subject.metadata and not folder.is_dir():
        yield Finding(
            "storage", Severity.WARNING, f"{subject.cluster_file}: workspace {subject.workspace}",
            "this folder does not exist here: baseline and warm start would be looked up in an empty metadata store",
            "mount it on this machine too or name the store with --metadata; for a first run, create the folder",
        )  # fmt: skip
        return
    there = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    yield from _local(there, f"--workspace {subject.workspace}")


def check_mounted(subject: Subject) -> Iterator[Finding]:
    """On Kubeflow, the workspace and the audio lie on a volume that the steps mount."""
    volumes = subject.cluster.get("volumes") or {}
    if subject.target != "kubeflow" or not subject.cluster or not isinstance(volumes, Mapping):
        return
    mounted = [Path(str(path)) for path in volumes.values()]
    places = {f"{subject.cluster_file}: workspace": str(subject.cluster.get("workspace") or "")}
    parameters = subject.compiled.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
    for name, content in parameters.items():
        if name.endswith("_sources"):
            for source, folder in json.loads(content.get("defaultValue") or "{}").items():
                places[f"{subject.compiled_file}: {name}, {source}"] = folder
    for where, place in places.items():
        if Path(place).is_absolute() and not any(Path(place).is_relative_to(path) for path in mounted):
            yield Finding(
                "storage", Severity.FATAL, where, f"{place} lies on no volume, so it ends with each step's pod",
                "mount the volume that holds it, in the cluster file's `volumes`",
            )  # fmt: skip


def check_pipeline_root(subject: Subject) -> Iterator[Finding]:
    """The pipeline root can be written. The check of the cluster file reports one that is in no bucket."""
    root = str(subject.cluster.get("pipeline_root") or "")
    where = f"{subject.cluster_file}: pipeline_root {without_user(root)}"
    scheme = urlsplit(root).scheme
    if scheme == "gs":
        yield from _bucket(root, where, subject.target)
    elif scheme in ("s3", "minio"):
        yield Finding(
            "storage", Severity.WARNING, where, f"it cannot be known from here whether {scheme}:// can be written",
            "the first step of a run will show it; its pod uses the cluster's own credentials",
        )  # fmt: skip


def _local(folder: Path, where: str) -> Iterator[Finding]:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".hares-doctor-") as file:
            file.write(b"hares doctor\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield Finding(
            "storage", Severity.FATAL, where, f"{folder} cannot be written: {error.strerror}",
            "give a folder that this user may write, on a disk with space",
        )  # fmt: skip


def _bucket(root: str, where: str, target: str) -> Iterator[Finding]:
    parts = urlsplit(root)
    name = f"{parts.path.strip('/')}/.hares-doctor-{uuid.uuid4().hex}".lstrip("/")
    emulator = os.environ.get(_ENDPOINT_VARIABLE, "")
    client = Client(_TIMEOUT)
    try:
        base = service_address(emulator or _ENDPOINT, _ENDPOINT_VARIABLE)
        credential = NO_CREDENTIAL if emulator else Credential.bearer(require_token(), base)
        bucket, file = quote(parts.netloc, safe=""), quote(name, safe="")
        written = client.send(
            "POST", f"{base}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={file}",
            credential, headers={"Content-Type": "text/plain"}, data=b"hares doctor\n",
        )  # fmt: skip
        if written.status == 200:
            removed = client.send("DELETE", f"{base}/storage/v1/b/{bucket}/o/{file}", credential)
            if removed.status not in (200, 204):
                yield Finding(
                    "storage", Severity.WARNING, where, f"it can be written, but not cleaned up ({removed.status})",
                    f"{_ROLE}, or remove gs://{parts.netloc}/{name} by hand",
                )  # fmt: skip
            return
    except NoCredentialsError as error:
        # On Vertex nothing works without credentials, and their own check reports it.
        if target != "vertex":
            yield Finding(
                "storage", Severity.WARNING, where, f"it is unknown whether it can be written: {error}",
                "log in with `gcloud auth application-default login`; the pods have credentials of their own",
            )  # fmt: skip
        return
    except (requests.RequestException, ValueError) as error:
        yield Finding(
            "storage", Severity.WARNING, where, f"the storage service does not answer: {str(error)[:200]}",
            "check this machine's network and try again",
        )  # fmt: skip
        return
    cause, remedy = {
        401: ("the credentials are refused", "log in again with `gcloud auth application-default login`"),
        403: ("these credentials may not write it", _ROLE),
        404: (
            "there is no such bucket",
            f"create it with `gcloud storage buckets create gs://{parts.netloc}`",
        ),
    }.get(
        written.status,
        (f"the storage service answers {written.status}", "try again; its status page may say more"),
    )
    yield Finding("storage", Severity.FATAL, where, cause, remedy)
