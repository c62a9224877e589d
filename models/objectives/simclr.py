"""SimCLR: two random crops of a clip, each mixed with another clip, should find each other in the batch.

Paper, sections 2.2 and 3 (batch 4096, 200k steps, projector with 3 hidden layers of 4096) and appendix C
(temperature 0.1). The loss is SimCLR's NT-Xent: of the 2B - 1 other views of the global batch, which is the
other crop of this clip? It is asked of both crops and averaged over all 2B views.

- Negatives come from the global batch; see `models/objectives/_contrastive.py`.
- Left open by the paper: the projector has ReLU between its layers, no normalisation, no activation on its output,
  and 128 outputs as in SimCLR's own paper.

Shapes: `b` clips on this replica, `d` embedding, `p` projection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.objective import Batch, LossShare, Objective, ObjectiveRecord, Replicas
from models.objectives._contrastive import contrast, first_then_second, project, projector
from models.training.config import TrainingConfig
from models.training.mixing import mixed_views


@dataclass(frozen=True)
class SimclrSettings:
    """SimCLR's own settings.

    Attributes:
        temperature: what cosine similarities are divided by.
        projector_sizes: the projector's hidden layers.
        projection_size: p.

    Raises:
        ValueError: a setting is out of range.
    """

    temperature: float = 0.1
    projector_sizes: tuple[int, ...] = (4096, 4096, 4096)
    projection_size: int = 128

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature: got {self.temperature}; accepted is a finite number above 0")
        if min(self.projector_sizes, default=0) < 1:
            raise ValueError(
                f"projector_sizes: got {self.projector_sizes}; accepted are one or more layer sizes of at least 1"
            )
        if self.projection_size < 1:
            raise ValueError(f"projection_size: got {self.projection_size}; accepted is 1 or more")


class SimCLR(Objective):
    """The projector and the contrastive loss.

    Args:
        embedding_size: d.
        settings: SimCLR's own.
        seed: decides the projector's first weights.
    """

    def __init__(self, embedding_size: int, settings: SimclrSettings, seed: int) -> None:
        super().__init__(name="simclr")
        self._temperature = settings.temperature
        sizes = [*settings.projector_sizes, settings.projection_size]
        self.projector = projector(embedding_size, sizes, seed)

    def views(self, batch: Batch) -> tf.Tensor:
        """(2b, t, f, 1): the two crops of each clip, mixed and standardised."""
        return mixed_views(batch)

    def loss(self, encoder: Encoder, batch: Batch, replicas: Replicas) -> LossShare:
        """NT-Xent over this replica's views, with alignment and uniformity of the projections."""
        noise = first_then_second(batch["noise"])  # (2b, noise)
        embedding = encoder(self.views(batch), training=True, noise=noise)["embedding"]
        first, second = tf.split(project(self.projector, embedding), 2)
        return contrast(first, second, self._temperature, replicas)


def _build(
    config: TrainingConfig, encoder: EncoderRecord, num_classes: int, crop_shape: tuple[int, ...]
) -> SimCLR:
    return SimCLR(encoder.embedding_size, OBJECTIVE.own_settings(config), config.seed)


OBJECTIVE = ObjectiveRecord(
    name="simclr",
    num_views=2,
    mixes=True,
    input_kind="log_mel",
    metrics=("alignment", "uniformity"),
    build=_build,
    settings=SimclrSettings,
)
