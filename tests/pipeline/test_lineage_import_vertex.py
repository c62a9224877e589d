"""`hares metadata import --vertex` against a loopback server: complete, twice without duplicates, cut and continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1.types import execution
from ml_metadata.metadata_store import MetadataStore

from cli.commands.metadata import command as metadata_command
from cli.errors import CommandError, ExitCode
from kits.lineage_stores import StoreWriter, memory_store, open_store
from kits.vertex_metadata import ROOT, TOKEN, Service, assert_whole, serving, two_runs
from pipeline.lineage.diff import diff
from pipeline.lineage.importing.recorded import ImportFailedError
from pipeline.lineage.importing.rest import GivenToken, Patience, RestClient
from pipeline.lineage.importing.vertex import list_runs, read_run, vertex_store
from pipeline.lineage.importing.writer import Imported, imported_whole, write_run
from pipeline.lineage.runs import RunFilter, config_of, find_run
from pipeline.lineage.runs import list_runs as runs_of_store
from pipeline.lineage.targets import find_target
from pipeline.lineage.trace import trace, trace_data
from pipeline.lineage.why import why

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
PLACE = vertex_store("my-project/europe-west4")
FIRST, SECOND = "hares-20261121", "hares-20261122"
QUICK = Patience(timeout=10, attempts=3, first_wait=0.01, longest_wait=0.02)
NOTHING = Imported()


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(two_runs()) as running:
        yield running


@pytest.fixture
def client(service: Service, tmp_path: Path) -> RestClient:
    return client_of(service, tmp_path)


def client_of(service: Service, folder: Path, patience: Patience = QUICK) -> RestClient:
    file = folder / "token"
    file.write_text(f"{TOKEN}\n", encoding="utf-8")
    return RestClient(service.url, GivenToken(file), patience)


def bring(client: RestClient, store: MetadataStore, *runs: str) -> Imported:
    done = Imported()
    for run in runs:
        done += write_run(store, read_run(client, PLACE, run))
    return done


def command(workspace: Path, service: Service, *arguments: str) -> list[str]:
    return [
        sys.executable, "-m", "cli.main", "metadata", "import", "--vertex", "my-project/europe-west4",
        "--endpoint", service.url, "--workspace", str(workspace), *arguments,
    ]  # fmt: skip


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT), "VERTEX_TOKEN": TOKEN}


def importing(workspace: Path, service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(workspace, service, *arguments), env=environment(), capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


def test_two_runs_are_whole_and_a_second_import_adds_nothing(service: Service, client: RestClient) -> None:
    store = memory_store()
    assert list_runs(client, PLACE) == [FIRST, SECOND]
    first = bring(client, store, FIRST)
    assert (first.executions, first.artifacts) == (5, 6)
    assert_whole(store, service.content, FIRST)
    second = bring(client, store, SECOND)
    assert (second.executions, second.artifacts) == (5, 4), "ingestion's two artifacts were there"
    assert_whole(store, service.content, FIRST, SECOND)
    assert bring(client, store, FIRST, SECOND) == NOTHING
    assert_whole(store, service.content, FIRST, SECOND)
    assert any("pageToken" in path for path in service.requests)


def test_the_order_of_runs_does_not_matter(service: Service, client: RestClient) -> None:
    """The second run alone brings the first's report as an input; the first one completes what is known of it."""
    store = memory_store()
    bring(client, store, SECOND)
    (examples,) = store.get_artifacts_by_type("Examples")
    assert "run" not in examples.custom_properties, "it came from the cache of a run not imported yet"
    bring(client, store, FIRST)
    assert_whole(store, service.content, FIRST, SECOND)
    (examples,) = store.get_artifacts_by_type("Examples")
    assert examples.custom_properties["run"].string_value == FIRST


def test_a_run_too_large_for_one_lineage_is_asked_for_step_by_step(
    service: Service, client: RestClient
) -> None:
    service.graph_limit = 4
    store = memory_store()
    bring(client, store, FIRST, SECOND)
    assert_whole(store, service.content, FIRST, SECOND)
    assert sum("queryExecutionInputsAndOutputs" in path for path in service.requests) == 10


def test_a_run_that_goes_on_is_brought_up_to_date(service: Service, client: RestClient) -> None:
    evaluator = service.content.executions[f"{ROOT}/executions/evaluate1"]
    dag = service.content.executions[f"{ROOT}/executions/{FIRST}-dag"]
    late = [e for e in service.content.events if e.execution == evaluator.name and e.type_.name == "OUTPUT"]
    held = {e.artifact: service.content.artifacts.pop(e.artifact) for e in late}
    inside = service.content.inside[f"{ROOT}/contexts/{FIRST}"]
    service.content.events = [e for e in service.content.events if e not in late]
    inside -= set(held)
    evaluator.state = dag.state = execution.Execution.State.RUNNING
    store = memory_store()
    bring(client, store, FIRST)
    run = find_run(store, FIRST)
    assert run.facts["status"] == "running" and run.scores == {} and not imported_whole(store, FIRST)
    service.content.artifacts.update(held)
    service.content.events += late
    inside |= set(held)
    evaluator.state = dag.state = execution.Execution.State.COMPLETE
    done = bring(client, store, FIRST)
    assert (done.artifacts, done.executions, done.events) == (2, 0, 2) and done.updated == 3
    assert_whole(store, service.content, FIRST)
    run = find_run(store, FIRST)
    assert run.facts["status"] == "complete" and run.scores["hares"] == 0.25 and imported_whole(store, FIRST)


def test_imported_runs_answer_like_local_ones(client: RestClient) -> None:
    store = memory_store()
    bring(client, store, FIRST, SECOND)
    listed = list(runs_of_store(store, RunFilter(scores=("hares>0.3",), encoder="sf_nfnet_f0")))
    assert [run.run_id for run in listed] == [SECOND]
    run = find_run(store, SECOND)
    assert run.facts["target"] == "vertex" and run.facts["status"] == "complete" and run.blessed is True
    assert run.facts["start"] == "2026-11-22T08:00:00.000+00:00"
    assert run.facts["end"] == "2026-11-22T08:04:30.000+00:00"
    assert run.facts["git_revision"] == f"{2:040x}"
    assert config_of(store, run) == {
        "training": {"steps": 2000}, "frontend": {"mel_bins": 80}, "protocol": {"max_steps": 100}, "tasks": ["esc50"],
    }  # fmt: skip
    assert run.code == {"trainer": "c2", "embed_esc50": "e"}
    assert run.facts["run_key"] == "k2"
    assert {run.facts[name] for name in ("user", "preset", "lock_digest", "git_clean")} == {"unknown"}
    changed = {name: (a, b) for name, a, b in diff(store, find_run(store, FIRST), run).config or []}
    assert changed == {"training.steps": (1000, 2000)}
    assert run.scores == {"environment": 1.0, "esc50": 1.0, "hares": 0.5}
    found = why(store, run)
    assert found.blessed is True and found.reasons == ("better than chance", "better than before")
    assert found.baseline == FIRST
    steps = {step.node: step for step in found.steps}
    assert steps["ingest_esc50"].outcome == "cached" and FIRST in steps["ingest_esc50"].reasons[0]
    assert any("custom_config.training.steps changed: 1000 -> 2000" in r for r in steps["trainer"].reasons)
    traced = trace(store, find_target(store, "esc50", SECOND))
    nodes = ["trainer", "embed_esc50", "evaluator"]
    way = [("ingest_esc50", FIRST), *((n, FIRST) for n in nodes), *((n, SECOND) for n in nodes)]
    assert [(t.node, t.run_id) for t in traced.steps] == way, "the baseline's steps, and its own"
    assert [m.uri for m in traced.manifests] == ["gs://bucket/manifest"]
    assert set(trace_data(traced)["target"]) >= {"score", "value"} and traced.target.value == 1.0
    (blessing,) = [a for a in store.get_artifacts_by_type("ModelBlessing") if a.uri.endswith("2")]
    (model,) = store.get_artifacts_by_uri("gs://bucket/model2")
    assert blessing.custom_properties["current_model_id"].int_value == model.id, "our store's id"


class Cut:
    """A store whose writes end after some: every write after that raises, as a lost connection does."""

    def __init__(self, store: MetadataStore, writes: int):
        self._store, self._left = store, writes

    def __getattr__(self, name: str) -> Any:
        if name.startswith("put_"):
            if self._left == 0:
                raise ConnectionError("cut")
            self._left -= 1
        return getattr(self._store, name)


def test_an_import_cut_after_any_write_is_completed_by_the_next(service: Service, client: RestClient) -> None:
    read = [read_run(client, PLACE, run) for run in (FIRST, SECOND)]
    writes = 0
    while True:
        store = memory_store()
        try:
            for run in read:
                write_run(Cut(store, writes), run)
        except ConnectionError:
            writes += 1
        else:
            break
        assert not imported_whole(store, SECOND)
        for run in read:
            write_run(store, run)
        assert_whole(store, service.content, FIRST, SECOND)
        assert find_run(store, SECOND).scores["hares"] == 0.5 and imported_whole(store, SECOND)
    assert writes > 10


def test_a_connection_dropped_in_the_middle_is_continued(
    service: Service, client: RestClient, tmp_path: Path
) -> None:
    store = memory_store()
    bring(client, store, FIRST)
    service.drop_after = len(service.requests) + 3
    with pytest.raises(
        ImportFailedError, match=r"the connection broke .3 attempts.; the next import goes on"
    ) as failed:
        bring(client, store, SECOND)
    assert failed.value.refused
    assert_whole(store, service.content, FIRST)
    service.drop_after = -1
    bring(client, store, SECOND)
    assert_whole(store, service.content, FIRST, SECOND)


def test_what_may_pass_is_tried_again_and_the_server_s_wait_is_kept(
    service: Service, client: RestClient
) -> None:
    service.first = [500, (429, 0), 503, 502]
    assert list_runs(client_of_attempts(service, client, 5), PLACE) == [FIRST, SECOND]
    service.first = [429, 429, 429]
    with pytest.raises(ImportFailedError, match=r"429 TOLD_TO: the quota is used up.*3 attempts"):
        list_runs(client, PLACE)


def client_of_attempts(service: Service, client: RestClient, attempts: int) -> RestClient:
    return RestClient(service.url, client._tokens, Patience(10, attempts, 0.01, 0.02))


@pytest.mark.parametrize(
    ("status", "text", "refused"),
    [
        (403, "roles/aiplatform.viewer", True),
        (404, "check project, region", False),
        (302, "302 TOLD_TO: told TOLD_TO$", True),
    ],
)
def test_what_will_not_pass_is_not_tried_again(
    service: Service, client: RestClient, status: int, text: str, refused: bool
) -> None:
    service.first = [status]
    with pytest.raises(ImportFailedError, match=text) as failed:
        read_run(client, PLACE, FIRST)
    assert failed.value.refused is refused and len(service.requests) == 1 and TOKEN not in str(failed.value)


def test_an_expired_token_is_read_again(service: Service, client: RestClient, tmp_path: Path) -> None:
    service.token = "ya29.the-next-one"
    with pytest.raises(ImportFailedError, match="401 UNAUTHENTICATED: the token is not accepted"):
        list_runs(client, PLACE)
    (tmp_path / "token").write_text(service.token, encoding="utf-8")
    assert list_runs(client, PLACE) == [FIRST, SECOND]


def test_a_run_of_that_name_from_elsewhere_is_not_mixed_with_it(client: RestClient) -> None:
    writer = StoreWriter()
    writer.step(FIRST, "trainer", [], [])
    with pytest.raises(ImportFailedError, match="a run of this name that came from this machine"):
        bring(client, writer.store, FIRST)


def test_wrong_addresses_and_tokens_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("my-project", "a/b/c/d", "a//b", "my project/europe-west4"):
        with pytest.raises(ImportFailedError, match="expected PROJECT/REGION"):
            vertex_store(text)
    assert vertex_store("p/r/other").name == "projects/p/locations/r/metadataStores/other"
    monkeypatch.setenv("SOME_TOKEN", "t")
    token = GivenToken(variable="SOME_TOKEN")
    with pytest.raises(ImportFailedError, match="not sent unencrypted"):
        RestClient("http://metadata.example", token, QUICK)
    with pytest.raises(ImportFailedError, match="expected https://"):
        RestClient("https://user:canary@metadata.example", token, QUICK)
    with pytest.raises(ImportFailedError, match="NO_TOKEN: the environment variable is not set"):
        GivenToken(variable="NO_TOKEN")
    with pytest.raises(ImportFailedError, match="No such file"):
        GivenToken(tmp_path / "nowhere")


def test_an_answer_that_is_none_of_the_service(service: Service, client: RestClient) -> None:
    service.first = [200]
    service.content.contexts[f"{ROOT}/contexts/{FIRST}"].schema_title = "system.Experiment"
    assert list_runs(client, PLACE) == [], "an error body has no contexts"
    with pytest.raises(ImportFailedError, match=r"not a system\.PipelineRun"):
        read_run(client, PLACE, FIRST)


def test_the_command_killed_and_run_again(service: Service, tmp_path: Path) -> None:
    """`--all` is killed with -9 between two runs; again, it brings the second and does not ask for the first."""
    service.hold_after = 16
    process = subprocess.Popen(
        command(tmp_path, service, "--all", "--token-env", "VERTEX_TOKEN"), env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert service.held.wait(60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert_whole(open_store(tmp_path / "metadata.sqlite"), service.content, FIRST)
    service.hold_after, before = -1, len(service.requests)
    done = importing(tmp_path, service, "--all", "--token-env", "VERTEX_TOKEN", "--json")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert list(json.loads(done.stdout)) == [SECOND]
    assert not any(FIRST in path for path in service.requests[before:] if "ContextLineage" in path)
    assert_whole(open_store(tmp_path / "metadata.sqlite"), service.content, FIRST, SECOND)
    assert TOKEN.encode() not in (tmp_path / "metadata.sqlite").read_bytes()


def test_the_importer_killed_while_it_writes(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "metadata.sqlite"
    script = (
        "import os, sys; sys.path[:0] = sys.argv[3:];"
        "from pathlib import Path; from test_lineage_import_vertex import *;"
        "from types import SimpleNamespace as N; from kits.lineage_stores import create_store;"
        "Cut.__getattr__ = lambda s, name: os.kill(os.getpid(), 9) if name == 'put_lineage_subgraph'"
        " else getattr(s._store, name);"
        "client = client_of(N(url=sys.argv[1]), Path(sys.argv[2]));"
        f"bring(client, Cut(create_store(Path(sys.argv[2]) / 'metadata.sqlite'), 0), '{FIRST}')"
    )
    here = Path(__file__).parent
    killed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, service.url, str(tmp_path), str(here), str(here.parent)],
        env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    store = open_store(file)
    assert len(store.get_artifacts()) == 6 and store.get_executions() == []
    bring(client_of(service, tmp_path), store, FIRST)
    assert_whole(store, service.content, FIRST)


def test_the_command_s_refusals_are_one_line_and_an_exit_code(service: Service, tmp_path: Path) -> None:
    service.token = "another"
    done = importing(tmp_path, service, "--run", FIRST, "--token-env", "VERTEX_TOKEN")
    assert done.returncode == 8 and "401" in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert TOKEN not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--run", "hares-1999", "--attempts", "1"), ExitCode.DATA, "404 NOT_FOUND"),
        (("--run", FIRST, "--all"), ExitCode.SETTINGS, "give one of --run RUN and --all"),
        ((), ExitCode.SETTINGS, "give one of --run RUN and --all"),
        (("--all", "--kubeflow", "."), ExitCode.SETTINGS, "give one of --vertex and --kubeflow"),
        (("--all", "--token-file", "f"), ExitCode.SETTINGS, "give one of --token-file and --token-env"),
    ],
)
def test_wrong_options(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...], code: ExitCode, text: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("VERTEX_TOKEN", TOKEN)
    words = [*command(tmp_path, service, "--token-env", "VERTEX_TOKEN", *arguments)[4:]]
    with pytest.raises(CommandError, match=text) as failed:
        metadata_command.main(words, standalone_mode=False)
    assert failed.value.code == code


def test_the_documented_commands_do_what_they_say(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As they stand in the docs, with the server's address and a token beside."""
    monkeypatch.setenv("VERTEX_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    text = (PROJECT / "docs" / "metadata.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("hares metadata import --vertex")]
    for line, runs in zip(lines, ([FIRST], [SECOND]), strict=True):
        words = line.removeprefix("hares metadata ").split()
        words += ["--endpoint", service.url, "--token-env", "VERTEX_TOKEN", "--json"]
        metadata_command.main(words, standalone_mode=False)
        assert list(json.loads(capsys.readouterr().out)) == runs
    assert_whole(open_store(tmp_path / "W" / "metadata.sqlite"), service.content, FIRST, SECOND)
