"""Published weights into an encoder of ours, and out as an export that can be scored.

One source of weights is one module in `models/published/`; it exposes `SOURCE`. A source is found by the encoder: the
one whose `encoders` names its family, else `canonical`, which takes arrays under our own names. Adding a source
touches no other file.

Shapes: `b` batch, `t` frames, `f` mel bins, `n` samples.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models.encoder import Encoder, encoder_module_name, load_encoder
from models.export import export_saved_model
from models.frontend import FrontendConfig
from models.weight_files import read_tensors
from models.weights import load_weights

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class PublishedSource:
    """Where weights come from, and how they become ours.

    Attributes:
        name: module name.
        encoders: modules of `models/encoders/` whose encoders it fills.
        citation: who trained them, on what, and where they are.
        frontend: the nearest that our front end can be to what they were trained with.
        convert: tensors by the source's names -> arrays by canonical name. What the source has beside the encoder,
            such as classifiers, is left out; what it does not know is kept under its own name, so that it is
            reported as unexpected.
    """

    name: str
    encoders: tuple[str, ...]
    citation: str
    frontend: FrontendConfig
    convert: Callable[[Arrays], dict[str, np.ndarray]]


def source_names() -> tuple[str, ...]:
    """Names of all sources, sorted."""
    package = importlib.import_module("models.published")
    names = (info.name for info in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in names if not name.startswith("_")))


def source_of(encoder: str) -> PublishedSource:
    """The source of weights for encoder `encoder`. Raises ValueError where there is no such encoder."""
    family = encoder_module_name(encoder).rsplit(".", 1)[-1]
    sources = {name: _load_source(name) for name in source_names()}
    return next((s for s in sources.values() if family in s.encoders), sources["canonical"])


def fill_encoder(name: str, tensors: Arrays, source: PublishedSource) -> Encoder:
    """Encoder `name` with the weights of `source`.

    Raises:
        ValueError: tensors are missing, unexpected or misshapen; the message lists all of them, by our names
            where they have one.
    """
    record = load_encoder(name)
    encoder = record.build(0)
    bins = source.frontend.num_mel_bins
    one_second = source.frontend.sample_rate
    frames = source.frontend.num_frames(one_second)
    shape = [1, frames, bins, 1] if record.input_kind == "log_mel" else [1, one_second]
    encoder(tf.zeros(shape))  # some encoders make variables at their first input
    load_weights(encoder, source.convert(tensors))
    return encoder


def import_weights(encoder: str, file: Path, directory: Path) -> dict[str, Any]:
    """Reads published weights and writes them as an exported SavedModel; returns its metadata.

    Args:
        encoder: name of the encoder that they are for.
        file: `.safetensors`, `.npz`, or an archive of PyTorch; see `models/weight_files.py`.
        directory: where the SavedModel goes.

    Raises:
        ValueError: there is no such encoder, the file cannot be read, or its tensors do not fit; nothing is written.
    """
    record, source = load_encoder(encoder), source_of(encoder)
    filled = fill_encoder(encoder, read_tensors(file), source)
    count = sum(int(tf.size(variable)) for variable in filled.trainable_variables)
    record = dataclasses.replace(record, parameters=count)  # at the mel bins of the source
    metadata = {"weights_source": source.name, "weights_file": file.name, "weights_citation": source.citation}
    return export_saved_model(filled, record, directory, source.frontend, metadata)


def _load_source(name: str) -> PublishedSource:
    source: PublishedSource = importlib.import_module(f"models.published.{name}").SOURCE
    return source
