"""How long `hares lineage` takes on a store of many runs, and how that grows.

    python -m benchmarks.lineage [--runs 100,1000,10000] [--folder DIR]
    python -m benchmarks.lineage --folder DIR --metadata mysql://hares@127.0.0.1:3306/empty

Writes stores through the ML Metadata API, each run with the 31 steps of a full pipeline (12 tasks): a new seed trains,
embeds and scores again, all before the trainer comes from the cache; every hundredth run the corpus has changed and
all runs anew. Then each command is called as a person calls it, in a process of its own, imports included. Prints a
line a command and size: seconds (the median of three calls), processor seconds of the process (which a busy machine
changes less), and its highest memory.

With --folder the stores are kept there, and used again by a later call. With --metadata one empty store on a server
grows from size to size (the password from the environment variable HARES_METADATA_PASSWORD); one that an earlier call
with the same --folder filled to a size is measured at that size.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ml_metadata.metadata_store import ListOptions, MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from hares.task import task_names
from pipeline.lineage.connection import StoreAddress, sqlite_config, store_address
from pipeline.lineage.graph import NODE, RUN
from pipeline.lineage.record import RUN_TYPE, properties_of_facts
from pipeline.workspace import Workspace

REPEATS = 3
CORPUS_CHANGES_EVERY = 100
COMMANDS = {
    "trace hares": ("trace", "hares"),
    "trace esc50, oldest run": ("trace", "esc50", "--run", "run-000000"),
    "why": ("why",),
    "why, oldest run": ("why", "run-000000"),
    "runs, score": ("runs", "--score", "hares>0.5"),
    "runs, score and date": ("runs", "--score", "hares>0.5", "--encoder", "sf_nfnet_f0", "--since", "1d"),
    "runs, score of none": ("runs", "--score", "hares>0.6999"),
    "runs, all as JSON": ("runs", "--limit", "100000", "--json"),
    "impact of a schema, 100 runs": ("impact", "27", "--json"),
}
Made = dict[str, int]  # output name to artifact id


@dataclass
class RunWriter:
    """Writes one run after the other. Ids are foreseen, since TFX ends an artifact's URI with its execution's."""

    store: MetadataStore
    root: Path
    types: dict[str, int] = field(default_factory=dict)
    contexts: dict[str, int] = field(default_factory=dict)
    shared: dict[str, Made] = field(default_factory=dict)
    executions: int = 0
    artifacts: int = 0

    def write(self, number: int) -> None:
        """One run with all its steps, in two calls."""
        run = _Run(self, _run_id(number), 0.3 + 0.4 * (number * 7919 % 1000) / 1000, number)
        reuse = number % CORPUS_CHANGES_EVERY != 0
        for node in (*(f"ingest_{task}" for task in task_names()), "ingest_pretraining"):
            run.step(node, [], {"examples": "Examples", "manifest": "components.AudioManifest"}, reuse)
        source = [run.made["ingest_pretraining"]["examples"]]
        run.step("schema", [], {"schema": "Schema"}, reuse)
        run.step("statistics", source, {"statistics": "ExampleStatistics"}, reuse)
        graph = {"transform_graph": "TransformGraph", "transformed_examples": "Examples"}
        run.step("transform", [*source, *run.made["schema"].values()], graph, reuse)
        self.shared = dict(run.made)
        run.step("trainer", [*run.made["transform"].values()], {"model": "Model", "model_run": "ModelRun"})
        model = run.made["trainer"]["model"]
        for task in task_names():
            inputs = [run.made[f"ingest_{task}"]["examples"], *run.made["trainer"].values()]
            run.step(f"embed_{task}", inputs, {"embeddings": "components.Embeddings"})
        inputs = [model]
        for task in task_names():
            inputs += [*run.made[f"embed_{task}"].values(), *run.made[f"ingest_{task}"].values()]
        run.step(
            "evaluator", inputs, {"report": "components.ProbeReport", "blessing_artifact": "ModelBlessing"}
        )
        run.step(
            "pusher", [model, run.made["evaluator"]["blessing_artifact"]], {"pushed_model": "PushedModel"}
        )
        run.put()

    def type_id(self, put: str, kind: type, name: str) -> int:
        if name not in self.types:
            self.types[name] = getattr(self.store, put)(kind(name=name), can_add_fields=True)
        return self.types[name]

    def context(self, kind: str, name: str, properties: dict[str, str | int | float]) -> int:
        if name not in self.contexts:
            context = pb.Context(type_id=self.type_id("put_context_type", pb.ContextType, kind), name=name)
            _fill(context, properties)
            (self.contexts[name],) = self.store.put_contexts([context])
        return self.contexts[name]


@dataclass
class _Run:
    writer: RunWriter
    run_id: str
    hares: float
    seed: int
    made: dict[str, Made] = field(default_factory=dict)
    executions: list[pb.Execution] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)
    artifacts: list[pb.Artifact] = field(default_factory=list)
    edges: list[tuple[int, int | None, pb.Event]] = field(default_factory=list)

    def step(self, node: str, inputs: Sequence[int], outputs: dict[str, str], reuse: bool = False) -> None:
        writer = self.writer
        index, first = len(self.executions), writer.artifacts + 1
        execution_id = writer.executions + index + 1
        execution = pb.Execution(
            type_id=writer.type_id("put_execution_type", pb.ExecutionType, f"type.{node.split('_')[0]}"),
            last_known_state=pb.Execution.CACHED if reuse else pb.Execution.COMPLETE,
        )
        own = {RUN: self.run_id, NODE: node}
        _fill(execution, {"code_digest": "c" * 64, "custom_config": json.dumps({"seed": self.seed}), **own})
        self.executions.append(execution)
        self.nodes.append(node)
        self.edges += [self._edge(index, pb.Event.INPUT, f"input_{n}", i) for n, i in enumerate(inputs)]
        if reuse:
            self.made[node] = writer.shared[node]
        else:
            self.made[node] = {key: first + len(self.artifacts) + n for n, key in enumerate(outputs)}
            for key, kind in outputs.items():
                self.artifacts.append(self._artifact(kind, writer.root / node / key / str(execution_id)))
        self.edges += [self._edge(index, pb.Event.OUTPUT, key, i) for key, i in self.made[node].items()]

    def put(self) -> None:
        writer, store = self.writer, self.writer.store
        scores = {f"score/{name}": self.hares for name in (*task_names(), "hares")}
        facts = {
            "status": "complete",
            **dict.fromkeys(("run_key", "lock_digest", "config_digest", "weights_digest"), "d" * 64),
            "start": "2026-11-24T10:00:00.000+00:00", "end": "2026-11-24T11:00:00.000+00:00",
            "git_revision": "a" * 40, "git_clean": "yes", "user": "someone", "target": "local", "preset": "small",
            "encoder": "sf_nfnet_f0", "objective": "simclr", "blessed": 1, "pipeline": "benchmark",
            "code": json.dumps(dict.fromkeys(("trainer", "embedder", "evaluator", "transform"), "c" * 64)),
        }  # fmt: skip
        run = writer.context(RUN_TYPE, self.run_id, properties_of_facts({**facts, **scores}))
        pipeline = writer.context("pipeline", "benchmark", {})
        executions, artifacts, _ = store.put_lineage_subgraph(self.executions, self.artifacts, [], self.edges)
        if executions[0] != writer.executions + 1 or artifacts[0] != writer.artifacts + 1:
            raise RuntimeError("the store gave other ids than were foreseen; is someone else writing to it?")
        writer.executions, writer.artifacts = executions[-1], artifacts[-1]
        associations = [
            pb.Association(execution_id=execution, context_id=context)
            for execution, node in zip(executions, self.nodes, strict=True)
            for context in (run, pipeline, writer.context("node", f"benchmark.{node}", {}))
        ]
        attributions = [
            pb.Attribution(artifact_id=i, context_id=run)
            for made in self.made.values()
            for i in made.values()
        ]
        store.put_attributions_and_associations(attributions, associations)

    def _edge(self, step: int, kind: int, key: str, artifact_id: int) -> tuple[int, int | None, pb.Event]:
        """An event by the artifact's place among the new ones, or by id for one that is in the store already."""
        event = pb.Event(type=kind)
        event.path.steps.add().key = key
        index = artifact_id - self.writer.artifacts - 1
        if index >= 0:
            return step, index, event
        event.artifact_id = artifact_id
        return step, None, event

    def _artifact(self, kind: str, folder: Path) -> pb.Artifact:
        type_id = self.writer.type_id("put_artifact_type", pb.ArtifactType, kind)
        artifact = pb.Artifact(type_id=type_id, uri=str(folder), state=pb.Artifact.LIVE)
        _fill(artifact, {"content_digest": "e" * 64, "run": self.run_id, "node": folder.parts[-3]})
        if kind == "components.AudioManifest":
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "manifest.json").write_text(
                json.dumps({"sources": {"esc50": "/data"}}), encoding="utf-8"
            )
            line = {"clip_id": "a.wav", "source": "esc50", "path": "a.wav", "sha256": "f" * 64, "labels": [0]}
            (folder / "clips-test-00000-of-00001.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
        elif kind == "components.ProbeReport":
            ends = ("score", "low", "high", "chance", "untrained")
            _fill(artifact, {f"{task}/{end}": self.hares for task in task_names() for end in ends})
            _fill(artifact, {"hares": self.hares, "encoder": "sf_nfnet_f0"})
        elif kind == "ModelBlessing":
            _fill(artifact, {"blessed": 1, "reasons": "passed: HARES 0.5000, threshold 0.3000"})
        return artifact


def _run_id(number: int) -> str:
    return f"run-{number:06d}"


def _fill(node: pb.Artifact | pb.Execution | pb.Context, properties: dict[str, str | int | float]) -> None:
    for name, value in properties.items():
        kind = {str: "string_value", int: "int_value", float: "double_value"}[type(value)]
        setattr(node.custom_properties[name], kind, value)


def make_file(workspace: Workspace, address: StoreAddress, runs: int) -> None:
    """A SQLite store of that many runs; one that is there already is taken as it is."""
    assert address.file is not None
    if address.file.is_file():
        return
    address.file.parent.mkdir(parents=True)
    part = address.file.with_suffix(".part")
    fill(RunWriter(MetadataStore(sqlite_config(part)), workspace.root), 0, runs)
    part.rename(address.file)


def fill(writer: RunWriter, first: int, runs: int) -> None:
    """Writes runs from number `first` on, so that there are `runs` of them."""
    for number in range(first, runs):
        writer.write(number)


def has_runs(store: MetadataStore, runs: int) -> bool:
    """Whether an earlier call filled this store to that size."""
    last, next_one = (store.get_context_by_type_and_name(RUN_TYPE, _run_id(n)) for n in (runs - 1, runs))
    return last is not None and next_one is None


def measure(options: Sequence[str]) -> tuple[float, float, int]:
    """Median seconds, lowest seconds of processor time, highest memory in MB of `hares lineage` in its own process."""
    script = (
        "import resource, sys\nfrom cli.main import main\ntry:\n    main()\nfinally:\n"
        "    used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "    print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)"
    )
    seconds, processor, memory = [], [], 0
    for _ in range(REPEATS):
        began = time.perf_counter()
        command = [sys.executable, "-c", script, "lineage", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - began)
        *_, used, kilobytes = done.stderr.split()
        processor.append(float(used))
        memory = max(memory, int(kilobytes) // 1024)
    return statistics.median(seconds), min(processor), memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", default="100,1000,10000", help="Sizes of the stores.")
    parser.add_argument("--folder", type=Path, help="Where the stores are kept; else they are removed.")
    parser.add_argument("--metadata", default="", help="An empty store on a server, by address.")
    options = parser.parse_args()
    sizes = sorted(map(int, options.runs.split(",")))
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        print(f"{'command':<30}{'runs':>8}{'seconds':>9}{'cpu':>6}{'MB':>6}")
        if options.metadata:
            _measure_server(store_address(options.metadata, Path()), options.metadata, folder, sizes)
            return
        for runs in sizes:
            workspace = Workspace(folder / str(runs))
            address = store_address("", workspace.store)
            began = time.perf_counter()
            make_file(workspace, address, runs)
            _measure_all(workspace, "", runs, address.shown, time.perf_counter() - began)


def _measure_server(address: StoreAddress, text: str, folder: Path, sizes: Sequence[int]) -> None:
    workspace, store, written = Workspace(folder / "server"), address.open(), 0
    filled = next((runs for runs in sizes if has_runs(store, runs)), None)
    if filled is not None:
        _measure_all(workspace, text, filled, address.shown, 0)
        return
    if store.get_executions(ListOptions(limit=1)):
        raise SystemExit(
            f"{address.shown}: the store is neither empty nor filled by this benchmark to {sizes} runs"
        )
    writer = RunWriter(store, workspace.root)
    for runs in sizes:
        began = time.perf_counter()
        fill(writer, written, runs)
        written = runs
        _measure_all(workspace, text, runs, address.shown, time.perf_counter() - began)


def _measure_all(workspace: Workspace, metadata: str, runs: int, shown: str, seconds: float) -> None:
    print(f"# {runs} runs in {shown}, {seconds:.0f} s", flush=True)
    place = ["--workspace", str(workspace.folder), "--metadata", metadata]
    for name, arguments in COMMANDS.items():
        wall, processor, memory = measure([*arguments, *place])
        print(f"{name:<30}{runs:>8}{wall:>9.2f}{processor:>6.2f}{memory:>6}", flush=True)


if __name__ == "__main__":
    main()
