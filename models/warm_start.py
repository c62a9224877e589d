"""Weights that a training starts from, and whether they are still those that it was submitted with."""

from __future__ import annotations

from dataclasses import dataclass

from models.training.checkpoints import read_encoder_weights
from models.weights import arrays_digest


@dataclass(frozen=True)
class WarmStart:
    """Weights to start from.

    Attributes:
        weights: `.npz` file of the encoder's weights by canonical name.
        digest: their `models.weights.weights_digest`.
        model: folder of the model they belong to, for the metadata store.
    """

    weights: str
    digest: str
    model: str


def check_unchanged(warm_start: WarmStart) -> None:
    """Raises ValueError where the weights are not those any more that the run was submitted with."""
    digest = arrays_digest(read_encoder_weights(warm_start.weights))
    if digest != warm_start.digest:
        raise ValueError(
            f"training: the weights in {warm_start.weights} have changed since the run was submitted (digest "
            f"{digest[:12]}, expected {warm_start.digest[:12]}); submit it again"
        )
