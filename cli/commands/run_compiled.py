"""`hares run-compiled`: a compiled file, run here without a cluster."""

from __future__ import annotations

import time
from pathlib import Path

import click

from cli.errors import CommandError, ExitCode
from cli.terminal import say


@click.command()
@click.argument("compiled", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR",
              help="Where every step's attempts go; the same one again goes on where it stopped.")  # fmt: skip
def command(compiled: Path, folder: Path) -> None:
    """Run a file of `hares compile` on this machine, step by step, as its cluster would.

    Only the file is read. Each step's own command runs as a process; failed steps are tried again as often as the file
    says. Ends with the scores.

    \b
    hares run-compiled hares.yaml --folder rehearsal
    """
    import json

    from cli.score_table import score_table
    from cli.terminal import Terminal
    from hares.report.runs import REPORT_FILE
    from kubeflow.compiled import CompiledFileError, read_compiled
    from kubeflow.harness import CompiledStepError, run_compiled

    console = Terminal()
    try:
        pipeline = read_compiled(compiled)
        began = time.monotonic()
        done = run_compiled(pipeline, folder, _Lines())
    except CompiledFileError as error:
        raise CommandError(str(error), ExitCode.DATA) from error
    except CompiledStepError as error:
        raise CommandError(str(error), ExitCode.STEP) from error
    for outputs in done.values():
        for artifact in outputs.get("report", []):
            report = Path(artifact["uri"]) / REPORT_FILE
            console.print(score_table(json.loads(report.read_text(encoding="utf-8"))))
            console.print(f"report {report}", highlight=False, soft_wrap=True)
    console.print(f"{len(pipeline.steps)} steps in {time.monotonic() - began:.0f} s", highlight=False)


class _Lines:
    """A line for every attempt, and for every step that has ended."""

    def start(self, step: str, attempt: int, process: int) -> None:
        """An attempt runs."""
        say(f"       {step}: attempt {attempt}, process {process}")

    def finish(self, step: str, outcome: str, seconds: float) -> None:
        """A step has ended."""
        say(f"{outcome:<7}{step}  {seconds:.0f} s")
