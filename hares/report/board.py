"""A leaderboard of many reports as one self-contained page: filters, sorting, and why each row may not be comparable.

Scores of different protocols are different numbers, so each protocol has a table of its own, and a table says by which
settings it differs from the paper's. Within a table only rows with all twelve scores have a rank; what else sets a row
apart (missing clips, a split that is not official, other test
clips than most rows have, leakage) stands beside it. The paper's rows stand in the
table of its protocol, marked and without a rank: they are of its data. Tasks of one's own have columns behind the
twelve, and no part in a mean or a rank.

The page loads nothing. Its only script is `board.js`, by digest in the content security policy; all text is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hares.predictions import Predictions
from hares.protocol import ProtocolSettings
from hares.report.page import page_template
from hares.report.paper import paper_tables
from hares.report.runs import Run, all_entries
from hares.task import DOMAINS, load_task, task_names

DATA_FILES = (
    "hares/report/board.html.j2",
    "hares/report/board.js",
    "hares/report/parts.html.j2",
    "hares/report/style.css.j2",
)
# Settings that change how sure or how large a computation is, and no score's meaning.
_NO_PROTOCOL = ("name", "seed", "bootstrap_resamples", "memory_limit_mb")
_ABSENT = {"value": None, "interval": None}  # of a row whose run has not a task that another's has
_PAPER_SYSTEMS = ("table2", "table4", "table6", "table7", "table8", "table9")


def build_board(runs: Sequence[Run]) -> dict[str, Any]:
    """The leaderboard as plain data, which JSON can hold.

    Args:
        runs: in any order.

    Returns:
        `columns`, HARES first, and `tables`: one for each protocol, that of the paper first, each with its `title`,
        `protocol`, `changed` (settings that are not the paper's) and `rows`, the highest HARES first. A row has
        `scores` and `intervals` by column, `rank`, `marks` and `of_column` (what must be known to compare it), and
        whether it is `complete`, `official` or the `paper`'s.
    """
    tables: dict[str, dict[str, Any]] = {}
    own = {name: entry["title"] for run in runs for name, entry in run.report.get("own_tasks", {}).items()}
    names = [*_tasks(), *sorted(own)]
    for run in runs:
        settings = run.report["protocol"]["settings"]
        changed = {key: settings.get(key) for key in _paper_settings() if _differs(settings, key)}
        name = str(run.report["protocol"]["name"])
        key = json.dumps([name, changed], sort_keys=True)
        tables.setdefault(key, _table(name, changed))["rows"].append(_row(run, names))
    for table in tables.values():
        if not table["changed"]:
            table["rows"] += _paper_rows(names)
        table["rows"].sort(key=_order)
        _rank(table["rows"])
        _mark_other_clips(table["rows"], names)
    ordered = sorted(tables.values(), key=lambda table: (bool(table["changed"]), table["title"]))
    columns = [{"name": "hares", "title": "HARES"}]
    columns += [{"name": domain, "title": domain.capitalize()} for domain in DOMAINS]
    columns += [{"name": name, "title": load_task(name).title.split(",")[0]} for name in _tasks()]
    columns += [
        {"name": name, "title": f"{title.split(',')[0]} (own)"} for name, title in sorted(own.items())
    ]
    return {"columns": columns, "tables": ordered}


def render_board(board: Mapping[str, Any]) -> str:
    """A leaderboard that `build_board` made as one HTML page."""
    script = Path(__file__).with_name("board.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return page_template("board.html.j2").render(board=board, script=script, digest=digest)


def _tasks() -> Iterable[str]:
    """All tasks, by domain."""
    tasks = [load_task(name) for name in task_names()]
    return [task.name for domain in DOMAINS for task in tasks if task.domain == domain]


def _paper_settings() -> dict[str, Any]:
    return {key: value for key, value in asdict(ProtocolSettings()).items() if key not in _NO_PROTOCOL}


def _differs(settings: Mapping[str, Any], key: str) -> bool:
    paper = _paper_settings()[key]
    return bool(settings.get(key) != (list(paper) if isinstance(paper, tuple) else paper))


def _table(name: str, changed: Mapping[str, Any]) -> dict[str, Any]:
    title = "The paper's protocol" if not changed else f"Protocol {name}"
    return {"title": title, "protocol": name, "changed": dict(changed), "rows": []}


def _row(run: Run, names: Sequence[str]) -> dict[str, Any]:
    report = run.report
    tasks, entries = report["tasks"], all_entries(report)
    scored = [name for name in tasks if tasks[name]["value"] is not None]
    of_column = {
        name: found
        for name, entry in entries.items()
        if entry["value"] is not None and (found := _caveats(entry))
    }
    missing = len(tasks) - len(scored)
    marks = [f"{missing} of {len(tasks)} tasks missing"] if missing else []
    for kind, what in (("leak", "leakage"), ("clips", "clips missing"), ("split", "split not the paper's")):
        if marked := [name for name, found in of_column.items() if kind in found]:
            marks.append(f"{what}: {', '.join(marked)}")
    encoder = report["encoder"]
    return {
        "encoder": str(encoder.get("name") or run.name),
        "file": run.name,
        "paper": False,
        "complete": report["hares"] is not None,
        "official": all(tasks[name]["split_official"] is True for name in scored),
        "scores": {
            "hares": report["hares"],
            **report["domains"],
            **{name: entries.get(name, _ABSENT)["value"] for name in names},
        },
        "intervals": {
            "hares": report["intervals"]["hares"],
            **report["intervals"]["domains"],
            **{name: entries.get(name, _ABSENT)["interval"] for name in names},
        },
        "partial": report["partial_mean"]["hares"],
        "scored_tasks": len(scored),
        "of_tasks": len(tasks),
        "marks": marks,
        "of_column": {name: "; ".join(found.values()) for name, found in of_column.items()},
        "test_clips": {name: _clips_digest(answers) for name, answers in run.predictions.items()},
        "deviations": {
            entry["title"]: list(entry["deviations"])
            for entry in entries.values()
            if entry["value"] is not None
        },
        "digest": str(encoder.get("digest", "")),
        "rank": None,
    }


def _caveats(entry: Mapping[str, Any]) -> dict[str, str]:
    """Why a task's score cannot be set beside another's without a second look."""
    found = {}
    if entry["leakage"]["verdict"] == "leak":
        found["leak"] = "clips or groups on both sides of the split"
    manifest = entry["manifest"]
    if manifest is None:
        found["clips"] = "unknown how many clips are missing"
    elif manifest["present"] < manifest["expected"]:
        found["clips"] = f"{manifest['present']} of {manifest['expected']} clips"
    if entry["split_official"] is not True:
        known = entry["split_official"] is False
        found["split"] = "split not the paper's" if known else "split unknown"
    return found


def _clips_digest(answers: Predictions) -> str:
    return hashlib.sha256(repr((answers.clip_ids, answers.labels)).encode()).hexdigest()


def _mark_other_clips(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Marks the scores that are of other test clips than most rows of the table have."""
    for name in names:
        clips = Counter(row["test_clips"][name] for row in rows if name in row["test_clips"])
        most = clips.most_common(1)[0][0] if clips else ""
        for row in rows:
            if row["test_clips"].get(name, most) != most:
                notes = [row["of_column"].get(name), "other test clips than most rows"]
                row["of_column"][name] = "; ".join(filter(None, notes))


def _paper_rows(names: Sequence[str]) -> list[dict[str, Any]]:
    """The paper's systems; one that several tables print is taken from the table that prints most of its tasks."""
    best: dict[tuple[Any, ...], tuple[int, dict[str, Any]]] = {}
    for table in _PAPER_SYSTEMS:
        for column in paper_tables()[table]:
            row = _paper_row(column, table, names)
            known = sum(value is not None for value in row["scores"].values())
            # The same system with another training has other means.
            key = (column["system"], *(column["domains"][domain] for domain in DOMAINS), column["hares"])
            if key not in best or known > best[key][0]:
                best[key] = (known, row)
    return [row for _, row in best.values()]


def _paper_row(column: Mapping[str, Any], table: str, names: Sequence[str]) -> dict[str, Any]:
    percents = {"hares": column["hares"], **column["domains"]}
    percents |= {name: column["tasks"].get(name) for name in names}
    scores = {name: None if value is None else round(value / 100, 6) for name, value in percents.items()}
    return {
        "encoder": column["system"],
        "file": f"{column['training']}; table {table.removeprefix('table')}",
        "paper": True,
        "complete": column["hares"] is not None,
        "official": True,
        "scores": scores,
        "intervals": dict.fromkeys(scores),
        "partial": None,
        "scored_tasks": sum(scores[name] is not None for name in _tasks()),
        "of_tasks": len(task_names()),
        "marks": [],
        "of_column": {},
        "test_clips": {},
        "deviations": {},
        "digest": "",
        "rank": None,
    }


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """HARES from high to low; then those without, by how many tasks they have."""
    value = row["scores"]["hares"]
    return (value is None, -(value or 0), -row["scored_tasks"], row["encoder"], row["file"])


def _rank(rows: Sequence[dict[str, Any]]) -> None:
    """Numbers the rows of ours that have a HARES; equal scores share the better number."""
    ranked = [row for row in rows if row["complete"] and not row["paper"]]
    for row in ranked:
        row["rank"] = 1 + sum(other["scores"]["hares"] > row["scores"]["hares"] for other in ranked)
