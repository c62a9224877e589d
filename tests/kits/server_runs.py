"""Real runs of `hares run` into a store on a server, watched while they run: what any user of the machine sees."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from kits.database_servers import DatabaseServer
from kits.pipeline_runs import Finished, command, environment, project

FEW = ("tasks=[birdsong]", "training.encoder=mean", "training.steps=10", "compare_untrained=false")
# An encoder that is traced in no time: these tests are about what stands around it.
MEAN = """
import tensorflow as tf
from models.encoder import Encoder, EncoderRecord

class Mean(Encoder):
    def __init__(self, seed):
        super().__init__(name="mean")
        self.dense = tf.keras.layers.Dense(8, kernel_initializer=tf.keras.initializers.GlorotUniform(seed))

    def call(self, inputs, training=False, noise=None):
        return {"embedding": self.dense(tf.reduce_mean(inputs, axis=[1, 3]))}

ENCODERS = {"mean": EncoderRecord("mean", "log_mel", 8, 80 * 8 + 8, Mean)}
"""
WITHIN = 1000  # seconds, on a machine that others keep busy


@dataclass
class WatchedRun:
    """A `hares run` that is at work.

    Attributes:
        command_lines: all that `ps` showed of any process while it was looked at.
        environments: what `ps e` shows their own user of this run's processes.
    """

    process: subprocess.Popen[str]
    workspace: Path
    output: Path
    command_lines: set[bytes] = field(default_factory=set)
    environments: set[bytes] = field(default_factory=set)

    def look(self) -> None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    self.command_lines.add((entry / "cmdline").read_bytes())
                    if os.getsid(int(entry.name)) == self.process.pid:
                        self.environments.add((entry / "environ").read_bytes())
                except OSError:  # it has ended, or is another user's
                    continue

    def finished(self) -> Finished:
        stdout, stderr = (self.output.with_suffix(end).read_text() for end in (".out", ".err"))
        assert self.process.returncode is not None
        return Finished(self.process.returncode, stdout, stderr, self.workspace)


def start_run(
    corpus: Path, workspace: Path, address: str, settings: Sequence[str], variables: Mapping[str, str]
) -> WatchedRun:
    """Starts it in a session of its own, with these environment variables besides the usual ones, and no password."""
    workspace.mkdir(parents=True, exist_ok=True)
    output = workspace.with_name(f"{workspace.name}-output-{time.monotonic_ns()}")
    plugin = workspace.with_name("mean.py")
    plugin.write_text(MEAN)
    with open(output.with_suffix(".out"), "w") as out, open(output.with_suffix(".err"), "w") as err:
        process = subprocess.Popen(
            [*command(corpus, workspace, *settings), "--metadata", address, "--plugin", str(plugin)],
            cwd=project(), stdout=out, stderr=err, text=True, start_new_session=True,
            env={**{k: v for k, v in environment(project()).items() if k != "HARES_METADATA_PASSWORD"}, **variables},
        )  # fmt: skip
    return WatchedRun(process, workspace, output)


def watch(*runs: WatchedRun) -> list[Finished]:
    """Looks at the machine's processes until all have ended."""
    deadline = time.monotonic() + WITHIN
    while any(run.process.poll() is None for run in runs):
        assert time.monotonic() < deadline, "a run does not end"
        for run in runs:
            run.look()
        time.sleep(0.3)
    return [run.finished() for run in runs]


def dump(server: DatabaseServer, password: str, database: str = "hares") -> bytes:
    """Every row of every table, by the server's own program."""
    if server.kind == "mariadb":
        program, variable = ["mariadb-dump", "--no-defaults"], "MYSQL_PWD"
    else:
        program, variable = ["pg_dump"], "PGPASSWORD"
    path = shutil.which(program[0]) or shutil.which(
        program[0], path=os.pathsep.join(map(str, Path("/usr/lib/postgresql").glob("*/bin")))
    )
    assert path is not None, f"{program[0]} is not installed beside the server"
    user = "-u" if server.kind == "mariadb" else "-U"
    port = "-P" if server.kind == "mariadb" else "-p"
    done = subprocess.run(
        [path, *program[1:], "-h", "127.0.0.1", port, str(server.port), user, "hares", database],
        env={**os.environ, variable: password}, capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout


def run_ids(store: MetadataStore, workspace: Path) -> list[str]:
    """The runs whose model lies in a workspace, in their order, by the raw API.

    Other artifacts may belong to two runs: audio that one has ingested the other may take from the cache.
    """
    found = []
    for context in sorted(store.get_contexts_by_type("pipeline_run"), key=lambda c: c.id):
        artifacts = store.get_artifacts_by_context(context.id)
        if any(a.type == "Model" and Path(a.uri).is_relative_to(workspace) for a in artifacts):
            found.append(context.name)
    return found


def made_from(store: MetadataStore, artifact_id: int) -> tuple[set[int], set[int]]:
    """Ids of the executions and artifacts that an artifact was made by and from, one event at a time."""
    steps: set[int] = set()
    artifacts: set[int] = set()
    waiting = [artifact_id]
    while waiting:
        current = waiting.pop()
        if current in artifacts:
            continue
        artifacts.add(current)
        for event in store.get_events_by_artifact_ids([current]):
            (execution,) = store.get_executions_by_id([event.execution_id])
            if event.type == pb.Event.OUTPUT and execution.last_known_state != pb.Execution.CACHED:
                steps.add(execution.id)
                read = store.get_events_by_execution_ids([execution.id])
                waiting += [e.artifact_id for e in read if e.type == pb.Event.INPUT]
    return steps, artifacts
