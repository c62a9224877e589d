"""The harness against what the executor's contract says, on steps of a few lines that do and record it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from kits.hand_made import step, write_file
from kubeflow.compiled.file import CompiledFileError, read_compiled
from kubeflow.compiled.local_run import CompiledStepError, run_compiled


class Seen:
    """Notes what it is told, and may kill a step as soon as it has started."""

    def __init__(self, kill: str = ""):
        self.started: list[tuple[str, int]] = []
        self.finished: list[tuple[str, str]] = []
        self._kill = kill

    def start(self, step: str, attempt: int, process: int) -> None:
        self.started.append((step, attempt))
        if (step, attempt) == (self._kill, 1):
            os.kill(process, signal.SIGKILL)

    def finish(self, step: str, outcome: str, seconds: float) -> None:
        self.finished.append((step, outcome))


def run(path: Path, folder: Path, seen: Seen | None = None) -> dict[str, Any]:
    return run_compiled(read_compiled(path), folder, seen or Seen())


def data(done: dict[str, Any], name: str) -> str:
    return (Path(done[name]["out"][0]["uri"]) / "data").read_text()


MAKE = "write('out', 'made'); say(rows=3, note='of three')"
COPY = "write('out', pathlib.Path(took['x']['uri'], 'data').read_text() + ' and copied'); say()"


def test_steps_run_behind_what_they_take_from_and_get_its_properties(tmp_path: Path) -> None:
    told = "write('out', json.dumps(took['x']['metadata'])); say()"
    steps = {
        "a_last": step(told, {"x": ("z_first", "out")}),
        "m_copy": step(COPY, {"x": ("z_first", "out")}),
        "z_first": step(MAKE),
    }
    steps["m_copy"]["task"]["dependentTasks"] = []  # taking an output is dependence enough
    seen = Seen()
    done = run(write_file(tmp_path / "p.yaml", steps), tmp_path / "run", seen)
    assert seen.started[0] == ("z_first", 1)
    assert data(done, "m_copy") == "made and copied"
    given = yaml.safe_load(data(done, "a_last"))
    assert (given["rows"], given["note"], given["display_name"]) == (
        3,
        "of three",
        "out",
    )  # the last is the store's
    assert done["z_first"]["out"][0]["type"]["instanceSchema"].startswith("title: tfx.File")


def test_parameters_have_the_files_defaults(tmp_path: Path) -> None:
    steps = {
        "one": step(
            "write('out', json.dumps(values)); say()",
            parameters={
                "a": {"componentInputParameter": "shared"},
                "b": {"runtimeValue": {"constant": 2.0}},
            },
        )
    }
    defaults = {"shared": {"parameterType": "STRING", "defaultValue": "", "isOptional": True}}
    done = run(write_file(tmp_path / "p.yaml", steps, defaults), tmp_path / "run")
    assert yaml.safe_load(data(done, "one")) == {"a": "", "b": 2.0}
    with pytest.raises(CompiledFileError, match="parameters shared have neither a value nor a default"):
        read_compiled(write_file(tmp_path / "q.yaml", steps, {"shared": {"parameterType": "STRING"}}))


def test_a_driver_changes_what_its_step_is_handed(tmp_path: Path) -> None:
    driver = """
out = {"parameterValues": {"span": 7.0}, "artifacts": {"out": {"artifacts": [{"metadata": {"span": 7.0}}]}}}
pathlib.Path(given["outputs"]["outputFile"]).write_text(json.dumps(out))
"""
    code = """
had = given["outputs"]["artifacts"]["out"]["artifacts"][0]["metadata"]
write('out', json.dumps([values, had])); say(rows=1)
"""
    steps = {"one": step(code, parameters={"kept": {"runtimeValue": {"constant": "k"}}}, driver=driver)}
    done = run(write_file(tmp_path / "p.json", steps), tmp_path / "run")
    assert yaml.safe_load(data(done, "one")) == [{"kept": "k", "span": 7.0}, {"span": 7.0}]
    assert done["one"]["out"][0]["metadata"] == {
        "span": 7.0,
        "rows": 1,
    }  # the driver's stays beside the step's


def test_a_driver_that_fails_fails_the_attempt(tmp_path: Path) -> None:
    steps = {"one": step(MAKE, driver="sys.exit(3)")}
    with pytest.raises(CompiledStepError, match="exit code 3 in 1 attempts"):
        run(write_file(tmp_path / "p.json", steps), tmp_path / "run")
    assert not list((tmp_path / "run" / "one").glob("*/outputs"))


# Writes half of its output, with an output file that claims it, and dies; the second time it finds none of it.
DIES_ONCE = """
first = given["outputs"]["outputFile"].split(os.sep)[-3] == "attempt-1"
assert not pathlib.Path(uri["out"]).exists()
write('out', 'half' if first else 'whole'); say()
if first:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_attempt_wrote_is_never_read(tmp_path: Path) -> None:
    steps = {"dies": step(DIES_ONCE, retries=2), "reads": step(COPY, {"x": ("dies", "out")})}
    seen = Seen()
    done = run(write_file(tmp_path / "p.yaml", steps), tmp_path / "run", seen)
    assert seen.started == [("dies", 1), ("dies", 2), ("reads", 1)]
    assert data(done, "reads") == "whole and copied"
    half = tmp_path / "run" / "dies" / "attempt-1" / "outputs" / "out" / "data"
    assert half.read_text() == "half"


# Of a Vertex file both attempts have one address: the second finds the half, and does away with it.
DIES_ONCE_IN_PLACE = """
half = pathlib.Path(uri["out"]) / "data"
first = not half.exists()
write('out', 'half' if first else half.read_text() + ' was there, whole now')
if first:
    pathlib.Path(given["outputs"]["outputFile"]).write_text('{"artifacts": {')
    os.kill(os.getpid(), signal.SIGKILL)
say()
"""


def test_attempts_of_a_vertex_file_share_their_addresses(tmp_path: Path) -> None:
    steps = {
        "dies": step(DIES_ONCE_IN_PLACE, retries=1),
        "reads": step(COPY, {"x": ("dies", "out")}),
        "other": step(MAKE, parameters={"a": {"runtimeValue": {"constant": "1"}}}),
    }
    seen = Seen()
    done = run(write_file(tmp_path / "p.json", steps), tmp_path / "run", seen)
    assert [s for s in seen.started if s[0] == "dies"] == [("dies", 1), ("dies", 2)]
    assert data(done, "reads") == "half was there, whole now and copied"
    # Another input is another task, with addresses of its own: what was published before stays as it was.
    steps["other"]["task"]["inputs"]["parameters"]["a"]["runtimeValue"]["constant"] = "2"
    again = run(write_file(tmp_path / "p.json", steps), tmp_path / "run")
    assert again["other"]["out"][0]["uri"] != done["other"]["out"][0]["uri"]
    assert again["dies"] == done["dies"]


def test_a_step_killed_from_outside_is_tried_again(tmp_path: Path) -> None:
    seen = Seen(kill="slow")
    steps = {"slow": step("import time; time.sleep(1);" + MAKE, retries=1)}
    done = run(write_file(tmp_path / "p.yaml", steps), tmp_path / "run", seen)
    assert seen.started == [("slow", 1), ("slow", 2)] and seen.finished == [("slow", "ran")]
    assert data(done, "slow") == "made"


def test_no_more_retries_than_the_file_says(tmp_path: Path) -> None:
    seen = Seen()
    steps = {"bad": step("sys.exit(9)", retries=2), "after": step(COPY, {"x": ("bad", "out")})}
    with pytest.raises(
        CompiledStepError, match=r"step bad ended with exit code 9 in 3 attempts.*attempt-3/log"
    ):
        run(write_file(tmp_path / "p.yaml", steps), tmp_path / "run", seen)
    assert seen.started == [("bad", 1), ("bad", 2), ("bad", 3)] and seen.finished == [("bad", "failed")]


def test_a_worker_does_not_outlive_its_step(tmp_path: Path) -> None:
    """A worker that went on would write into a folder that another attempt, or a later step, reads."""
    child = "[sys.executable, '-c', 'import time; time.sleep(60)']"
    code = f"import subprocess\np = subprocess.Popen({child})\nwrite('out', str(p.pid)); say()"
    done = run(write_file(tmp_path / "p.yaml", {"parent": step(code)}), tmp_path / "run")
    for _ in range(200):  # the kernel takes its time, and may leave a zombie to whoever adopted it
        if (state := process_state(data(done, "parent"))) in ("", "Z"):
            return
        time.sleep(0.05)
    pytest.fail(f"the worker is still there, in state {state}")


def process_state(pid: str) -> str:
    """The letter that ps shows, "" where there is no such process."""
    done = subprocess.run(["ps", "-o", "state=", "-p", pid], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def test_a_second_run_goes_on_behind_what_is_published(tmp_path: Path) -> None:
    steps = {"make": step(MAKE), "copy": step("sys.exit(1)", {"x": ("make", "out")})}
    path = write_file(tmp_path / "p.yaml", steps)
    with pytest.raises(CompiledStepError):
        run(path, tmp_path / "run")
    steps["copy"] = step(COPY, {"x": ("make", "out")})
    seen = Seen()
    done = run(write_file(path, steps), tmp_path / "run", seen)
    assert seen.finished == [("make", "kept"), ("copy", "ran")] and data(done, "copy") == "made and copied"
    steps["make"] = step("write('out', 'changed'); say()")
    seen = Seen()
    done = run(write_file(path, steps), tmp_path / "run", seen)
    assert seen.finished == [("make", "ran"), ("copy", "ran")] and data(done, "copy") == "changed and copied"


def test_what_cannot_be_run_here_is_refused_by_name(tmp_path: Path) -> None:
    made = write_file(tmp_path / "p.yaml", {"one": step(MAKE)})
    spec = yaml.safe_load(made.read_text())
    resolver = {**spec, "deploymentSpec": {"executors": {"one_executor": {"resolver": {}}}}}
    made.write_text(yaml.safe_dump(resolver))
    with pytest.raises(CompiledFileError, match="step one has executor resolver"):
        read_compiled(made)
    made.write_text(yaml.safe_dump({**spec, "schemaVersion": "2.0.0"}))
    with pytest.raises(CompiledFileError, match=r"its schema is 2\.0\.0"):
        read_compiled(made)
    made.write_text("steps: []")
    with pytest.raises(CompiledFileError, match="not a compiled pipeline"):
        read_compiled(made)
    ring = {"a": step(COPY, {"x": ("b", "out")}), "b": step(COPY, {"x": ("a", "out")})}
    with pytest.raises(CompiledFileError, match="wait for one another"):
        read_compiled(write_file(made, ring))
    other = step(MAKE)
    other["container"]["args"] = ["{{$.inputs.parameters['x']}}"]
    with pytest.raises(ValueError, match="only the placeholders"):
        run(write_file(made, {"one": other}), tmp_path / "run")
    importer = {**spec, "deploymentSpec": {"executors": {"one_executor": {"importer": {
        "artifactUri": {"runtimeParameter": "uri"}, "typeSchema": {"schemaTitle": "tfx.Model"},
    }}}}}  # fmt: skip
    made.write_text(yaml.safe_dump(importer))
    with pytest.raises(CompiledFileError, match="step one: only importers"):
        run(made, tmp_path / "run")


def test_an_importer_gives_its_address_type_and_properties(tmp_path: Path) -> None:
    told = "write('out', json.dumps(took['x'])); say()"
    steps = {"model": step(""), "reads": step(told, {"x": ("model", "out")})}
    path = write_file(tmp_path / "p.yaml", steps)
    spec = yaml.safe_load(path.read_text())
    spec["deploymentSpec"]["executors"]["model_executor"] = {
        "importer": {
            "artifactUri": {"constant": "gs://models/7"},
            "typeSchema": {"instanceSchema": "title: tfx.Model"},
            "metadata": {"weights_digest": "w"},
        }
    }
    path.write_text(yaml.safe_dump(spec))
    given = yaml.safe_load(data(run(path, tmp_path / "run"), "reads"))
    assert (given["uri"], given["metadata"]["weights_digest"]) == ("gs://models/7", "w")
    spec["deploymentSpec"]["executors"]["model_executor"]["importer"]["artifactUri"]["constant"] = "/models/7"
    path.write_text(yaml.safe_dump(spec))
    with pytest.raises(CompiledFileError, match="gs:"):
        run(path, tmp_path / "again")


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_step_is_handed_what_each_cluster_hands_over(tmp_path: Path, suffix: str) -> None:
    """Kubeflow gives inputs no type and adds its launcher's log, which a step that removes it would lose."""
    told = "write('out', json.dumps([took['x']['type'], sorted(given['outputs']['artifacts'])])); print('said'); say()"
    steps = {"make": step(MAKE), "reads": step(told, {"x": ("make", "out")})}
    done = run(write_file(tmp_path / f"p{suffix}", steps), tmp_path / "run")
    of_input, outputs = json.loads(data(done, "reads"))
    if suffix == ".json":
        assert of_input == {"instanceSchema": "title: tfx.File\ntype: object\n"} and outputs == ["out"]
    else:
        assert of_input == {"instanceSchema": ""} and outputs == ["executor-logs", "out"]
        assert set(done["reads"]) == {"out"}
        assert "said" in (tmp_path / "run" / "reads" / "attempt-1" / "log.txt").read_text()


def test_equal_containers_with_different_outputs_are_an_error(tmp_path: Path) -> None:
    """Kubeflow would give both steps the outputs of one."""
    path = write_file(tmp_path / "p.yaml", {"one": step(MAKE), "two": step(MAKE), "three": step(COPY)})
    read_compiled(path)
    spec = yaml.safe_load(path.read_text())
    spec["components"]["two"]["outputDefinitions"]["artifacts"]["more"] = {"artifactType": {}}
    path.write_text(yaml.safe_dump(spec))
    with pytest.raises(CompiledFileError, match="steps one and two have equal containers"):
        read_compiled(path)


def test_a_name_that_argo_refuses_is_an_error(tmp_path: Path) -> None:
    path = write_file(tmp_path / "p.yaml", {"make": step(MAKE)})
    spec = yaml.safe_load(path.read_text())
    spec["root"]["dag"]["tasks"] = {"make_it": spec["root"]["dag"]["tasks"]["make"]}
    path.write_text(yaml.safe_dump(spec))
    with pytest.raises(CompiledFileError, match="make_it"):
        read_compiled(path)


def test_nothing_of_the_pipeline_is_there_where_its_file_is_run() -> None:
    """The parent has the file alone: neither our pipeline nor TFX, which could tell it more, are imported."""
    script = (
        "import sys, cli.commands.run_compiled, kubeflow.compiled.file, kubeflow.compiled.local_run\n"
        "from hares.report.runs import REPORT_FILE\nfrom cli.score_table import score_table\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}"
        " & {'pipeline', 'components', 'models', 'tfx', 'ml_metadata', 'kfp', 'tensorflow', 'apache_beam'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
