"""A registry, a storage service and a token service in one server on loopback, and set-ups that are good."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

from hares.version_lines import this_lock

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
BASE = f"sha256:{'0' * 64}"  # of no image


@dataclass
class Loopback:
    """What the server holds and has been asked.

    Attributes:
        blobs: bytes by digest, manifests and configurations alike.
        tags: "name:tag" to a manifest's digest.
        wants_token: whether the registry answers 401 without its token.
        bucket_status: how the bucket answers a write.
        asked: method and path of every request.
    """

    address: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    wants_token: bool = False
    bucket_status: int = 200
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def put(self, content: object) -> str:
        data = json.dumps(content).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        return digest

    def push(self, tag: str, labels: dict[str, str], platforms: tuple[str, ...] = ()) -> None:
        """An image; with platforms, an index of images for each."""
        config = self.put({"config": {"Labels": labels}})
        manifest = self.put({"mediaType": OCI_MANIFEST, "config": {"digest": config}, "layers": []})
        if platforms:
            entries = [
                {"digest": manifest, "platform": dict(zip(("os", "architecture"), p.split("/"), strict=True))}
                for p in platforms
            ]
            manifest = self.put({"mediaType": OCI_INDEX, "manifests": entries})
        self.tags[tag] = manifest


@contextlib.contextmanager
def serving() -> Iterator[Loopback]:
    """The server, for as long as it is needed."""
    held = Loopback()

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, body: bytes = b"{}", **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def handle_one(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            held.asked.append((self.command, self.path))
            registry = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/(.+)", self.path)
            if registry and self.command == "GET":
                self.registry(*registry.groups())
            elif self.path.startswith("/registry-token?"):
                self.answer(200, json.dumps({"token": "registry-token"}).encode())
            elif self.path == "/token":
                token = {"access_token": "google-token", "expires_in": 3600, "token_type": "Bearer"}
                self.answer(200, json.dumps(token).encode(), Content_Type="application/json")
            elif self.path.startswith("/upload/storage/v1/b/bucket/o?") and self.command == "POST":
                if held.bucket_status == 200:
                    held.objects[self.path.rpartition("name=")[2]] = body
                self.answer(held.bucket_status)
            elif self.path.startswith("/storage/v1/b/bucket/o/") and self.command == "DELETE":
                held.objects.pop(self.path.rpartition("/")[2])
                self.answer(204, b"")
            else:
                self.answer(404)

        def registry(self, name: str, kind: str, reference: str) -> None:
            if held.wants_token and self.headers.get("Authorization") != "Bearer registry-token":
                where = f'Bearer realm="http://{held.address}/registry-token",service="s",scope="repository:{name}:pull"'
                self.answer(401, WWW_Authenticate=where)
                return
            digest = held.tags.get(f"{name}:{reference}", reference) if kind == "manifests" else reference
            self.answer(200, held.blobs[digest]) if digest in held.blobs else self.answer(404)

        do_GET = do_POST = do_DELETE = handle_one

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield held
    server.shutdown()
    server.server_close()


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True
    ).stdout.strip()


@dataclass
class Setup:
    """A set-up in a folder, good as it is made; tests put faults into its files.

    Attributes:
        target: "vertex" or "kubeflow".
        folder: holds `project` (a repository), `workspace`, `components`, `cluster.yaml`, `compiled.json`.
    """

    target: str
    folder: Path
    loopback: Loopback

    def cluster(self, **changes: object) -> None:
        """Writes the cluster file, with other settings than the good ones where they are given."""
        good = {
            "target": self.target,
            "image": f"{self.loopback.address}/hares/pipeline:1",
            "pipeline_root": "gs://bucket/hares",
            "workspace": str(self.folder / "workspace"),
            **({"volumes": {"data": str(self.folder)}} if self.target == "kubeflow" else {}),
        }
        (self.folder / "cluster.yaml").write_text(yaml.safe_dump({**good, **changes}))

    def compiled(
        self,
        executor: object = None,
        title: str = "components.Embeddings",
        machine: str = "",
        audio: str = "",
    ) -> None:
        """Writes a compiled pipeline of one step, as small as the schema allows; `audio` is what it would ingest."""
        properties = {"custom_config": {"runtimeValue": {"constant": machine}}} if machine else {}
        artifact = {"artifactType": {"instanceSchema": f"title: {title}\ntype: object\n"}}
        spec = {
            "pipelineInfo": {"name": "hares"},
            "components": {
                "embed": {"executorLabel": "embed", "outputDefinitions": {"artifacts": {"out": artifact}}}
            },
            "deploymentSpec": {"executors": {"embed": executor or {"container": {"image": self.image}}}},
            "root": {"dag": {"tasks": {"embed": {"inputs": {"parameters": properties}}}}},
        }
        if audio:
            sources = {"defaultValue": json.dumps({"esc50": audio}), "parameterType": "STRING"}
            spec["root"]["inputDefinitions"] = {"parameters": {"ingest_esc50_sources": sources}}
        job = {"pipelineSpec": spec} if self.target == "vertex" else spec
        (self.folder / "compiled.json").write_text(json.dumps(job))

    @property
    def image(self) -> str:
        return f"{self.loopback.address}/hares/pipeline:1"

    @property
    def lock(self) -> Path:
        return self.folder / "project" / this_lock()
