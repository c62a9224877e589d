"""What encoders return, as numpy arrays: tensors of any library, dictionaries and tuples of outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

# Names that say that an output is the embedding: ours, those of TF-Hub's audio modules, of HEAR, of BERT-like exports.
EMBEDDING_NAMES = ("embedding", "embeddings", "scene_embeddings", "pooled_output", "default")


def as_array(value: Any) -> np.ndarray:
    """Anything array-like as float32, without torch or TensorFlow imported here.

    A torch tensor may need gradients, live on another device, or be of a type that numpy has not (bfloat16): its own
    `numpy()` refuses all three. A list or tuple of vectors becomes their rows; of a tuple of one array, the array.

    Raises:
        ValueError: not an array of real numbers, or several arrays.
    """
    if isinstance(value, list | tuple) and any(hasattr(part, "__array__") for part in value):
        parts = [as_array(part) for part in value]
        if len(parts) == 1 and parts[0].ndim > 1:
            return parts[0]
        if any(part.ndim > 1 for part in parts) or len({part.shape for part in parts}) > 1:
            shapes = ", ".join(str(part.shape) for part in parts)
            raise ValueError(f"the encoder returned {len(parts)} arrays, {shapes}; expected one (b, d)")
        return np.stack(parts)
    if isinstance(value, Mapping):
        names = ", ".join(map(str, value))
        raise ValueError(f"the encoder returned a mapping of {names}; expected one array (b, d)")
    original = type(value).__name__
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value if value.is_complex() else value.float()
    if hasattr(value, "numpy"):
        value = value.numpy()
    try:
        array = np.asarray(value)
        if array.dtype.kind in "USOcmM":
            raise TypeError(array.dtype.name)
        return array.astype(np.float32, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the encoder returned {original}, not an array of numbers ({error})") from error


def choose_output(outputs: Mapping[str, Any], name: str | None, spec: str) -> str:
    """The name of an encoder's output that is the embedding; never a guess.

    Args:
        outputs: by name, or by number as text; their values have a `shape`.
        name: the output asked for; None for the only one, or the only one with a name of `EMBEDDING_NAMES`, or
            `embedding` where there are others of these.
        spec: the encoder, for error messages.

    Raises:
        ValueError: no such output, or no telling which is meant; the message lists them.
    """
    known = [n for n in EMBEDDING_NAMES if n in outputs]
    if name is not None and name in outputs:
        return name
    if name is None and len(outputs) == 1:
        return next(iter(outputs))
    if name is None and (len(known) == 1 or "embedding" in known):
        return known[0]
    listed = ", ".join(f"{n} {output.shape}" for n, output in outputs.items())
    raise ValueError(
        f"encoder {spec!r}: {'it has several outputs' if name is None else f'no output {name!r}'}: {listed}. "
        "Choose one with --output-name"
    )


def over_time(embedding: np.ndarray, batch: int) -> np.ndarray:
    """(b, t, d) or, of one waveform, (t, d) averaged over time to (b, d); (b, d) and others as they are."""
    if embedding.ndim == 3:
        return embedding.mean(axis=1)
    if batch == 1 and embedding.ndim == 2 and len(embedding) != 1:
        return embedding.mean(axis=0, keepdims=True)
    return embedding[np.newaxis] if batch == 1 and embedding.ndim == 1 else embedding
