"""Weights by canonical name: read, fill, digest, save.

A variable's canonical name is the name it was created under (`slow/block3/conv1/w`), so weights survive
changes to how an encoder's code is arranged, and two encoders can be compared without either's code.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

_LISTED = 5  # variables that do not fit, of each kind, in an error's message


def canonical_variables(model: tf.Module) -> dict[str, tf.Variable]:
    """All variables of a model by canonical name, sorted; running statistics are among them.

    Raises:
        ValueError: two variables share a name.
    """
    variables: dict[str, tf.Variable] = {}
    for variable in model.variables:
        name = variable.name.removesuffix(":0")
        if name in variables:
            raise ValueError(
                f"{model.name}: two variables are called {name!r}; name the layers of the encoder explicitly"
            )
        variables[name] = variable
    return dict(sorted(variables.items()))


def load_weights(model: tf.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Fills every variable of a model; on an error none is changed.

    Args:
        model: what to fill.
        arrays: one array for each canonical name, in the variable's shape.

    Raises:
        ValueError: names are missing or unexpected, or shapes differ; the message lists the first of each kind.
    """
    variables = canonical_variables(model)
    missing = sorted(set(variables) - set(arrays))
    unexpected = sorted(set(arrays) - set(variables))
    misshapen = [
        f"{name} {np.shape(arrays[name])}, expected {tuple(variable.shape)}"
        for name, variable in variables.items()
        if name in arrays and np.shape(arrays[name]) != tuple(variable.shape)
    ]
    problems = [
        f"{kind}: {_first_few(names)}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
        if names
    ]
    if problems:
        raise ValueError(
            f"{model.name}: weights do not fit ({'; '.join(problems)}). Are they of another encoder?"
        )
    for name, variable in variables.items():
        variable.assign(tf.cast(arrays[name], variable.dtype))


def _first_few(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + rest


def weights_digest(model: tf.Module) -> str:
    """SHA-256, hexadecimal, over the sorted names, types, shapes and little-endian bytes of all variables."""
    return arrays_digest({name: variable.numpy() for name, variable in canonical_variables(model).items()})


def arrays_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """The `weights_digest` of a model that holds these arrays."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        little = np.asarray(array).astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(little.tobytes())
    return digest.hexdigest()


def save_weights(model: tf.Module, path: str | os.PathLike[str]) -> None:
    """Writes all variables to an uncompressed `.npz`, one array for each canonical name."""
    save_arrays({name: variable.numpy() for name, variable in canonical_variables(model).items()}, path)


def save_arrays(arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """Writes arrays as `save_weights` does those of a model."""
    buffer = io.BytesIO()  # a zip file is written with seeks, which remote file systems lack
    np.savez(buffer, **arrays)
    with tf.io.gfile.GFile(os.fspath(path), "wb") as file:
        file.write(buffer.getvalue())


def read_weights(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Arrays by canonical name from a file that `save_weights` wrote; fit for `load_weights`."""
    with tf.io.gfile.GFile(os.fspath(path), "rb") as file, np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def training_weights_path(serving_model_dir: str) -> str:
    """The encoder's weights as training left them, inside the exported SavedModel: what another run starts from.

    The export itself holds folded weights, which cannot be trained. TensorFlow leaves this folder to us, and it goes
    wherever the model is copied.
    """
    return os.path.join(serving_model_dir, "assets.extra", "training_weights.npz")
