"""`hares run-compiled`: a compiled file, run here without a cluster."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import click

from cli.errors import CommandError, ExitCode


@click.command()
@click.argument("compiled", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR",
              help="Folder of all attempts; with the same one a run goes on where it stopped.")  # fmt: skip
@click.option("--trust", is_flag=True, help="Run programs of the file that `hares compile` does not write, and give "
              "them all of the environment, tokens included.")  # fmt: skip
def command(compiled: Path, folder: Path, trust: bool) -> None:
    """Run a file of `hares compile` on this machine, step by step, as its cluster would.

    Only the file is read. Each step's own command runs as a process; failed steps are tried again as often as the file
    says. Ends with the scores.

    A compiled file names programs. Without --trust only our own steps are run, in an environment without tokens; a step
    in a custom job, or one that registers a model, speaks to Vertex with your account and needs --trust.

    \b
    hares run-compiled hares.yaml --folder rehearsal
    """
    import json

    from cli.score_table import score_table
    from cli.terminal import Terminal
    from hares.report.runs import REPORT_FILE
    from kubeflow.compiled.file import CompiledFileError, read_compiled
    from kubeflow.compiled.local_run import CompiledStepError, run_compiled
    from kubeflow.compiled.trust import untrusted_parts

    console = Terminal()
    try:
        pipeline = read_compiled(compiled)
        if not trust and (found := untrusted_parts(pipeline)):
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise CommandError(
                f"{compiled}: {found[0]}{more}; this is not what `hares compile` writes for this machine. If you trust "
                "whoever made the file with your account, give --trust",
                ExitCode.SETTINGS,
            )
        began = time.monotonic()
        done = run_compiled(pipeline, folder, _Lines(), dict(os.environ) if trust else _without_secrets())
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


# Variables by which programs, libraries and accelerators are found; none that holds a token or a password.
_NEEDED = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|VIRTUAL_ENV|PYTHON\w*|LD_LIBRARY_PATH|CUDA_\w+"
    r"|NVIDIA_\w+|XLA_\w+|TF_\w+|OMP_\w+|MKL_\w+|OPENBLAS_\w+"
)


def _without_secrets() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if _NEEDED.fullmatch(name)}


class _Lines:
    """Prints a line for every attempt, and for every step that has ended."""

    def start(self, step: str, attempt: int, process: int) -> None:
        """An attempt runs."""
        from cli.terminal import say

        say(f"       {step}: attempt {attempt}, process {process}")

    def finish(self, step: str, outcome: str, seconds: float) -> None:
        """A step has ended."""
        from cli.terminal import say

        say(f"{outcome:<7}{step}  {seconds:.0f} s")
