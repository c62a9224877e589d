"""The tables of `benchmarks.scale`: what a clip costs, how straight the line is, and what AudioSet would take.

A step's cost is taken as a + b n: `a` is what it takes with no clip at all (graphs are traced, a probe trains a fixed
number of steps), `b` what a clip more takes. The line goes through all sizes by least squares of the deviations as
shares of what was measured, so that each size counts alike; the table gives the largest of these deviations. In a sum
of a large `a` and a small `b` it says little of `b`, and of steps that take no time it is the clock's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

AUDIOSET_CLIPS = 1_900_000
WORKERS = (1, 8, 32, 128)
STRAIGHT = 0.15  # the largest deviation from a line of what passes for one


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


@dataclass(frozen=True)
class Line:
    """Cost of a step.

    Attributes:
        fixed: seconds without a clip.
        slope: seconds a clip more.
        deviations: of the cost at each size above the line, as shares of the cost.
    """

    fixed: float
    slope: float
    deviations: tuple[float, ...]

    @property
    def largest(self) -> float:
        """The deviation farthest from 0."""
        return max(self.deviations, key=abs)


def fitted(values: Sequence[float], sizes: Sequence[int]) -> Line:
    """The line through costs (positive) at different sizes, at least two."""
    costs = np.asarray(values, np.float64)
    shares = np.stack([1 / costs, np.asarray(sizes) / costs], axis=1)
    scale = np.abs(shares).max(axis=0)
    fixed, slope = np.linalg.lstsq(shares / scale, np.ones(len(costs)), rcond=None)[0] / scale
    deviations = 1 - shares @ np.asarray([fixed, slope])
    return Line(float(fixed), float(slope), tuple(float(share) for share in deviations))


def _cost(rows: Rows, sizes: list[int]) -> str:
    head = ["step", *(f"{size:,}: processor s" for size in sizes), *(f"{size:,}: wall s" for size in sizes)]
    several = len(sizes) > 1
    head += ["fixed s", "ms a clip more", "largest deviation"] if several else []
    lines, bent = [], []
    for step in rows[sizes[0]]["steps"]:
        processor = [rows[size]["steps"][step]["processor"] for size in sizes]
        wall = [rows[size]["steps"][step]["wall"] for size in sizes]
        cells = [step, *(f"{value:.1f}" for value in (*processor, *wall))]
        if several:
            line = fitted(processor, sizes)
            cells += [f"{line.fixed:.1f}", f"{1000 * line.slope:.3f}", f"{line.largest:+.0%}"]
            if abs(line.largest) > STRAIGHT:
                bent.append(f"{step} ({', '.join(f'{share:+.0%}' for share in line.deviations)})")
        lines.append(cells)
    verdict = (
        f"Farther from their lines than {STRAIGHT:.0%}: {', '.join(bent) or 'none'}.\n" if several else ""
    )
    return _table(head, lines) + verdict


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
    for step in rows[sizes[0]]["steps"]:
        share = SHARES.get(step.split("_")[0], ELSE)
        line = fitted([rows[size]["steps"][step]["processor"] for size in sizes], sizes)
        fixed, slope = max(0.0, line.fixed) / 3600, max(0.0, line.slope)
        work = slope * share.of_a_clip * AUDIOSET_CLIPS / 3600
        hours = [fixed + work, *(fixed + work / (count if share.divides else 1) for count in WORKERS)]
        totals += hours
        lines.append([step, *(f"{value:.2f}" for value in hours)])
    lines.append(["all", *(f"{value:.2f}" for value in totals)])
    return _table(head, lines)


def _table(head: list[str], lines: list[list[str]]) -> str:
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines)) + "\n"
