from dataclasses import dataclass, field
from typing import Literal

import pytest

from pipeline.settings import SettingError, as_dict, override, parse_assignments


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
        ("inner.steps=many", r"inner\.steps: got 'many' \(str\); accepted is int"),
        ("inner.steps=true", r"inner\.steps: got True \(bool\); accepted is int"),
        ("inner.steps=0", r"steps: got 0; accepted is 1 or more"),
        ("inner.mode=c", r"inner\.mode: got 'c'; accepted are 'a', 'b'"),
        ("inner=3", r"inner: got 3; it is a group of settings"),
        ("names=x", r"names: got 'x'; accepted is a list"),
        ("pair=[1]", r"pair: got 1 values; accepted are 2"),
        ("flag", r"expected key=value"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_accepted(assignment: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        override(Outer(), parse_assignments([assignment]))
