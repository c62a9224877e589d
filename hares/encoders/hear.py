"""`hear:MODULE[:WEIGHTS]`: a module with the interface of HEAR 2021 (https://hearbenchmark.com/hear-api.html).

`load_model(weights)` gives a model with `sample_rate` and `scene_embedding_size`;
`get_scene_embeddings(audio, model)` turns (n_sounds, n_samples) in [-1, 1] into (n_sounds, d). The audio is
a torch tensor for a torch model, a TensorFlow tensor for a `tf.Module`, else a numpy array.

The module's code is executed: load only what you trust.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from hares._digests import combined_digest, library_versions, tree_digest
from hares.code_digest import source_digest
from hares.encoders import EncoderOptions, FrozenEncoder, chosen_rate
from hares.encoders._arrays import as_array
from hares.encoders._modules import import_user_module


def load(location: str, options: EncoderOptions) -> FrozenEncoder:
    """The encoder of a HEAR module. Raises ValueError where the module does not keep the interface."""
    spec = f"hear:{location}"
    name, _, weights = location.partition(":")
    module = import_user_module(name, spec)
    for function in ("load_model", "get_scene_embeddings"):
        if not callable(getattr(module, function, None)):
            raise ValueError(
                f"encoder {spec!r}: module {name} has no function {function}; HEAR 2021 asks for load_model and "
                "get_scene_embeddings"
            )
    if options.output is not None:
        raise ValueError(f"encoder {spec!r}: a HEAR module has one embedding. Leave --output-name out")
    if weights and not Path(weights).exists():
        raise ValueError(f"encoder {spec!r}: no weights at {weights!r}; give hear:MODULE:WEIGHTS")
    model = _load_model(module, weights, spec)
    rate, size = (
        _whole_number(model, attribute, spec) for attribute in ("sample_rate", "scene_embedding_size")
    )
    return FrozenEncoder(
        spec=spec,
        name=f"{name}:{Path(weights).name}" if weights else name,
        sample_rate=chosen_rate(spec, rate, options),
        embedding_size=size,
        digest=combined_digest(
            kind="hear",
            source=source_digest(name),
            weights=tree_digest(Path(weights)) if weights else None,
            versions=library_versions(),
        ),
        embed=lambda waveforms: _embed(module, model, waveforms),
    )


def _load_model(module: Any, weights: str, spec: str) -> Any:
    try:
        model = module.load_model(weights) if weights else module.load_model()
    except Exception as error:  # whatever the module's code raises
        raise ValueError(
            f"encoder {spec!r}: load_model failed ({type(error).__name__}: {error}). Does it want weights? "
            "Give hear:MODULE:WEIGHTS"
        ) from error
    if hasattr(model, "eval"):  # torch: dropout and batch statistics off
        model.eval()
    return model


def _whole_number(model: Any, attribute: str, spec: str) -> int:
    value = getattr(model, attribute, None)
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value <= 0:
        raise ValueError(
            f"encoder {spec!r}: the model's {attribute} is {value!r}; HEAR 2021 asks for a positive int"
        )
    return int(value)


def _embed(module: Any, model: Any, waveforms: np.ndarray) -> np.ndarray:
    # A model of a library cannot be here unless that library is loaded.
    torch, tensorflow = sys.modules.get("torch"), sys.modules.get("tensorflow")
    if torch is not None and isinstance(model, torch.nn.Module):
        with torch.no_grad():
            return as_array(module.get_scene_embeddings(torch.from_numpy(waveforms.copy()), model))
    if tensorflow is not None and isinstance(model, tensorflow.Module):
        return as_array(module.get_scene_embeddings(tensorflow.constant(waveforms), model))
    return as_array(module.get_scene_embeddings(waveforms, model))
