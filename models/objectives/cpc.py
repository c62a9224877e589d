"""Bidirectional contrastive predictive coding: which frame of this clip comes k frames later, and k earlier?

Paper, sections 2.2 and 3, table 2 and appendix C (10 s crops, batch 256, no augmentation); references 14 and 23.
From the forward context of frame i, a linear predictor for each k from 1 to 12 predicts latent i + k; from the
backward context, latent i - k. The loss is InfoNCE, averaged over directions, k, frames and clips.

Left open by the paper, and we chose:

- The candidates are all frames of the same crop, the true one among them: nothing is drawn, clips do not meet,
  and the loss is the same on any number of replicas.
- The score is the dot product of prediction and latent over the square root of their size.
- Predictors start at zero: the first loss is the logarithm of the number of frames.

Shapes: `b` clips on this replica, `t` frames, `c` channels of latents and of each context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.objective import Batch, LossShare, Objective, ObjectiveRecord, Replicas
from models.training.config import TrainingConfig


@dataclass(frozen=True)
class CpcSettings:
    """CPC's own settings.

    Attributes:
        steps: the farthest frame that is predicted, in either direction; CPC's 12.

    Raises:
        ValueError: a setting is out of range.
    """

    steps: int = 12

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps: got {self.steps}; accepted is 1 or more")


class Cpc(Objective):
    """The predictors and InfoNCE.

    Args:
        latent_size: c.
        settings: the numbers.
    """

    def __init__(self, latent_size: int, settings: CpcSettings) -> None:
        super().__init__(name="cpc")
        self._steps = settings.steps
        self.forward, self.backward = (
            [
                tf.Variable(tf.zeros([latent_size, latent_size]), name=f"{direction}{k + 1}")
                for k in range(settings.steps)
            ]
            for direction in ("forward", "backward")
        )

    def views(self, batch: Batch) -> tf.Tensor:
        """(b, n): the one crop of each clip."""
        return batch["clips"][:, 0]

    def loss(self, encoder: Encoder, batch: Batch, replicas: Replicas) -> LossShare:
        """InfoNCE; metric `accuracy`, the share of predictions whose best candidate is the true one.

        Raises:
            ValueError: crops have too few frames for the farthest step.
        """
        latents = encoder.latents(self.views(batch))
        forward, backward = encoder.contexts(latents)
        latents = tf.cast(latents, tf.float32)
        if latents.shape[1] is not None and latents.shape[1] <= self._steps:
            raise ValueError(
                f"training: crop_seconds gives {latents.shape[1]} frames and cpc predicts {self._steps} steps "
                "ahead; set crop_seconds higher, or objective_settings.steps lower"
            )
        ahead = _info_nce(forward, latents, self.forward)
        # Backward in time is forward in reversed time.
        behind = _info_nce(tf.reverse(backward, [1]), tf.reverse(latents, [1]), self.backward)
        clips = tf.cast(tf.shape(latents)[0] * replicas.count, tf.float32)
        entropy, hits = (tf.reduce_sum(a + b) / (2.0 * clips) for a, b in zip(ahead, behind, strict=True))
        return entropy, {"accuracy": hits}


def _info_nce(
    context: tf.Tensor, latents: tf.Tensor, predictors: Sequence[tf.Variable]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cross-entropy and hits of each clip, (b,) each, means over steps and frames."""
    frames, size = tf.shape(latents)[1], latents.shape[2]
    entropies, hits = [], []
    for k, predictor in enumerate(predictors, start=1):
        predicted = tf.einsum("btc,cd->btd", context[:, :-k], predictor)
        scores = tf.einsum("btd,bsd->bts", predicted, latents) * size**-0.5
        true = tf.tile(tf.range(k, frames)[tf.newaxis], [tf.shape(latents)[0], 1])  # (b, t - k)
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(true, scores)
        entropies.append(tf.reduce_mean(entropy, axis=1))
        hit = tf.equal(tf.argmax(scores, axis=2, output_type=tf.int32), true)
        hits.append(tf.reduce_mean(tf.cast(hit, tf.float32), axis=1))
    return tf.add_n(entropies) / len(predictors), tf.add_n(hits) / len(predictors)


def _build(
    config: TrainingConfig, encoder: EncoderRecord, num_classes: int, crop_shape: tuple[int, ...]
) -> Cpc:
    return Cpc(encoder.latent_size, OBJECTIVE.own_settings(config))


OBJECTIVE = ObjectiveRecord(
    name="cpc",
    num_views=1,
    mixes=False,
    input_kind="waveform",
    metrics=("accuracy",),
    build=_build,
    settings=CpcSettings,
    frames="causal",
)
