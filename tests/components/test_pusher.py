"""The Pusher's promise to servers: a version below the destination is a whole model, and the newest has the highest
number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.tfx

FILES = {"saved_model.pb": b"graph", "variables/variables.index": b"index", "hares_metadata.json": b"{}"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "model" / "Format-Serving" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "model"


def push(model: Path, base: Path, output: Path, blessed: bool = True):
    from tfx.types import standard_artifacts

    from components.standard.executor import PusherExecutor

    trained, blessing, pushed = (
        kind()
        for kind in (
            standard_artifacts.Model,
            standard_artifacts.ModelBlessing,
            standard_artifacts.PushedModel,
        )
    )
    trained.uri, blessing.uri, pushed.uri = str(model), str(model.parent / "blessing"), str(output)
    blessing.set_int_custom_property("blessed", int(blessed))
    Path(blessing.uri).mkdir(exist_ok=True)
    (Path(blessing.uri) / ("BLESSED" if blessed else "NOT_BLESSED")).touch()
    destination = json.dumps({"filesystem": {"base_directory": str(base)}})
    PusherExecutor().Do(
        {"model": [trained], "model_blessing": [blessing]}, {"pushed_model": [pushed]},
        {"push_destination": destination},
    )  # fmt: skip
    return pushed


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_pushed_version_is_the_model_and_nothing_is_left_beside_it(model: Path, tmp_path: Path) -> None:
    pushed = push(model, tmp_path / "pushed", tmp_path / "out")
    (version,) = (tmp_path / "pushed").iterdir()
    assert files(version) == FILES == files(tmp_path / "out")
    assert pushed.get_string_custom_property("pushed_destination") == str(version)
    assert pushed.get_string_custom_property("pushed_version") == version.name
    assert pushed.get_int_custom_property("pushed") == 1


def test_a_clock_that_went_back_numbers_the_new_model_above_the_old(model: Path, tmp_path: Path) -> None:
    ahead = tmp_path / "pushed" / "99999999999"
    ahead.mkdir(parents=True)
    pushed = push(model, tmp_path / "pushed", tmp_path / "out")
    assert pushed.get_string_custom_property("pushed_version") == "100000000000"
    assert files(tmp_path / "pushed" / "100000000000") == FILES


def test_a_push_that_dies_shows_no_version_and_the_next_clears_it_away(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when the last file, saved_model.pb, is written."""
    from tfx.utils import io_utils

    def full(source: str, target: str, overwrite: bool = False) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(io_utils, "copy_file", full)
        with pytest.raises(OSError, match="No space left"):
            push(model, tmp_path / "pushed", tmp_path / "out")
    assert not list((tmp_path / "pushed").glob("[!.]*")), "a server would load it"
    push(model, tmp_path / "pushed", tmp_path / "out")
    (version,) = (tmp_path / "pushed").iterdir()
    assert files(version) == FILES


def test_a_model_that_is_not_blessed_makes_no_version(model: Path, tmp_path: Path) -> None:
    pushed = push(model, tmp_path / "pushed", tmp_path / "out", blessed=False)
    assert pushed.get_int_custom_property("pushed") == 0
    assert not (tmp_path / "pushed").exists()
