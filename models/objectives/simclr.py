"""SimCLR: two random crops of a clip, each mixed with another clip, should find each other in the batch.

Paper, sections 2.2 and 3 (batch 4096, 200k steps, projector with 3 hidden layers of 4096) and appendix C
(temperature 0.1). The loss is SimCLR's NT-Xent: of the 2B - 1 other views of the global batch, which is the
other crop of this clip? It is asked of both crops and averaged over all 2B views.

- Negatives come from the global batch; see `models/objectives/_contrastive.py`.
- Left open by the paper: the projector has ReLU between its layers, no normalisation, and no activation on
  its output.

Shapes: `b` clips on this replica, `d` embedding, `p` projection.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.objective import Batch, LossShare, Objective, ObjectiveRecord, Replicas
from models.objectives._contrastive import contrast, first_then_second, project, projector
from models.training.config import TrainingConfig
from models.training.mixing import mixed_views


class SimCLR(Objective):
    """The projector and the contrastive loss.

    Args:
        embedding_size: d.
        hidden_sizes: the projector's hidden layers.
        projection_size: p.
        temperature: what cosine similarities are divided by.
        seed: decides the projector's first weights.
    """

    def __init__(
        self,
        embedding_size: int,
        hidden_sizes: Sequence[int],
        projection_size: int,
        temperature: float,
        seed: int,
    ) -> None:
        super().__init__(name="simclr")
        self._temperature = temperature
        self.projector = projector(embedding_size, [*hidden_sizes, projection_size], seed)

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
    return SimCLR(
        encoder.embedding_size,
        config.projector_sizes,
        config.projection_size,
        config.temperature,
        config.seed,
    )


OBJECTIVE = ObjectiveRecord(
    name="simclr",
    num_views=2,
    mixes=True,
    input_kind="log_mel",
    metrics=("alignment", "uniformity"),
    build=_build,
)
