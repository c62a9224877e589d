"""`hares workspace gc`: random stores and folders, what may go and what never may, and being stopped half way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from kits.lineage_stores import RUNNING, StoreWriter
from pipeline.gc import Garbage, find_garbage, remove
from pipeline.keeping import Keeping
from pipeline.lineage.connection import sqlite_config
from pipeline.workspace import CHECKPOINT_DATA, Workspace

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
NOW = 2e9
NODES = ("ingest_esc50", "transform", "trainer", "evaluator")


@dataclass
class Planted:
    """A workspace with what it must keep, and what must go."""

    workspace: Workspace
    writer: StoreWriter = field(default_factory=StoreWriter)
    kept: list[Path] = field(default_factory=list)
    orphans: list[Path] = field(default_factory=list)

    def write(self, *parts: str, content: str = "x") -> Path:
        path = self.workspace.folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def output(self, node: str, name: str, number: int, below: str = "") -> Path:
        """Files of a step's output; gives what stands for them, or a folder in it."""
        self.write("artifacts", node, name, str(number), below or "deep", "data.bin", content="y" * number)
        return self.workspace.root / node / name / str(number) / below

    def find(self, keep_runs: int | None = None) -> list[Garbage]:
        return find_garbage(Keeping(self.workspace, self.writer.store), NOW, keep_runs)


def planted(folder: Path) -> Planted:
    return Planted(Workspace(folder.resolve()))


def tree(folder: Path) -> set[str]:
    """Every path below a folder, links as links."""
    return {
        os.path.relpath(os.path.join(base, name), folder)
        for base, folders, files in os.walk(folder)
        for name in (*folders, *files)
    }


STEPS = st.lists(
    st.tuples(
        st.sampled_from(NODES),
        st.sampled_from(["published", "orphan", "named below", "named as a URL", "named twice", "deleted",
                         "link out", "scratch", "foreign name"]),
        st.integers(0, 3),
    ),
    max_size=12,
)  # fmt: skip
CHECKPOINTS = st.lists(
    st.sampled_from(
        [
            "finished",
            "no data",
            "stopped",
            "unknown",
            "elsewhere",
            "from the workspace",
            "none from the workspace",
            "where it was",
        ]
    ),
    max_size=6,
)
FILES = st.lists(
    st.tuples(
        st.sampled_from(["imported", "study", "warm_starts", "checkpoints", "logs", "pushed"]),
        st.sampled_from(["weights.npz.part", ".study.json.ab12_xyz", "study.json", "run.log", "part", ".hidden"]),
        st.booleans(),
    ),
    max_size=6,
)  # fmt: skip


def plant(folder: Path, steps: list, checkpoints: list, files: list) -> Planted:
    """A workspace as runs, kills and users leave it."""
    made = planted(folder / "w")
    outside = folder / "outside"
    outside.mkdir()
    (outside / "precious").write_text("not ours")
    write = made.writer
    for number, (node, what, run) in enumerate(steps, 1):
        if what == "scratch":
            made.orphans.append(
                made.write("artifacts", node, ".system", "executor_execution", str(number), "t").parent
            )
            continue
        if what == "foreign name":
            made.kept.append(made.write("artifacts", node, "output", f"v{number}", "mine"))
            continue
        path = made.output(node, "output", number)
        if what in ("orphan", "deleted", "link out"):
            made.orphans.append(path)
            if what == "link out":
                (path / "out").symlink_to(outside, target_is_directory=True)
                (path / "file").symlink_to(outside / "precious")
            if what == "deleted":
                found = pb.Artifact(
                    type_id=write.artifact_type("Model"), uri=str(path), state=pb.Artifact.DELETED
                )
                write.store.put_artifacts([found])
            continue
        uri = {"named below": str(path / "deep"), "named as a URL": f"file://{path}/"}.get(what, str(path))
        ids = [write.artifact("Model", uri) for _ in range(2 if what == "named twice" else 1)]
        write.step(f"run{run}", node, [], [("output", i) for i in ids])
        made.kept.append(path)
    records = made.output("transform", "transformed_examples", 500, "Split-train")
    write.artifact("Examples", str(records.parent))
    made.kept.append(records)
    for number, what in enumerate(checkpoints):
        checkpoint = made.write("checkpoints", f"digest{number}", "ckpt-5.index").parent
        data = {
            "no data": made.workspace.root / "transform" / "gone" / "7",
            "elsewhere": "gs://bucket/records",
            "from the workspace": records.relative_to(made.workspace.folder),
            "none from the workspace": "artifacts/transform/gone/8",
            "where it was": f"/before/it/was/moved/{records.relative_to(made.workspace.folder)}",
        }
        if what != "unknown":
            (checkpoint / CHECKPOINT_DATA).write_text(str(data.get(what, records)))
        if what == "finished":
            run = made.output("trainer", "model_run", 600 + number)
            (run / "summary.json").write_text(json.dumps({"checkpoints": checkpoint.name}))
            write.artifact("ModelRun", str(run))
        goes = what in ("finished", "no data", "none from the workspace")
        (made.orphans if goes else made.kept).append(checkpoint)
    for number, (where, name, old) in enumerate(files):
        path = made.write(where, f"folder{number}", name)
        os.utime(path, (NOW - 7200, NOW - 7200) if old else (NOW - 60, NOW - 60))
        temporary = name.endswith(".part") or name == ".study.json.ab12_xyz"
        held = where in ("imported", "checkpoints")
        goes = temporary and (held or (where in ("study", "warm_starts") and old))
        (made.orphans if goes else made.kept).append(path)
    return made


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(STEPS, CHECKPOINTS, FILES, st.integers(0, 30))
def test_every_orphan_goes_and_nothing_else(steps: list, checkpoints: list, files: list, stop: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = plant(folder, steps, checkpoints, files)
        before = tree(folder)
        found = made.find()
        assert sorted(item.path for item in found) == sorted(made.orphans)
        assert tree(folder) == before, "finding removes nothing"
        # Killed between two removals: what is left is found again, and the end is the same.
        for _ in zip(range(stop), remove(made.writer.store, found), strict=False):
            pass
        again = made.find()
        assert [item.path for item in again] == [item.path for item in found if item.path.exists()]
        assert [item.path for item in remove(made.writer.store, again)] == [item.path for item in again]
        assert made.find() == [], "nothing is left to do"
        gone = {os.path.relpath(path, folder) for path in made.orphans}
        assert tree(folder) == {p for p in before if not any(p == g or p.startswith(f"{g}/") for g in gone)}
        assert (folder / "outside" / "precious").read_text() == "not ours"


RUNS = st.lists(
    st.tuples(
        st.sets(st.integers(0, 9), max_size=4),  # artifacts of earlier runs it used
        st.integers(0, 3),  # artifacts it made
        st.sampled_from(["", "", "blessed", "pushed", "refused"]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(RUNS, st.integers(1, 4), st.integers(0, 20))
def test_kept_runs_keep_all_they_stand_on(runs: list, keep: int, stop: int) -> None:
    """Against the walk done by hand over what was planted: each run, each artifact's maker, its inputs."""
    with tempfile.TemporaryDirectory() as name:
        made = planted(Path(name) / "w")
        paths: list[Path] = []
        ids: list[int] = []
        inputs: dict[int, set[int]] = {}
        of_run: list[set[int]] = []
        approved: list[bool] = []
        for run, (used, count, verdict) in enumerate(runs):
            uses = {i for i in used if i < len(ids)}
            fresh = set()
            for _ in range(count + bool(verdict)):
                number = len(ids)
                kind = {"blessed": "ModelBlessing", "refused": "ModelBlessing", "pushed": "PushedModel"}.get(
                    verdict, "Model"
                )
                facts = {"blessed": {"blessed": 1}, "refused": {"blessed": 0}, "pushed": {"pushed": 1}}.get(
                    verdict, {}
                )
                last = len(fresh) == count
                paths.append(made.output("trainer", "model", 100 + number))
                uri = str(paths[-1] / "deep" if number % 3 == 1 else paths[-1])
                ids.append(made.writer.artifact(kind if last else "Model", uri, **(facts if last else {})))
                inputs[number] = uses
                fresh.add(number)
            made.writer.step(
                f"run{run}", "trainer", [("in", ids[i]) for i in uses], [("out", ids[i]) for i in fresh]
            )
            of_run.append(uses | fresh)
            approved.append(verdict in ("blessed", "pushed"))
        special = {max(of_run[r]) for r in range(len(runs)) if approved[r]}
        with_artifacts = [r for r in range(len(runs)) if of_run[r]]
        wanted = set().union(
            *(of_run[r] for r in with_artifacts[-keep:]), *(s for s in of_run if s & special)
        )
        while any(inputs[i] - wanted for i in wanted):
            wanted |= set().union(*(inputs[i] for i in wanted))
        records = {i: made.writer.store.get_artifacts_by_id([i])[0].SerializeToString() for i in ids}
        found = made.find(keep)
        assert {item.path for item in found} == {paths[i] for i in range(len(ids)) if i not in wanted}
        for _ in zip(range(stop), remove(made.writer.store, found), strict=False):
            pass
        list(remove(made.writer.store, made.find(keep)))
        assert made.find(keep) == [] and {p for p in paths if p.exists()} == {paths[i] for i in wanted}
        for number, artifact_id in enumerate(ids):
            (now,) = made.writer.store.get_artifacts_by_id([artifact_id])
            if number in wanted:  # to the byte: TFX's cache key is made of the record
                assert now.SerializeToString() == records[artifact_id]
            else:
                assert now.state == pb.Artifact.DELETED


def test_the_store_is_told_before_the_files_go(tmp_path: Path) -> None:
    """Killed within a removal, half of the files are there: TFX's cache must not take them, and gc takes the rest."""
    made = planted(tmp_path / "w")
    old, new = made.output("trainer", "model", 1), made.output("trainer", "model", 2)
    first, second = (made.writer.artifact("Model", str(path)) for path in (old, new))
    made.writer.step("run1", "trainer", [], [("model", first)])
    made.writer.step("run2", "trainer", [], [("model", second)])
    (found,) = made.find(1)
    assert (found.kind, found.path, found.artifacts) == ("artifact", old, (first,))
    shutil.move(old, tmp_path / "aside")
    with pytest.raises(FileNotFoundError):  # stands for any reason why removing does not come to its end
        list(remove(made.writer.store, [found]))
    assert made.writer.store.get_artifacts_by_id([first])[0].state == pb.Artifact.DELETED
    shutil.move(tmp_path / "aside", old)
    (rest,) = made.find()
    assert (rest.kind, rest.path) == ("files", old)
    list(remove(made.writer.store, [rest]))
    assert not old.exists() and new.is_dir() and made.find(1) == []


def test_a_workspace_that_was_moved_or_is_a_link_keeps_all(tmp_path: Path) -> None:
    made = planted(tmp_path / "w")
    path = made.output("trainer", "model", 3)
    made.writer.step("run1", "trainer", [], [("model", made.writer.artifact("Model", str(path)))])
    shutil.copytree(tmp_path / "w", tmp_path / "copy")
    assert find_garbage(Keeping(Workspace(tmp_path / "copy"), made.writer.store), NOW) == []
    (tmp_path / "link").symlink_to(tmp_path / "w")
    assert find_garbage(Keeping(Workspace(tmp_path / "link"), made.writer.store), NOW) == []
    # Artifacts on another disk, behind a link: not followed, whatever the store says.
    other = tmp_path / "other"
    other.mkdir()
    made.output("trainer", "model", 9)
    (other / "artifacts").symlink_to(tmp_path / "w" / "artifacts", target_is_directory=True)
    assert find_garbage(Keeping(Workspace(other), made.writer.store), NOW) == []
    assert [item.path for item in made.find()] == [tmp_path / "w" / "artifacts" / "trainer" / "model" / "9"]


def test_an_artifact_around_the_folders_of_runs_keeps_them_all(tmp_path: Path) -> None:
    made = planted(tmp_path / "w")
    made.output("trainer", "model", 1)
    whole = made.writer.artifact("Model", str(made.workspace.root / "trainer"))
    made.writer.step("run1", "trainer", [], [("model", whole)])
    later = made.writer.artifact("Model", str(made.output("evaluator", "report", 2)))
    made.writer.step("run2", "evaluator", [], [("report", later)])
    assert made.find() == made.find(1) == []


def test_killed_while_it_removes_the_command_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    made = Planted(Workspace(folder), StoreWriter(MetadataStore(sqlite_config(folder / "metadata.sqlite"))))
    kept = made.output("trainer", "model", 1)
    made.writer.step("run1", "trainer", [], [("model", made.writer.artifact("Model", str(kept)))])
    for number in range(2, 600):
        made.write("artifacts", "trainer", "model", str(number), "data.bin")
    command = [sys.executable, "-m", "cli.main", "workspace", "gc", "--workspace", str(folder), "--yes"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout is not None
        # All 598 are named before the first goes; unread, they would fill the pipe.
        assert all(process.stdout.readline().startswith("files") for _ in range(598))
        while len(os.listdir(made.workspace.root / "trainer" / "model")) == 599:
            assert process.poll() is None, "it names first what goes, and then removes it"
        process.kill()
    assert len(list((made.workspace.root / "trainer" / "model").iterdir())) < 599
    assert call("--workspace", str(folder), "--yes").returncode == 0
    assert list((made.workspace.root / "trainer" / "model").iterdir()) == [kept]


def test_bytes_are_what_becomes_free(tmp_path: Path) -> None:
    made = planted(tmp_path / "w")
    kept, gone, too = (made.output("spans", "examples", n) for n in (10, 20, 30))
    made.writer.artifact("Examples", str(kept))
    os.link(kept / "deep" / "data.bin", gone / "linked")  # stays with what is kept
    os.link(gone / "deep" / "data.bin", too / "linked")  # goes with the second of the two
    assert {item.path: item.bytes for item in made.find()} == {gone: 0, too: 20 + 30}


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "workspace", "gc", *arguments],
        cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_the_command_shows_first_and_removes_when_told(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    made = Planted(Workspace(folder), StoreWriter(MetadataStore(sqlite_config(folder / "metadata.sqlite"))))
    kept, orphan = made.output("trainer", "model", 1), made.output("trainer", "model", 2000)
    model = made.writer.artifact("Model", str(kept))
    made.writer.step("run1", "trainer", [], [("model", model)])
    made.writer.step("run2", "trainer", [], [], RUNNING)
    shown = call("--workspace", str(folder))
    assert shown.returncode == 0 and "1 would go, 2.0 kB; --yes removes them" in shown.stdout, shown.stderr
    assert f"{orphan}: no artifact of the store names it" in shown.stdout and orphan.is_dir()
    done = call("--workspace", str(folder), "--yes", "--json")
    content = json.loads(done.stdout)
    assert [(item["kind"], item["path"], item["removed"]) for item in content["items"]] == [
        ("files", str(orphan), True)
    ]
    assert content["bytes"] == 2000 and not orphan.exists() and kept.is_dir()
    with made.workspace.held():
        busy = call("--workspace", str(folder))
    assert busy.returncode == 10 and f"process {os.getpid()} on" in busy.stderr
    made.workspace.note_store("mysql://hares@127.0.0.1:1/hares")
    elsewhere = call("--workspace", str(folder))
    assert elsewhere.returncode == 0 and "mysql://hares@127.0.0.1:1/hares" in elsewhere.stdout
    assert call("--workspace", str(tmp_path / "none")).returncode == 4


def test_stores_are_noted_once_and_by_a_name_that_moves_along(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for shown in (
        str(workspace.store),
        "postgresql://hares@db/hares",
        str(workspace.store),
        "/elsewhere/m.sqlite",
    ):
        workspace.note_store(shown)
    assert workspace.stores == ["metadata.sqlite", "postgresql://hares@db/hares", "/elsewhere/m.sqlite"]
