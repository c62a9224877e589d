"""`hares demo`: everything, on a corpus it makes itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options import METADATA, SET

if TYPE_CHECKING:
    from cli.terminal import Terminal


@click.command()
@click.option("--workspace", type=click.Path(path_type=Path, file_okay=False), default=Path("demo"),
              show_default=True, help="Where the corpus, the store and the report go.")  # fmt: skip
@SET
@METADATA
def command(workspace: Path, assignments: tuple[str, ...], metadata: str) -> None:
    """Make a small corpus, run the whole pipeline on it, and print the twelve scores.

    It needs no network and no data: tones, plucked strings, speech-like syllables, noises and chirps are synthesised,
    for each task in its data set's native layout. It takes minutes on two cores.

    \b
    hares demo
    hares demo --workspace W --set training.steps=600
    hares demo --workspace W --metadata mysql://hares@127.0.0.1/hares
    """
    from cli.pipeline_run import RunRequest, run_and_show

    request = RunRequest("demo", workspace, workspace / "corpus", assignments=assignments, metadata=metadata)
    run_and_show(request, make_corpus=_make_corpus)


def _make_corpus(folder: Path, console: Terminal) -> None:
    """Synthesises the corpus, unless an earlier demo did; the folder appears when it is complete."""
    from rich.progress import Progress

    from hares.synthesis import make_corpus

    if folder.is_dir():
        return
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("making a corpus")
        make_corpus(
            folder,
            progress=lambda name, done, total: progress.update(
                bar, completed=done, total=total, description=f"making a corpus: {name}"
            ),
        )
    console.print(f"made a corpus in {folder}", highlight=False)
