"""Which tasks are scored together without which folders, and what the table makes of their reports."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.left_out import group, link, table
from hares.task import task_names

FOLDERS = ("a", "b", "c", "d", "e")
NAMED = st.dictionaries(st.sampled_from(task_names()), st.frozensets(st.sampled_from(FOLDERS)), min_size=1)


@given(NAMED, st.integers(1, 4))
def test_every_task_is_scored_once_without_all_that_it_names(
    named: dict[str, frozenset[str]], groups: int
) -> None:
    found = group(named, {name: 10 * place + 1 for place, name in enumerate(FOLDERS)}, groups)
    assert sorted(task for tasks in found.values() for task in tasks) == sorted(named)
    assert all(named[task] <= out for out, tasks in found.items() for task in tasks)
    assert len([out for out in found if out]) <= groups
    assert all(not named[task] for task in found.get(frozenset(), [])), (
        "all folders are for those that name none"
    )


def test_groups_are_joined_where_least_is_left_out_without_need() -> None:
    named = {"esc50": frozenset("a"), "tut18": frozenset("ab"), "voxforge": frozenset("c")}
    assert group(named, {"a": 1000, "b": 1, "c": 1000}, 2) == {
        frozenset("ab"): ["esc50", "tut18"],
        frozenset("c"): ["voxforge"],
    }


def test_left_out_folders_are_not_linked_and_a_second_call_changes_nothing(tmp_path: Path) -> None:
    for name in ("kept", "out"):
        (tmp_path / "audio" / name).mkdir(parents=True)
        (tmp_path / "audio" / name / "clip.flac").write_bytes(name.encode())
    for _ in range(2):
        link(tmp_path / "audio", frozenset({"kept"}), tmp_path / "linked")
    assert [
        path.relative_to(tmp_path / "linked").as_posix() for path in (tmp_path / "linked").rglob("*.flac")
    ] == ["kept/clip.flac"]


def test_the_table_takes_a_task_without_folders_from_the_run_with_all() -> None:
    def report(value: float, left_out: int) -> dict[str, object]:
        scores = {task: {"value": value, "untrained": 0.25} for task in task_names()}
        return {"tasks": scores, "left_out": left_out}

    whole, part = report(0.5, 0), report(0.2, 3)
    parts = {task: whole if task.startswith("nsynth") else part for task in task_names()}
    lines = table(whole, parts).splitlines()
    assert "| nsynth_pitch | 50.0 | 50.0 | 25.0 | 0 |" in lines
    assert "| esc50 | 50.0 | 20.0 | 25.0 | 3 |" in lines
    assert "| **environment** | 50.0 | 20.0 | 25.0 | |" in lines
    assert lines[-1] == "Above its untrained self on 12 tasks, without their folders on 2."
