"""Every layer of an encoder scored from one pass over the audio.

Transfer differs by layer: the best one for speakers is seldom the best one for words, and seldom the last. Each batch
of crops goes through the network once; the pooled embeddings of all layers are cached, each as that of the encoder
which `--output-name` would choose, and then probed layer by layer.

| file in the output | what |
|---|---|
| report.json, report.html, ... | of the chosen output, as `hares.evaluation` writes them, with a table of all layers |
| layers/<layer>/ | the same of each layer |

A layer picked by its scores is picked on test clips: the table shows where a network knows what, and the score of a
picked layer is too high by what the picking gained.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hares.adapters import FrozenEncoder, Layers
from hares.adapters._arrays import as_array
from hares.digests import combined_digest
from hares.embedding.task_embedder import Part, Tally, TaskEmbedder, list_task
from hares.evaluation import (
    Checked,
    Evaluation,
    EvaluationError,
    EvaluationObserver,
    EvaluationSettings,
    TaskSource,
    evaluate_tasks,
)
from hares.preflight import check_encoder, crop_lengths
from hares.report.runs import all_entries

LAYERS_FOLDER = "layers"
_LOG = logging.getLogger(__name__)


def evaluate_layers(
    encoder: FrozenEncoder,
    sources: tuple[TaskSource, ...],
    settings: EvaluationSettings,
    output: Path,
    cache: Path,
    observer: EvaluationObserver,
) -> Evaluation:
    """Checks an encoder, scores all its layers, and writes the reports.

    Args:
        encoder: of a kind with layers.
        sources: the tasks and their data.
        settings: protocol, batch size, number type.
        output: folder of the reports.
        cache: folder of the embeddings.
        observer: hears of the progress.

    Returns:
        The evaluation of the encoder's chosen output; its report has `layers`, a row each.

    Raises:
        ValueError: the encoder has no layers.
        PreflightError: the encoder cannot be scored; no data was read.
        OSError: the machine's fault, such as a full disk.
    """
    if encoder.layers is None:
        raise ValueError(
            f"encoder {encoder.spec!r}: it has no layers to choose from, as those of kind transformers: have. Leave "
            "--layers out"
        )
    began = time.monotonic()
    joined, parts = _joined(encoder, encoder.layers)
    largest = float(np.finfo(settings.dtype).max)
    checks, size = check_encoder(joined, crop_lengths([source.task for source in sources]), largest)
    seconds = time.monotonic() - began
    observer.checked(checks, size, seconds)
    _embed_once(
        TaskEmbedder(joined, size, settings, cache, observer, parts), sources, settings, output, observer
    )
    rows, chosen = [], None
    for part in parts:
        width = part.columns.stop - part.columns.start
        checked = Checked(checks, width, seconds)
        name = part.encoder.output.partition(":")[0]
        found = evaluate_tasks(
            part.encoder, sources, settings, output / LAYERS_FOLDER / name, cache, _Quiet(observer), checked
        )
        rows.append(_row(name, width, found.report))
        chosen = checked if part.encoder.output == encoder.output else chosen
    assert chosen is not None  # the encoder's output is one of its layers
    return evaluate_tasks(encoder, sources, settings, output, cache, _Quiet(observer), chosen, rows)


def _joined(encoder: FrozenEncoder, layers: Layers) -> tuple[FrozenEncoder, list[Part]]:
    """An encoder whose embedding is those of all layers side by side, and which columns are whose."""
    seconds = encoder.input_samples or encoder.sample_rate
    widths = [as_array(found).shape[-1] for found in layers.embed(np.zeros((1, seconds), np.float32))]
    edges = np.cumsum([0, *widths]).tolist()
    parts = [
        Part(one, slice(first, last))
        for one, first, last in zip(layers.encoders, edges[:-1], edges[1:], strict=True)
    ]
    joined = replace(
        encoder,
        embed=lambda waveforms: np.concatenate(
            [as_array(found) for found in layers.embed(waveforms)], axis=1
        ),
        digest=combined_digest(layers=[one.digest for one in layers.encoders]),
        embedding_size=None,
        layers=None,
    )
    return joined, parts


def _embed_once(
    embedder: TaskEmbedder,
    sources: tuple[TaskSource, ...],
    settings: EvaluationSettings,
    output: Path,
    observer: EvaluationObserver,
) -> None:
    """Puts the embeddings of all layers into the cache. A task that fails here fails again where it is scored."""
    listings = {source.task.name: list_task(source, settings.clips_per_shard) for source in sources}
    observer.listed(sum(listing.clips for listing in listings.values()))
    for source in sources:
        name = source.task.name
        observer.embedding(name)
        try:
            embedder.embed(source, listings[name], Tally(), output)
        except EvaluationError as error:
            _LOG.error("%s: its layers cannot be embedded", name, exc_info=error)


def _row(layer: str, size: int, report: Mapping[str, Any]) -> dict[str, Any]:
    entries = all_entries(report)
    return {
        "layer": layer,
        "embedding_size": size,
        "hares": report["hares"],
        "partial_mean": report["partial_mean"]["hares"],
        "domains": dict(report["domains"]),
        "tasks": {name: entry["value"] for name, entry in entries.items()},
        "intervals": {name: entry["interval"] for name, entry in entries.items()},
    }


class _Quiet:
    """Passes on which probes are trained and what fails: clips are counted once, when all layers are embedded."""

    def __init__(self, observer: EvaluationObserver) -> None:
        self.probing, self.failed = observer.probing, observer.failed

    def _nothing(self, *_: Any, **__: Any) -> None: ...

    checked = listed = embedding = clips = _nothing
