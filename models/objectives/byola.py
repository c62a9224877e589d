"""BYOL-A: from one view of a crop, predict another network's output for another view of the same crop.

Paper, section 3, appendix C and tables 2 and 4 ("the exact pre-training setup in the original paper"), after
Niizumi et al., 2021 (its version 1). One crop is normalised by running statistics and augmented twice: mixed
with a background from a queue of past crops (log-mixup-exp), then cut and resized; then both views are
normalised over the batch. The online network is encoder, projector and predictor; the target network is encoder
and projector, an exponential moving average of the online one's, and learns nothing itself. The loss is
`2 - 2 cos` of one view's prediction and the other's target, both ways round, averaged over clips: from 0 to 8.

Where this differs from the original code:

- The running mean and variance are updated to the end; the original stops after ten epochs, when one more crop hardly
  changes either.
- A crop enters the queue once, after its batch, and not with each view: so the background is never the crop itself.
- Batch normalisation in the heads is over the *global* batch, a view at a time. It has no running statistics, as
  the heads are only used in training.
- Layers before a batch normalisation have no bias: its gradient would be rounding noise, which Adam amplifies
  differently for each number of replicas, and the projector's bias would reach the target network.
- The moving average follows each update; the original's is one update late.
- An encoder's own running statistics are not averaged: the target has its own, of what it sees, as the original.

Evaluation standardises each window by itself, as for all our encoders, where the original has the statistics of
the data set; training's last step, over the batch, brings views to the same scale.

State: queue and how full it is, running statistics, target network.

Shapes: `b` clips on this replica, `B` clips of the global batch, `t` frames, `f` mel bins, `d` embedding,
`p` projection.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.objective import Batch, LossShare, Objective, ObjectiveRecord, Replicas, state
from models.objectives._log_mel_augmentations import AxisCrop, log_mixup_exp, random_resize_crop
from models.training.config import TrainingConfig

_EPSILON = 1e-5
_PASSES = 4  # two views through online and target encoder


@dataclass(frozen=True)
class ByolaSettings:
    """BYOL-A's own settings; its paper's numbers.

    Attributes:
        mixup_ratio: the background's share is drawn from 0 to this.
        queue_size: past crops of which one is the background.
        canvas: the area around a crop that is cut from, in frequency and time, of the crop's size.
        frequency_scale, time_scale: size of the cut, of the crop's, from and to.
        hidden_size: hidden layer of projector and predictor.
        projection_size: p.
        decay: of the moving average.

    Raises:
        ValueError: a setting is out of range.
    """

    mixup_ratio: float = 0.4
    queue_size: int = 2048
    canvas: tuple[float, float] = (1.0, 1.5)
    frequency_scale: tuple[float, float] = (0.6, 1.5)
    time_scale: tuple[float, float] = (0.6, 1.5)
    hidden_size: int = 4096
    projection_size: int = 256
    decay: float = 0.99

    def __post_init__(self) -> None:
        for name in ("queue_size", "hidden_size", "projection_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}; accepted is 1 or more")
        if not 0 <= self.mixup_ratio <= 1:
            raise ValueError(f"mixup_ratio: got {self.mixup_ratio}; accepted is a share from 0 to 1")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay: got {self.decay}; accepted is 0 or more and less than 1")
        if min(self.canvas) < 1:
            raise ValueError(f"canvas: got {list(self.canvas)}; accepted are two numbers of 1 or more")
        for name in ("frequency_scale", "time_scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(
                    f"{name}: got {low} to {high}; accepted is a range above 0, from low to high"
                )


class Head(tf.Module):
    """Dense, batch normalisation, ReLU, dense: projector and predictor.

    Args:
        sizes: of input, hidden layer and output.
        use_bias: whether the output has one.
        name: its own.
        seed: decides its first weights.
    """

    def __init__(self, sizes: tuple[int, int, int], use_bias: bool, name: str, seed: int) -> None:
        super().__init__(name=name)
        self.layers = []
        for index, with_bias in enumerate((False, use_bias)):
            initializer = tf.keras.initializers.GlorotUniform(seed=seed + index)
            layer = tf.keras.layers.Dense(
                sizes[index + 1], use_bias=with_bias, kernel_initializer=initializer, name=f"{name}{index}"
            )
            layer.build((None, sizes[index]))
            self.layers.append(layer)
        self.scale = tf.Variable(tf.ones([sizes[1]]), name=f"{name}_scale")
        self.offset = tf.Variable(tf.zeros([sizes[1]]), name=f"{name}_offset")

    def __call__(self, rows: tf.Tensor, replicas: Replicas) -> tf.Tensor:
        """(b, in) to (b, out) float32."""
        hidden = tf.cast(self.layers[0](rows), tf.float32)
        mean, variance = _moments(hidden, [0], replicas)
        hidden = (hidden - mean) * tf.math.rsqrt(variance + _EPSILON) * self.scale + self.offset
        return tf.cast(self.layers[1](tf.nn.relu(hidden)), tf.float32)


class Byola(Objective):
    """Augmentations, heads, target network and loss.

    Args:
        encoder: the encoder's record; the target network is a second one of its kind.
        settings: the numbers.
        crop_shape: (t, f).
        seed: the encoder's, and decides the heads' first weights.
    """

    noise_size = 12  # two views: background's share and place, four numbers of the cut

    def __init__(
        self, encoder: EncoderRecord, settings: ByolaSettings, crop_shape: tuple[int, ...], seed: int
    ) -> None:
        super().__init__(name="byola")
        self._settings = settings
        sizes = (encoder.embedding_size, settings.hidden_size, settings.projection_size)
        self.projector = Head(sizes, False, "projector", seed)
        self.predictor = Head((sizes[2], *sizes[1:]), True, "predictor", seed + 2)
        self.target_encoder = encoder.build(seed)
        self.target_encoder(tf.zeros([1, *crop_shape, 1]), training=False)  # Keras makes variables here
        self.target_projector = Head(sizes, False, "target_projector", seed)
        self.queue = state(tf.zeros([settings.queue_size, *crop_shape]), "queue")
        self.queued = state(0, "queued")
        self.updates = state(0.0, "updates")
        self.mean = state(0.0, "mean")
        self.variance = state(0.0, "variance")

    @property
    def trainable_variables(self) -> tuple[tf.Variable, ...]:
        """Those of projector and predictor: the target network only follows."""
        return (*self.projector.trainable_variables, *self.predictor.trainable_variables)

    def begin(self, encoder: Encoder) -> None:
        """The target starts where the online network does."""
        for target, online in self._pairs(encoder):
            target.assign(online)

    def after_update(self, encoder: Encoder) -> None:
        """The target follows the online network's trainable weights."""
        decay = self._settings.decay
        for target, online in self._pairs(encoder):
            if online.trainable:
                target.assign(decay * target + (1.0 - decay) * online)

    def views(self, batch: Batch) -> tf.Tensor:
        """(2b, t, f, 1): the two augmented views of each clip."""
        replicas = Replicas()
        return self._views(self._normalised(batch, replicas)[0], batch, replicas)

    def loss(self, encoder: Encoder, batch: Batch, replicas: Replicas) -> LossShare:
        """The symmetric loss; statistics and queue take in the batch.

        Metrics: `spread`, the variance of the targets on the unit sphere: 0 where all are one, at most 1.
        """
        crops, statistics = self._normalised(batch, replicas)
        views = self._views(crops, batch, replicas)
        self._remember(crops, statistics, replicas)
        noise = tf.split(batch["noise"][:, 0], _PASSES, axis=1)
        predictions, targets = [], []
        for view, own, others in zip(tf.split(views, 2), noise[:2], noise[2:], strict=True):
            online = self.projector(encoder(view, training=True, noise=own)["embedding"], replicas)
            target = self.target_encoder(view, training=True, noise=others)["embedding"]
            predictions.append(tf.math.l2_normalize(self.predictor(online, replicas), axis=1))
            targets.append(tf.math.l2_normalize(self.target_projector(target, replicas), axis=1))
        targets = [tf.stop_gradient(target) for target in targets]
        clips = tf.cast(tf.shape(crops)[0] * replicas.count, tf.float32)
        cosines = tf.reduce_sum(predictions[0] * targets[1] + predictions[1] * targets[0], axis=1)  # (b,)
        middle = replicas.sum(tf.reduce_sum(targets[0], axis=0)) / clips
        spread = 1.0 - tf.reduce_sum(tf.square(middle))
        return tf.reduce_sum(4.0 - 2.0 * cosines) / clips, {"spread": spread / replicas.count}

    def _pairs(self, encoder: Encoder) -> list[tuple[tf.Variable, tf.Variable]]:
        targets = [*self.target_encoder.variables, *self.target_projector.variables]
        return list(zip(targets, [*encoder.variables, *self.projector.variables], strict=True))

    def _normalised(self, batch: Batch, replicas: Replicas) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """Crops (b, t, f) by the statistics of all crops so far, these included; and those statistics."""
        crops = batch["clips"][:, 0]
        mean, variance = (value[0, 0, 0] for value in _moments(crops, [0, 1, 2], replicas))
        updates = self.updates + 1.0
        change = mean - self.mean
        # All batches are of one size: means of means, and the parallel form of the variance (Chan et al.).
        new_mean = self.mean + change / updates
        within = self.variance + (variance - self.variance) / updates
        new_variance = within + change**2 * (updates - 1.0) / updates**2
        return (crops - new_mean) * tf.math.rsqrt(new_variance + _EPSILON), (updates, new_mean, new_variance)

    def _views(self, crops: tf.Tensor, batch: Batch, replicas: Replicas) -> tf.Tensor:
        settings = self._settings
        time = AxisCrop(settings.canvas[1], settings.time_scale)
        frequency = AxisCrop(settings.canvas[0], settings.frequency_scale)
        views = []
        for numbers in tf.split(batch["objective_noise"][:, 0], 2, axis=1):  # (b, 6)
            # The newest crop is the last one. An empty queue gives its zeros, and no share of them.
            back = 1 + tf.cast(numbers[:, 1] * tf.cast(self.queued, tf.float32), tf.int32)
            background = tf.gather(self.queue, settings.queue_size - back)
            share = settings.mixup_ratio * numbers[:, 0] * tf.cast(self.queued > 0, tf.float32)
            mixed = log_mixup_exp(crops, background, share)
            views.append(random_resize_crop(mixed, numbers[:, 2:], time, frequency))
        both = tf.concat(views, axis=0)
        mean, variance = _moments(both, [0, 1, 2], replicas)
        return ((both - mean) * tf.math.rsqrt(variance + _EPSILON))[..., tf.newaxis]

    def _remember(self, crops: tf.Tensor, statistics: tuple[tf.Tensor, ...], replicas: Replicas) -> None:
        for variable, value in zip((self.updates, self.mean, self.variance), statistics, strict=True):
            variable.assign(value)
        size = self._settings.queue_size
        rows = replicas.gather(crops)  # (B, t, f)
        self.queue.assign(tf.concat([self.queue, rows], axis=0)[-size:])
        self.queued.assign(tf.minimum(self.queued + tf.shape(rows)[0], size))


def _moments(rows: tf.Tensor, axes: list[int], replicas: Replicas) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance over `axes` of all replicas' rows, with the axes kept; gradients pass through."""
    count = tf.cast(tf.reduce_prod(tf.gather(tf.shape(rows), axes)) * replicas.count, tf.float32)
    mean = replicas.sum(tf.reduce_sum(rows, axis=axes, keepdims=True)) / count
    squares = tf.reduce_sum(tf.square(rows - mean), axis=axes, keepdims=True)
    return mean, replicas.sum(squares) / count


def _build(
    config: TrainingConfig, encoder: EncoderRecord, num_classes: int, crop_shape: tuple[int, ...]
) -> Byola:
    return Byola(encoder, OBJECTIVE.own_settings(config), crop_shape, config.seed)


OBJECTIVE = ObjectiveRecord(
    name="byola",
    num_views=1,
    mixes=False,
    input_kind="log_mel",
    metrics=("spread",),
    build=_build,
    settings=ByolaSettings,
    passes=_PASSES,
)
