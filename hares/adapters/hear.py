"""`hear:MODULE[:WEIGHTS]`: a module with the interface of HEAR 2021 (https://hearbenchmark.com/hear-api.html).

`load_model(weights)` gives a model with `sample_rate` and `scene_embedding_size`;
`get_scene_embeddings(audio, model)` turns (n_sounds, n_samples) in [-1, 1] into (n_sounds, d). The audio is
a torch tensor on the model's device where the model is or holds a `torch.nn.Module` (which is put into `eval` mode), a
TensorFlow tensor where it holds a `tf.Module` or Keras layer, else a numpy array.

The digest covers the module's source, the file or folder of the weights, and every array of numbers that the model
holds (`hares.adapters._state`): weights that it found by itself count as those it was given.

The module's code is executed: load only what you trust.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hares.adapters import EncoderOptions, FrozenEncoder, chosen_rate
from hares.adapters._arrays import as_array
from hares.adapters._state import State, state_of
from hares.code_digest import source_digest
from hares.digests import combined_digest, library_versions, tree_digest
from hares.user_code import UserCodeError, import_user_module


def load(location: str, options: EncoderOptions) -> FrozenEncoder:
    """The encoder of a HEAR module. Raises ValueError where the module does not keep the interface."""
    name, _, weights = location.partition(":")
    return from_module(import_user_module(name, f"hear:{location}"), weights, options)


def from_module(module: ModuleType, weights: str, options: EncoderOptions) -> FrozenEncoder:
    """The encoder of a HEAR module that is imported already. Raises ValueError as `load`."""
    name = module.__name__
    spec = f"hear:{name}:{weights}" if weights else f"hear:{name}"
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
    state = state_of(model)
    for part in state.torch_modules:  # dropout and batch statistics off
        part.eval()
    return FrozenEncoder(
        spec=spec,
        name=f"{name}:{Path(weights).name}" if weights else name,
        sample_rate=chosen_rate(spec, rate, options),
        embedding_size=size,
        digest=combined_digest(
            kind="hear",
            source=source_digest(name),
            weights=tree_digest(Path(weights)) if weights else None,
            state=state.digest,
            versions=library_versions(),
        ),
        embed=lambda waveforms: _embed(module, model, state, waveforms),
        details={"weight_arrays": state.arrays},
    )


def _load_model(module: Any, weights: str, spec: str) -> Any:
    try:
        model = module.load_model(weights) if weights else module.load_model()
    except Exception as error:  # whatever the module's code raises
        raise UserCodeError(
            f"encoder {spec!r}: load_model failed ({type(error).__name__}: {error}). Does it want weights? "
            "Give hear:MODULE:WEIGHTS"
        ) from error
    return model


def _whole_number(model: Any, attribute: str, spec: str) -> int:
    value = getattr(model, attribute, None)
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value <= 0:
        raise ValueError(
            f"encoder {spec!r}: the model's {attribute} is {value!r}; HEAR 2021 asks for a positive int"
        )
    return int(value)


def _embed(module: Any, model: Any, state: State, waveforms: np.ndarray) -> np.ndarray:
    # A model of a library cannot be here unless that library is loaded.
    if state.torch_modules:
        torch = sys.modules["torch"]
        with torch.no_grad():
            audio = torch.from_numpy(waveforms.copy()).to(state.torch_device)
            return as_array(module.get_scene_embeddings(audio, model))
    if state.is_tensorflow:
        return as_array(module.get_scene_embeddings(sys.modules["tensorflow"].constant(waveforms), model))
    return as_array(module.get_scene_embeddings(waveforms, model))
