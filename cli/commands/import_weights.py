"""`hares import-weights`: published weights, as an export that `hares evaluate` scores."""

from __future__ import annotations

from pathlib import Path

import click

from cli.errors import CommandError, ExitCode


@click.command()
@click.option("--encoder", required=True, metavar="NAME", help="The encoder they are for, such as cnn14.")
@click.option("--from", "file", required=True, metavar="FILE", type=click.Path(path_type=Path),
              help="Downloaded .safetensors, .npz, .pt, .pth or .bin.")  # fmt: skip
@click.option("--output", required=True, metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
              help="Where the SavedModel goes; new, or empty.")  # fmt: skip
def command(encoder: str, file: Path, output: Path) -> None:
    """Bring published weights into an encoder of ours and export it.

    Nothing in the file is executed. If tensors are missing, unexpected or misshapen, all of them are listed and nothing
    is written. docs/published_weights.md says how the front ends differ from the originals'.

    \b
    hares import-weights --encoder cnn14 --from Cnn14_16k.safetensors --output panns
    hares import-weights --encoder byola_cnn --from AudioNTT2020-BYOLA-64x96d2048.pth --output byola
    hares evaluate --encoder saved_model:panns --corpus corpora
    """
    if output.exists() and any(output.iterdir()):
        raise CommandError(f"--output {output}: it is not empty; give a new folder", ExitCode.SETTINGS)
    from models.import_weights import import_weights

    try:
        metadata = import_weights(encoder, file, output)
    except ValueError as error:
        raise CommandError(str(error), ExitCode.SETTINGS) from error
    click.echo(
        f"{encoder}: {metadata['parameters']:,} parameters from {file} ({metadata['weights_source']}), "
        f"in {output}. Score it: hares evaluate --encoder saved_model:{output} --corpus DIR"
    )
