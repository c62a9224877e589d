"""`hares evaluate`: HARES of any encoder, without the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.options import LONGEST_CLIP, PLUGIN

_FOLDER = click.Path(path_type=Path, file_okay=False)


def _names(context: click.Context, option: click.Parameter, text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@click.command()
@click.option("--encoder", "spec", required=True, metavar="SPEC", help="What to score; see below.")
@click.option(
    "--corpus", "corpora", multiple=True, required=True, metavar="DIR|NAME=DIR",
    help="Data sets; NAME=DIR places one.",
)  # fmt: skip
@click.option(
    "--tasks",
    metavar="NAME,...",
    default="",
    callback=_names,
    help="Only these tasks.  [default: all whose data set is found]",
)
@click.option("--protocol", type=click.Choice(["paper", "quick"]), default="paper", show_default=True,
              help="The paper's probes, or minutes on two cores.")  # fmt: skip
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Seed of crops and probes.",
)
@click.option(
    "--sample-rate", type=int, help="The encoder's sample rate, if it does not say.  [default: 16000]"
)
@click.option(
    "--output-name",
    help="Which output of several: NAME, NUMBER, SIGNATURE:NAME, or LAYER[:POOLING] of transformers.",
)
@click.option(
    "--layers",
    type=click.Choice(["all"]),
    help="Score every layer (transformers:), from one pass over the audio.",
)
@click.option(
    "--batch-size", type=click.IntRange(1),
    help="Crops at once; halved where memory does not hold them.  [default: 32, on a GPU 256]",
)  # fmt: skip
@click.option("--embedding-dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True,
              help="Type of the stored embeddings.")  # fmt: skip
@LONGEST_CLIP
@click.option(
    "--output", type=_FOLDER, default=Path("evaluation"), show_default=True, help="Report and manifests."
)
@click.option(
    "--cache",
    "cache_folder",
    type=_FOLDER,
    help="Embeddings, shared by any number of runs.  [default: OUTPUT/cache]",
)
@PLUGIN
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON and nothing else.")
def command(as_json: bool, **options: Any) -> None:
    """Score a frozen encoder on HARES: check it, embed every clip once, train the probes, write a report.

    The encoder's code is executed: score only what you trust.

    \b
    SPEC is one of
      run:WORKSPACE            the latest model of `hares run`, pushed or else trained
      saved_model:DIR          a SavedModel with a serving_default signature of float waveforms
      hub:DIR                  a TF-Hub module on the disk
      torch:FILE               a torch.export (.pt2) or TorchScript archive
      torch:MODULE:FACTORY     a torch.nn.Module
      transformers:DIR         a model of audio in Hugging Face's form
      onnx:FILE                an ONNX model
      keras:FILE               a .keras file
      jax:MODULE:FACTORY       a JAX function
      tflite:FILE              a TensorFlow Lite model
      hear:MODULE[:WEIGHTS]    a module with the HEAR 2021 interface
      python:MODULE:FACTORY    an object with sample_rate, embedding_size and a call (b, n) -> (b, d)
      mteb:NAME                an audio model of the mteb package
      untrained:NAME           an encoder of ours, or of a --plugin, with fresh weights
      log_mel                  the floor: mean and deviation of 80 log-mel bands

    \b
    hares evaluate --encoder log_mel --corpus corpora --protocol quick
    hares evaluate --encoder run:W --corpus corpora --tasks esc50,nsynth_pitch --output scores
    hares evaluate --encoder hear:models.hear:W/pushed/1 --corpus corpora --corpus esc50=/data/ESC-50-master
    hares evaluate --encoder untrained:mine_small --plugin mine.py --corpus corpora --protocol quick

    A run that was killed goes on where it stopped. Exit code 3 if the encoder fails the pre-flight, before any data is
    read; 4 if no task could be scored; 5 if the encoder or a probe failed on a task (the others are scored); 10 if
    another evaluation is at work in the output folder.
    """
    from cli.evaluation import EvaluateRequest, evaluate_and_show

    evaluate_and_show(EvaluateRequest(**options), as_json)
