"""The clusters' own clients submit the reviewed files over real sockets, to servers that check every field.

Our `hares submit` has its own way to the same servers; here kfp's Client and Google's PipelineJob read, complete and
send the file as a user of theirs would.
"""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from kits.kfp_server import TOKEN, KfpServer, kfp
from kits.vertex_kit import vertex_fixture
from kits.vertex_server import VertexServer

pytestmark = pytest.mark.slow

__all__ = ["kfp", "vertex_fixture"]
GOLDEN = Path(__file__).with_name("golden")


class _Bucket(BaseHTTPRequestHandler):
    """Google's storage service with one bucket, which PipelineJob looks for before it submits."""

    def do_GET(self) -> None:
        there = self.path.startswith("/storage/v1/b/bucket?")
        body = b'{"kind": "storage#bucket", "name": "bucket"}' if there else b"{}"
        self.send_response(200 if there else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing on stderr."""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = HTTPServer(("127.0.0.1", 0), _Bucket)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_address[1]}")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def test_kfps_client_submits_the_yaml(kfp: KfpServer) -> None:
    from kfp.client import Client

    client = Client(host=kfp.url, existing_token=TOKEN, namespace="kubeflow")
    run = client.create_run_from_pipeline_package(
        str(GOLDEN / "kubeflow.yaml"), arguments={"baseline": ""}, run_name="golden", experiment_name="hares"
    )
    held = kfp.things["runs"][run.run_id]
    documents = list(yaml.safe_load_all((GOLDEN / "kubeflow.yaml").read_text(encoding="utf-8")))
    assert held["pipeline_spec"] == {"pipeline_spec": documents[0], "platform_spec": documents[1]}
    assert held["runtime_config"] == {"parameters": {"baseline": ""}}
    (experiment,) = kfp.things["experiments"].values()
    assert (experiment["display_name"], held["display_name"]) == ("hares", "golden")


def test_googles_client_submits_the_json(vertex: VertexServer, bucket: None) -> None:
    from google.cloud import aiplatform
    from google.oauth2.credentials import Credentials

    golden = json.loads((GOLDEN / "vertex.json").read_text(encoding="utf-8"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        aiplatform.init(
            project="hares-test", location="europe-west4", credentials=Credentials(vertex.token),
            api_endpoint=vertex.url, api_transport="rest",
        )  # fmt: skip
        try:
            job = aiplatform.PipelineJob(
                display_name="golden", template_path=str(GOLDEN / "vertex.json"), job_id="golden-1",
                parameter_values={"baseline": ""}, labels=golden["labels"],
            )  # fmt: skip
            job.submit()
        finally:
            aiplatform.init()
    held = vertex.stored["pipelineJobs"]["golden-1"]
    assert held.display_name == "golden" and dict(held.labels) == golden["labels"]
    runtime = held.runtime_config
    assert runtime.gcs_output_directory == "gs://bucket/hares"
    assert dict(runtime.parameter_values) == {**golden["runtimeConfig"]["parameterValues"], "baseline": ""}
    sent = type(held).to_dict(held)["pipeline_spec"]
    assert sent["deploymentSpec"]["executors"] == golden["pipelineSpec"]["deploymentSpec"]["executors"]
    assert sent["root"] == golden["pipelineSpec"]["root"]
    assert vertex.count("POST pipelineJobs") == 1
