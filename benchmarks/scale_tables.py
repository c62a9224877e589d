"""The tables of `benchmarks.scale`: what a clip costs, how straight the line is, and what AudioSet would take.

A step's cost is taken as a + b n: `a` is what it takes with no clip at all (graphs are traced, a probe trains a fixed
number of steps), `b` the slope between the smallest and the largest size. "Straight" compares the slope of the last
piece with the one before it: 1.00 is a straight line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

AUDIOSET_CLIPS = 1_900_000
WORKERS = (1, 8, 32, 128)


@dataclass(frozen=True)
class Share:
    """How a step's slope carries over to AudioSet.

    Attributes:
        of_a_clip: clips of this benchmark whose cost one of AudioSet's stands for, rounded up.
        divides: whether workers share the step: Beam's do, and replicas of a trainer.
    """

    of_a_clip: float
    divides: bool


# A clip lasts 10 s and not 1; training takes crops of 3 s and not of 0.64 s; embedding takes 10 crops of 3 s and not
# one of 1 s, and the evaluator reads all of them.
SHARES = {
    "ingest": Share(10, True),
    "transform": Share(10, True),
    "statistics": Share(1, True),
    "trainer": Share(3 / 0.64, True),
    "embed": Share(30, True),
    "evaluator": Share(10, False),
}
ELSE = Share(1, False)

Rows = Mapping[int, Mapping[str, Any]]


def show(rows: Rows) -> None:
    """Prints all tables of the sizes measured, as Markdown."""
    sizes = sorted(rows)
    print(_cost(rows, sizes))
    print(_memory(rows, sizes))
    print(_bytes(rows, sizes))
    if len(sizes) > 1:
        print(_audioset(rows, sizes))


def slopes(values: Sequence[float], sizes: Sequence[int]) -> list[float]:
    """Cost of a clip more between each size and the next."""
    steps = zip(values, values[1:], sizes, sizes[1:], strict=False)
    return [(after - before) / (larger - smaller) for before, after, smaller, larger in steps]


def _cost(rows: Rows, sizes: list[int]) -> str:
    head = ["step", *(f"{size:,}: processor s" for size in sizes), *(f"{size:,}: wall s" for size in sizes)]
    head += ["ms a clip more", "straight"]
    lines = []
    for step in rows[sizes[0]]["steps"]:
        processor = [rows[size]["steps"][step]["processor"] for size in sizes]
        wall = [rows[size]["steps"][step]["wall"] for size in sizes]
        pieces = slopes(processor, sizes)
        straight = f"{pieces[-1] / pieces[-2]:.2f}" if len(pieces) > 1 and pieces[-2] > 0 else ""
        slope = (
            f"{1000 * slopes([processor[0], processor[-1]], [sizes[0], sizes[-1]])[0]:.3f}" if pieces else ""
        )
        numbers = [f"{value:.1f}" for value in (*processor, *wall)]
        lines.append([step, *numbers, slope, straight])
    return _table(head, lines)


def _memory(rows: Rows, sizes: list[int]) -> str:
    head = ["step", *(f"{size:,}: peak MiB" for size in sizes), "largest / smallest", "own part, MiB"]
    lines = []
    for step in rows[sizes[0]]["steps"]:
        found = [rows[size]["steps"][step] for size in sizes]
        peaks = [row["peak_mib"] for row in found]
        own = " ".join(f"{row['peak_mib'] - row['before_mib']:.0f}" for row in found)
        lines.append([step, *(f"{peak:.0f}" for peak in peaks), f"{peaks[-1] / peaks[0]:.2f}", own])
    return _table(head, lines)


def _bytes(rows: Rows, sizes: list[int]) -> str:
    head = ["files", *(f"{size:,}: MB" for size in sizes), "bytes a clip more"]
    lines = []
    for kind in rows[sizes[0]]["bytes"]:
        found = [rows[size]["bytes"][kind] for size in sizes]
        slope = f"{slopes([found[0], found[-1]], [sizes[0], sizes[-1]])[0]:.0f}" if len(sizes) > 1 else ""
        lines.append([kind, *(f"{value / 1e6:.2f}" for value in found), slope])
    return _table(head, lines)


def _audioset(rows: Rows, sizes: list[int]) -> str:
    """Hours of AudioSet by the slopes, were each worker as fast as one of this machine's processors."""
    head = ["step", "processor hours", *(f"hours on {count}" for count in WORKERS)]
    lines, totals = [], np.zeros(1 + len(WORKERS))
    ends = [sizes[0], sizes[-1]]
    for step in rows[sizes[0]]["steps"]:
        share = SHARES.get(step.split("_")[0], ELSE)
        values = [rows[size]["steps"][step]["processor"] for size in ends]
        slope = max(0.0, slopes(values, ends)[0])
        fixed = max(0.0, values[0] - slope * ends[0]) / 3600
        work = slope * share.of_a_clip * AUDIOSET_CLIPS / 3600
        hours = [fixed + work, *(fixed + work / (count if share.divides else 1) for count in WORKERS)]
        totals += hours
        lines.append([step, *(f"{value:.2f}" for value in hours)])
    lines.append(["all", *(f"{value:.2f}" for value in totals)])
    return _table(head, lines)


def _table(head: list[str], lines: list[list[str]]) -> str:
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines)) + "\n"
