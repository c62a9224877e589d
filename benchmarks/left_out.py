"""Does an encoder do well on a task because it has heard that task's recordings? Each task without them.

    python -m benchmarks.left_out --folder AUDIO --corpus DIR --out W [--steps 500] [--runs 4] [--set key=value ...]

AUDIO holds unlabelled recordings, a folder a package. A data set's PROVENANCE.csv names the package that each of its
clips comes from. The `small` preset trains once on all of AUDIO and is scored on all tasks; and again for each group of
tasks, without every folder that one of the group's tasks names, and is scored on these. Tasks are grouped so that there
are at most as many runs as asked for and few recordings are left out without need; a task that names no folder of AUDIO
has its score from the first run. All runs differ in nothing else, and have the same untrained network beside them.

Folders are linked, not copied, so W must be on AUDIO's file system. A command that was stopped goes on where it was.
Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

from hares.task import DOMAINS, load_task, task_names

Folders = frozenset[str]


def named_folders(corpus: Path, folders: Folders) -> dict[str, Folders]:
    """For each task the folders of AUDIO that its data set's PROVENANCE.csv names.

    Raises:
        FileNotFoundError: a data set says nothing of where its clips come from.
    """
    found = {}
    for task in task_names():
        with (corpus / load_task(task).dataset / "PROVENANCE.csv").open(encoding="utf-8", newline="") as file:
            found[task] = folders & {row["package"] for row in csv.DictReader(file)}
    return found


def group(named: dict[str, Folders], clips: dict[str, int], groups: int) -> dict[Folders, list[str]]:
    """Tasks by the folders that are left out for them, at most `groups` of them; for each at least what it names.

    Args:
        named: folders by task.
        clips: recordings by folder.
        groups: how many; those of no folder at all do not count.
    """
    found: dict[Folders, list[str]] = {}
    for task, out in named.items():
        found.setdefault(out, []).append(task)

    def needless(pair: tuple[Folders, Folders]) -> int:
        both = pair[0] | pair[1]
        return sum(clips[name] * len(found[out]) for out in pair for name in both - out)

    while len([out for out in found if out]) > groups:
        first, second = min(combinations([out for out in found if out], 2), key=needless)
        tasks = found.pop(first) + found.pop(second)
        found[first | second] = found.get(first | second, []) + tasks
    return found


def link(audio: Path, names: Folders, to: Path) -> None:
    """Hard links to every recording of the named folders."""
    for name in sorted(names):
        (to / name).mkdir(parents=True, exist_ok=True)
        for path in sorted((audio / name).iterdir()):
            if path.is_file() and not (to / name / path.name).exists():
                os.link(path, to / name / path.name)


def run(workspace: Path, source: Path, corpus: Path, tasks: list[str], options: list[str]) -> dict[str, Any]:
    """The report of `hares run`; from the cache where it has been run before."""
    command = [sys.executable, "-m", "cli.main", "run", "--config", "small", "--json"]
    command += ["--corpus", str(corpus), "--workspace", str(workspace)]
    for setting in (f"pretraining.source={source}", f"tasks=[{','.join(tasks)}]", *options):
        command += ["--set", setting]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


def table(whole: dict[str, Any], parts: dict[str, dict[str, Any]]) -> str:
    """Scores in percent, a row a task: with all folders, without its own, untrained; means over them at the end."""
    rows = []
    for task in task_names():
        all_folders, own = whole["tasks"][task], parts[task]["tasks"][task]
        rows.append((task, all_folders["value"], own["value"], all_folders["untrained"]))
    lines = [
        "| task | all folders | without its own | untrained | folders left out |",
        "|---|--:|--:|--:|--:|",
    ]
    for task, *scores in rows:
        out = parts[task]["left_out"]
        lines.append(f"| {task} | " + " | ".join(f"{100 * score:.1f}" for score in scores) + f" | {out} |")
    for domain in DOMAINS:
        chosen = [scores for task, *scores in rows if load_task(task).domain == domain]
        lines.append(f"| **{domain}** | {_means(chosen)} | |")
    lines.append(f"| **HARES** | {_means([scores for _, *scores in rows])} | |")
    more = [sum(scores[place] > scores[2] for _, *scores in rows) for place in (0, 1)]
    lines.append(f"\nAbove its untrained self on {more[0]} tasks, without their folders on {more[1]}.")
    return "\n".join(lines)


def _means(rows: list[list[float]]) -> str:
    return " | ".join(f"{100 * sum(column) / len(rows):.1f}" for column in zip(*rows, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="AUDIO: a folder a package")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="links and a workspace a run go here")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--runs", type=int, default=4, help="at most, the one with all folders included")
    parser.add_argument("--set", dest="assignments", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    audio, out = arguments.folder.resolve(), arguments.out.resolve()
    names = frozenset(
        path.name for path in audio.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    clips = {name: sum(1 for _ in (audio / name).iterdir()) for name in names}
    named = named_folders(arguments.corpus, names)
    options = [f"training.steps={arguments.steps}", *arguments.assignments]

    def trained_on(heard: Folders, name: str, tasks: list[str]) -> dict[str, Any]:
        link(audio, heard, out / name / "audio")
        report = run(
            out / name / "workspace", out / name / "audio", arguments.corpus.resolve(), tasks, options
        )
        return {**report, "left_out": len(names - heard)}

    whole = trained_on(names, "all", list(task_names()))
    parts = {}
    for number, (left, tasks) in enumerate(group(named, clips, arguments.runs - 1).items()):
        print(f"{' '.join(tasks)}: without {' '.join(sorted(left)) or 'nothing'}", file=sys.stderr)
        report = trained_on(names - left, f"part{number}", tasks) if left else whole
        parts.update(dict.fromkeys(tasks, report))
    print(table(whole, parts))


if __name__ == "__main__":
    main()
