import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pytest

from models.objective import load_objective
from models.training.config import TrainingConfig
from pipeline import config as pipeline_config
from pipeline.config import load_config
from pipeline.settings import SettingError, as_dict, check_path, override, parse_assignments


@dataclass(frozen=True)
class Inner:
    steps: int = 10
    rate: float = 0.1
    mode: Literal["a", "b"] = "a"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps: got {self.steps}; accepted is 1 or more")


@dataclass(frozen=True)
class Outer:
    names: tuple[str, ...] = ("x",)
    pair: tuple[float, float] = (5.0, 2.0)
    limit: float | None = None
    flag: bool = True
    inner: Inner = field(default_factory=Inner)
    free: Mapping[str, Any] = field(default_factory=dict)


def test_values_land_where_they_belong_and_keep_their_types() -> None:
    values = parse_assignments(
        ["inner.steps=3", "inner.rate=1e-3", "names=[p, q]", "limit=2", "flag=false", "pair=[1, 2]"]
    )
    got = override(Outer(), values)
    assert got == Outer(("p", "q"), (1.0, 2.0), 2.0, False, Inner(3, 0.001))
    assert override(got, {"limit": None}).limit is None
    assert override(Outer(), as_dict(got)) == got


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("inner.step=3", r"unknown setting inner\.step; did you mean inner\.steps\?.*steps, rate, mode"),
        ("zzz=3", r"unknown setting zzz\. There are: names, pair, limit, flag, inner, free"),
        ("inner.steps=many", r"inner\.steps: got 'many' \(str\); accepted is int"),
        ("inner.steps=true", r"inner\.steps: got True \(bool\); accepted is int"),
        ("inner.steps=0", r"steps: got 0; accepted is 1 or more"),
        ("inner.mode=c", r"inner\.mode: got 'c'; accepted are 'a', 'b'"),
        ("inner=3", r"inner: got 3; it is a group of settings"),
        ("names=x", r"names: got 'x'; accepted is a list"),
        ("pair=[1]", r"pair: got 1 values; accepted are 2"),
        ("free=3", r"free: got 3; accepted are settings by name"),
        ("flag", r"expected key=value"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_accepted(assignment: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        override(Outer(), parse_assignments([assignment]))


def test_a_mapping_gains_what_is_set_and_keeps_the_rest() -> None:
    got = override(Outer(free={"a": 1, "b": 2}), parse_assignments(["free.b=3", "free.c=[x]"]))
    assert got.free == {"a": 1, "b": 3, "c": ["x"]}
    assert override(Outer(), as_dict(got)) == got


@pytest.fixture
def objective_with_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    record = replace(load_objective("simclr"), settings=Inner)
    monkeypatch.setattr(pipeline_config, "load_objective", lambda name: record)


@pytest.mark.usefixtures("objective_with_settings")
def test_an_objectives_own_settings_take_the_types_of_its_dataclass() -> None:
    assignments = ["training.objective_settings.rate=1e-3", "training.objective_settings.mode=b"]
    training = load_config("paper_simclr", assignments).training
    assert training.objective_settings == {"rate": 0.001, "mode": "b"}  # what was given, and no defaults
    assert hash(training) == hash(replace(training))
    plain = json.loads(json.dumps(as_dict(training)))
    assert override(TrainingConfig(), plain) == training


@pytest.mark.usefixtures("objective_with_settings")
@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("step=3", r"unknown setting training\.objective_settings\.step; did you mean .*\.steps\?"),
        ("steps=many", r"training\.objective_settings\.steps: got 'many' \(str\); accepted is int"),
        ("steps=0", r"training\.objective_settings\.steps: got 0; accepted is 1 or more"),
    ],
)
def test_a_wrong_setting_of_an_objective_is_named(assignment: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        load_config("paper_simclr", [f"training.objective_settings.{assignment}"])


def test_an_objective_without_settings_takes_none() -> None:
    with pytest.raises(
        SettingError, match=r"unknown setting training\.objective_settings\.steps\. There are: none"
    ):
        load_config("demo", ["training.objective=classification", "training.objective_settings.steps=3"])


def test_another_objective_does_not_inherit_the_settings_of_the_presets_own() -> None:
    assert load_config("demo").training.objective_settings == {"projector_sizes": [512]}
    assert load_config("demo", ["training.objective=classification"]).training.objective_settings == {}
    given = ["training.objective=cola", "training.objective_settings.projection_size=64"]
    assert load_config("demo", given).training.objective_settings == {"projection_size": 64}
    same = ["training.objective=simclr", "training.objective_settings.temperature=0.2"]
    assert load_config("demo", same).training.objective_settings == {
        "projector_sizes": [512],
        "temperature": 0.2,
    }


BAD_NAMES = [
    "audio-repr-" * 8 + "end",
    "a" * 64,
    "My_Run",
    "my run",
    "été",
    "",
    "1st",
    "-a",
    "a-",
    "a.b",
    "a\n",
    "a'b",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_a_cluster_refuses_is_a_wrong_setting(name: str) -> None:
    with pytest.raises(SettingError, match=r"name: got .*63"):
        replace(load_config("demo"), name=name)


@pytest.mark.parametrize("name", ["a", "hares-demo", "a" * 63, "a1", "a--1"])
def test_a_name_that_all_clusters_take(name: str) -> None:
    assert replace(load_config("demo"), name=name).name == name


@pytest.mark.parametrize(
    "part", ["w [1]", "w*", "w?", "w]", "a\\b", "a\nb", "a\u2028b", "a\udcffb", "a\x1bb", "a\0b"]
)
def test_a_workspace_that_patterns_would_not_find_is_refused(part: str) -> None:
    with pytest.raises(SettingError, match="--workspace: got "):
        check_path("--workspace", f"/data/{part}/w", below_it_patterns=True)


@pytest.mark.parametrize("part", ["w {a} %20 # ~ , ; é & = $ ' \"", "-w", "~", "w.", "日本", " "])
def test_other_characters_are_taken(part: str) -> None:
    check_path("--workspace", f"/data/{part}", below_it_patterns=True)
    check_path("--corpus", f"/data/{part} [1] *?\\")


def test_a_source_that_cannot_be_recorded_is_a_wrong_setting() -> None:
    for name in ("source", "warm_start"):
        with pytest.raises(SettingError, match=rf"pretraining\.{name}: got "):
            load_config("demo", [f'pretraining.{name}="a\\nb"'])
