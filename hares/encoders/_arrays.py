"""What encoders return, as numpy arrays: tensors of any library, dictionaries and tuples of outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# In the order of preference: ours, TRILL's and most TF-Hub modules', HEAR-like names, Keras exports'.
EMBEDDING_NAMES = ("embedding", "embeddings", "scene_embeddings", "default", "pooled_output", "output_0")


def as_array(value: Any) -> np.ndarray:
    """Anything array-like as float32, without torch or TensorFlow imported here.

    Raises:
        ValueError: not an array of numbers.
    """
    if hasattr(value, "detach"):  # a torch tensor may need gradients, or live on another device
        value = value.detach().cpu()
    if hasattr(value, "numpy"):
        value = value.numpy()
    try:
        return np.asarray(value, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the encoder returned {type(value).__name__}, not an array of numbers") from error


def pick_output(outputs: Any, name: str | None, spec: str) -> Any:
    """The embedding among an encoder's outputs.

    Args:
        outputs: a tensor, a mapping of names to tensors, or a sequence of tensors.
        name: the output asked for, by name or number; None to choose: in a mapping the first of
            `EMBEDDING_NAMES`, or the only one; in a sequence of three or more the second (YAMNet returns
            scores, embeddings, spectrogram), else the first.
        spec: the encoder, for error messages.

    Raises:
        ValueError: no such output, or no telling which is meant.
    """
    if isinstance(outputs, Mapping):
        names = [name] if name is not None else [n for n in EMBEDDING_NAMES if n in outputs]
        if not names and len(outputs) == 1:
            names = list(outputs)
        if not names or names[0] not in outputs:
            raise ValueError(
                f"encoder {spec!r}: no output {name or 'with the name of an embedding'}; it has "
                f"{', '.join(sorted(outputs))}. Choose one with --output-name"
            )
        return outputs[names[0]]
    if isinstance(outputs, Sequence):
        index = name if name is not None else ("1" if len(outputs) > 2 else "0")
        if not index.isdecimal() or int(index) >= len(outputs):
            raise ValueError(
                f"encoder {spec!r}: no output {index}; it returns {len(outputs)} outputs without names. Choose "
                f"one with --output-name 0 to {len(outputs) - 1}"
            )
        return outputs[int(index)]
    if name is not None:
        raise ValueError(f"encoder {spec!r}: it has one output without a name. Leave --output-name out")
    return outputs


def over_time(embedding: np.ndarray, batch: int) -> np.ndarray:
    """(b, t, d) or, of one waveform, (t, d) averaged over time to (b, d); (b, d) and others as they are."""
    if embedding.ndim == 3:
        return embedding.mean(axis=1)
    if batch == 1 and embedding.ndim == 2 and len(embedding) != 1:
        return embedding.mean(axis=0, keepdims=True)
    return embedding[np.newaxis] if batch == 1 and embedding.ndim == 1 else embedding
