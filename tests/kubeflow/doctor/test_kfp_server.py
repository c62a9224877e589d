"""The doctor's look at Kubeflow's API server, on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kits.grpc_store_server import grpc_server
from kits.kfp_server import KfpServer, kfp
from kubeflow.doctor.checks.kfp_server import check_kubeflow_server
from kubeflow.doctor.checks.store import check_recorded_runs
from kubeflow.doctor.finding import Finding, Severity, Subject

__all__ = ["kfp"]
GOLDEN = Path(__file__).parents[1] / "compiled" / "golden" / "kubeflow.yaml"


def findings(host: str, **changes: Any) -> list[Finding]:
    compiled = next(yaml.safe_load_all(GOLDEN.read_text(encoding="utf-8")))
    service = {"host": host, "backoff_seconds": 0.01, **changes}
    subject = Subject("kubeflow", Path(), cluster={"service": service}, compiled=compiled)
    return list(check_kubeflow_server(subject))


@pytest.mark.parametrize("release", ["2.17.0", "2.5.0", "2.4.1", "unknown"])
def test_a_server_that_does_what_the_file_says_is_well(kfp: KfpServer, release: str) -> None:
    kfp.release = release
    assert findings(kfp.url) == []


@pytest.mark.parametrize("release", ["2.2.0", "2.4.0"])
def test_a_release_that_retries_nothing_is_named(kfp: KfpServer, release: str) -> None:
    kfp.release = release
    (found,) = findings(kfp.url)
    assert found.severity is Severity.WARNING and f"its release is {release}" in found.cause
    assert (
        list(check_kubeflow_server(Subject("kubeflow", Path(), cluster={"service": {"host": kfp.url}}))) == []
    )


def test_an_address_without_the_api_is_fatal(kfp: KfpServer) -> None:
    (found,) = findings(f"{kfp.url}/elsewhere")
    assert found.severity is Severity.FATAL and "404" in found.cause and "ends in /pipeline" in found.remedy


def test_credentials_that_are_refused_are_fatal(kfp: KfpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARES_CLUSTER_TOKEN", "yesterdays")
    (found,) = findings(kfp.url)
    assert found.severity is Severity.FATAL and "401" in found.cause and "credentials" in found.remedy


def test_no_server_is_fatal(kfp: KfpServer) -> None:
    (found,) = findings("http://127.0.0.1:9")
    assert found.severity is Severity.FATAL and "can be reached" in found.remedy
    (found,) = findings(kfp.url, project="vertex")
    assert found.severity is Severity.FATAL and "means nothing to kubeflow" in found.cause


def test_the_clusters_own_metadata_store_is_asked(tmp_path: Path) -> None:
    def found(address: str) -> list[Finding]:
        cluster = {"service": {"metadata_store": address}}
        return list(check_recorded_runs(Subject("kubeflow", tmp_path, cluster=cluster)))

    with grpc_server(tmp_path / "cluster.sqlite") as port:
        assert found(f"grpc://127.0.0.1:{port}") == []
    for address, cause in ((f"grpc://127.0.0.1:{port}", f"127.0.0.1:{port}"), ("http://h", "accepted are")):
        (finding,) = found(address)
        assert finding.severity is Severity.FATAL and cause in finding.cause


def test_without_a_service_nothing_is_asked(kfp: KfpServer) -> None:
    assert list(check_kubeflow_server(Subject("kubeflow", Path(), cluster={"image": "i"}))) == []
    assert list(check_kubeflow_server(Subject("vertex", Path(), cluster={"service": {"project": "p"}}))) == []
    assert not kfp.got
