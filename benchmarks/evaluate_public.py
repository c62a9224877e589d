"""A table of finished evaluations of public encoders: `python -m benchmarks.evaluate_public NAME=FOLDER ...`.

FOLDER is the `--output` of `hares evaluate`; docs/measurements/public_encoders.md has the commands. Encoders come in
libraries that do not fit into one environment, so each is scored where its own is. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER")
    reports, records = {}, {}
    for run in parser.parse_args().runs:
        name, _, folder = run.partition("=")
        reports[name] = json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))
        records[name] = json.loads((Path(folder) / "evaluate.json").read_text(encoding="utf-8"))
    print(markdown(reports, records))


def markdown(reports: dict[str, Any], records: dict[str, Any]) -> str:
    """Scores in percent, a row a task, a column an encoder; chance and clip counts beside them."""
    first = next(iter(reports.values()))
    rows = [["task", "test clips", "chance", *reports], ["---", *["--:"] * (len(reports) + 2)]]
    for task, entry in first["tasks"].items():
        scores = [percent(report["tasks"][task]["value"]) for report in reports.values()]
        rows.append(
            [task, f"{entry['clips']} of {entry['expected_clips']}", percent(entry["chance"]), *scores]
        )
    for domain in first["domains"]:
        rows.append([f"**{domain}**", "", "", *(percent(r["domains"][domain]) for r in reports.values())])
    rows.append(["**HARES**", "", "", *(percent(report["hares"]) for report in reports.values())])
    rows.append(["numbers a crop", "", "", *(str(r["encoder"]["embedding_size"]) for r in records.values())])
    rows.append(["pre-flight, s", "", "", *(f"{r['seconds']['preflight']:.1f}" for r in records.values())])
    rows.append(["whole run, s", "", "", *(f"{r['seconds']['total']:.0f}" for r in records.values())])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def percent(value: float | None) -> str:
    """A fraction in percent, a dash for None."""
    return "-" if value is None else f"{100 * value:.1f}"


if __name__ == "__main__":
    main()
