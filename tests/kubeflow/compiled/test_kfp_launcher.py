"""What Kubeflow's driver and launcher make of a step's inputs and outputs, on steps of a few lines.

Each test holds one line of `kubeflow.compiled.kfp_launcher`, which names the source of kubeflow/pipelines.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kits.hand_made import Quiet, step, write_file
from kubeflow.compiled.file import read_compiled
from kubeflow.compiled.local_run import CompiledStepError, run_compiled

MAKE = "write('out', 'made'); say(rows=3)"
TELL = "write('out', json.dumps(took['x']['metadata'])); say()"


def run(path: Path, folder: Path) -> dict[str, Any]:
    return run_compiled(read_compiled(path), folder, Quiet())


def told(tmp_path: Path, made: str, tells: str) -> Any:
    """What a second step says of what the first one made."""
    steps = {"make": step(made), "tell": step(tells, {"x": ("make", "out")})}
    done = run(write_file(tmp_path / "p.yaml", steps), tmp_path / "run")
    return json.loads((Path(done["tell"]["out"][0]["uri"]) / "data").read_text())


def test_properties_are_what_ml_metadata_gives_back(tmp_path: Path) -> None:
    given = told(
        tmp_path, "write('out', ''); say(good=True, bad=False, spans=[1, 2], best={'a': 1.5}, n=7)", TELL
    )
    del given["store_session_info"]
    assert given == {
        "display_name": "out", "good": 1, "bad": 0, "spans": {"list": [1, 2]}, "best": {"struct": {"a": 1.5}}, "n": 7,
    }  # fmt: skip
    assert not any(isinstance(given[name], bool) for name in ("good", "bad"))


def test_a_property_cannot_be_null(tmp_path: Path) -> None:
    with pytest.raises(
        CompiledStepError, match=r"step make: Kubeflow would fail it, .* property note is null"
    ):
        told(tmp_path, "write('out', ''); say(note=None)", TELL)


def test_an_input_is_named_by_its_number_in_the_store(tmp_path: Path) -> None:
    given = told(tmp_path, MAKE, "write('out', json.dumps([took['x']['name'], took['x']['type']])); say()")
    assert given[0].isdecimal() and given[1] == {"instanceSchema": ""}


def test_what_is_empty_is_missing(tmp_path: Path) -> None:
    planned = "given['outputs']['artifacts']['out']['artifacts'][0]"
    code = f"write('out', json.dumps([given.get('inputs'), sorted({planned})])); say()"
    done = run(write_file(tmp_path / "p.yaml", {"one": step(code)}), tmp_path / "run")
    inputs, fields = json.loads((Path(done["one"]["out"][0]["uri"]) / "data").read_text())
    assert not inputs and fields == ["name", "type", "uri"]


def test_the_output_file_lies_beside_the_outputs(tmp_path: Path) -> None:
    code = "write('out', json.dumps(given['outputs']['outputFile'])); say()"
    done = run(write_file(tmp_path / "p.yaml", {"one": step(code)}), tmp_path / "run")
    folder = Path(done["one"]["out"][0]["uri"])
    assert Path(json.loads((folder / "data").read_text())) == folder.parent / "output_metadata.json"


def test_the_output_files_folder_is_the_steps_to_make(tmp_path: Path) -> None:
    """Up to 2.14 nothing makes it."""
    code = "assert not pathlib.Path(given['outputs']['outputFile']).parent.exists(); write('out', ''); say()"
    run(write_file(tmp_path / "p.yaml", {"one": step(code)}), tmp_path / "run")


@pytest.mark.parametrize("where", ["written", "entry", "one"])
def test_a_field_that_the_output_file_cannot_have_fails_the_step(tmp_path: Path, where: str) -> None:
    code = (
        "one = {'uri': uri['out']}\nentry = {'artifacts': [one]}\nwritten = {'artifacts': {'out': entry}}\n"
        f"{where}['seconds'] = 3\nfile = pathlib.Path(given['outputs']['outputFile'])\n"
        "file.parent.mkdir(parents=True, exist_ok=True)\nfile.write_text(json.dumps(written))"
    )
    with pytest.raises(CompiledStepError, match=r"step one: .* its output file has seconds"):
        run(write_file(tmp_path / "p.yaml", {"one": step(code)}), tmp_path / "run")
    run(write_file(tmp_path / "p.json", {"one": step(code)}), tmp_path / "vertex")  # TFX reads what it knows


def test_an_empty_folder_is_not_uploaded(tmp_path: Path) -> None:
    made = "write('out', ''); pathlib.Path(uri['out'], 'a', 'b').mkdir(parents=True); say()"
    given = told(tmp_path, made, "write('out', json.dumps(os.listdir(took['x']['uri']))); say()")
    assert given == ["data"]


def test_an_input_on_a_volume_is_in_no_bucket(tmp_path: Path) -> None:
    made = f"uri['out'] = {str(tmp_path / 'volume')!r}; write('out', 'there'); say()"
    with pytest.raises(
        CompiledStepError, match=r"step tell: .* its input x is at .*volume, which is in no bucket"
    ):
        told(tmp_path, made, TELL)


@pytest.mark.parametrize(
    ("declared", "given", "message"),
    [
        ({"parameterType": "STRING"}, None, "its parameter a has neither a value nor a default"),
        (
            {"parameterType": "NUMBER_INTEGER"},
            "3",
            "its parameter a is a NUMBER_INTEGER, and the value is '3'",
        ),
        ({"parameterType": "NUMBER_DOUBLE"}, True, "its parameter a is a NUMBER_DOUBLE"),
        ({"parameterType": "LIST"}, {"a": 1}, "its parameter a is a LIST"),
        ({"parameterType": "STRING"}, 3, '"3"'),
        ({"parameterType": "STRING", "isOptional": True}, None, "null"),
        ({"parameterType": "BOOLEAN"}, True, "true"),
    ],
)
def test_parameters_have_their_types(tmp_path: Path, declared: Any, given: Any, message: str) -> None:
    """A number for a text becomes one; any other mismatch fails the step."""
    values = {} if given is None else {"a": {"runtimeValue": {"constant": given}}}
    path = write_file(
        tmp_path / "p.yaml",
        {"one": step("write('out', json.dumps(values.get('a'))); say()", parameters=values)},
    )
    spec = yaml.safe_load(path.read_text())
    spec["components"]["one"]["inputDefinitions"] = {"parameters": {"a": declared}}
    path.write_text(yaml.safe_dump(spec))
    if message.startswith("its"):
        with pytest.raises(CompiledStepError, match=message):
            run(path, tmp_path / "run")
    else:
        done = run(path, tmp_path / "run")
        assert (Path(done["one"]["out"][0]["uri"]) / "data").read_text() == message


def test_a_driver_is_never_run(tmp_path: Path) -> None:
    path = write_file(tmp_path / "p.yaml", {"one": step(MAKE, driver="pass")})
    with pytest.raises(CompiledStepError, match=r"step one: .* it has a driver"):
        run(path, tmp_path / "run")


@pytest.mark.parametrize(
    ("policy", "attempts"),
    [
        ({"maxRetryCount": 2, "backoffMaxDuration": "3600s"}, 3),
        ({"maxRetryCount": 2}, 1),  # Kubeflow since 2.14 then says 0 seconds
        (
            {
                "maxRetryCount": 5,
                "backoffDuration": "30s",
                "backoffFactor": 2.0,
                "backoffMaxDuration": "100s",
            },
            3,
        ),
    ],
)
def test_a_step_is_retried_as_argo_counts(tmp_path: Path, policy: dict[str, Any], attempts: int) -> None:
    """Waits of 30, 60 and 120 seconds: the third would end after 100. They are counted here, not waited for."""
    bad = step("sys.exit(9)")
    bad["task"]["retryPolicy"] = policy
    with pytest.raises(CompiledStepError, match=f"exit code 9 in {attempts} attempts"):
        run(write_file(tmp_path / "p.yaml", {"bad": bad}), tmp_path / "run")


# The executor input that the driver and launcher of Kubeflow Pipelines 2.17.0 gave the second step of this file, run by
# hand against ML Metadata's store; addresses are cut to their last part, and what differs from run to run to "...".
SEEN = {
    "inputs": {
        "artifacts": {
            "x": {
                "artifacts": [
                    {
                        "name": "...",
                        "type": {"instanceSchema": ""},
                        "uri": "out",
                        "metadata": {
                            "best": {"struct": {"a": 1.5}},
                            "display_name": "out",
                            "good": 1,
                            "note": "x",
                            "rows": 3,
                            "spans": {"list": [1, 2]},
                            "store_session_info": "...",
                        },
                    }
                ]
            }
        }
    },
    "outputs": {
        "artifacts": {
            "executor-logs": {
                "artifacts": [
                    {
                        "name": "executor-logs",
                        "type": {"schemaTitle": "system.Artifact"},
                        "uri": "executor-logs-0",
                    }
                ]
            },
            "out": {
                "artifacts": [
                    {
                        "name": "out",
                        "type": {"instanceSchema": "title: tfx.File\ntype: object\n"},
                        "uri": "out",
                    }
                ]
            },
        },
        "outputFile": "output_metadata.json",
    },
}


def test_it_is_what_kubeflows_own_driver_and_launcher_gave(tmp_path: Path) -> None:
    made = "write('out', 'made'); os.makedirs(uri['out'] + '/empty')\n"
    made += "say(rows=3, good=True, spans=[1, 2], best={'a': 1.5}, note='x')"
    tell = "write('out', json.dumps([given, os.listdir(took['x']['uri'])])); say()"
    given, files = told(tmp_path, made, tell)
    (x,) = given["inputs"]["artifacts"]["x"]["artifacts"]
    x["name"] = x["metadata"]["store_session_info"] = "..."
    for side in ("inputs", "outputs"):
        for entry in given[side]["artifacts"].values():
            for one in entry["artifacts"]:
                one["uri"] = one["uri"].rsplit("/", 1)[1]
    given["outputs"]["outputFile"] = given["outputs"]["outputFile"].rsplit("/", 1)[1]
    given["outputs"]["artifacts"]["executor-logs"]["artifacts"][0]["uri"] = (
        "executor-logs-0"  # ours is log.txt
    )
    assert given == SEEN and files == ["data"]
