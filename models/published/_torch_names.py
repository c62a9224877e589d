"""Names and layouts of PyTorch modules, as ours.

A module `a.b` is our layer `a/b`. A one-dimensional `weight` is a normaliser's scale: its leaves become `gamma`,
`beta`, `moving_mean` and `moving_variance`; any other module has a kernel `w` and a bias `b`.

Kernels: PyTorch has (out, in, ...), TensorFlow (..., in, out).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

NORM_LEAVES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
OTHER_LEAVES = {"weight": "w", "bias": "b"}


def without(tensors: Mapping[str, np.ndarray], left_out: tuple[str, ...]) -> dict[str, np.ndarray]:
    """All tensors but those whose module is in `left_out` or below, and counters of batches."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith(tuple(f"{module}." for module in left_out))
        and not name.endswith("num_batches_tracked")
    }


def to_canonical(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Our names and layouts; names without a rule stay as they are."""
    norms = {
        name.rpartition(".")[0]
        for name, tensor in tensors.items()
        if name.rpartition(".")[2] == "weight" and np.ndim(tensor) == 1
    }
    arrays = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        leaves = NORM_LEAVES if module in norms else OTHER_LEAVES
        ours = f"{module.replace('.', '/')}/{leaves[leaf]}" if module and leaf in leaves else name
        arrays[ours] = np.moveaxis(tensor, (0, 1), (-1, -2)) if np.ndim(tensor) > 1 else tensor
    return arrays
