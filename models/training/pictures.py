"""What the encoder sees, for TensorBoard: log-mels of a clip's random crops, and the views that are made of them.

Mixing and augmentation decide what SimCLR learns (paper, sections 2.2 and 3), and a glance tells a mistake in them
that the loss does not. The pictures are made of a few clips of their own: the loop is not asked for its batch, and
waits for no more than the few milliseconds of drawing.

Shapes: `v` views a clip, `t` frames, `f` mel bins, `n` samples.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from models.frontend import FrontendConfig, log_mel
from models.objective import Objective
from models.training.input_pipeline import InputSpec, make_dataset

_CLIPS = 8  # enough for partners, and for an objective that normalises over the batch


class ViewPictures:
    """Writes the images `clip/crops` and `clip/views` of one clip, each from its quietest to its loudest cell.

    Low frequencies are at the bottom, time goes to the right. A waveform's are log-mels of it.

    Args:
        log_dir: TensorBoard's folder.
        objective: makes the views.
        spec: what its batches look like.
        frontend: makes log-mels of waveforms.
    """

    def __init__(self, log_dir: str, objective: Objective, spec: InputSpec, frontend: FrontendConfig) -> None:
        self._writer = tf.summary.create_file_writer(log_dir, filename_suffix=".views")
        self._objective = objective
        self._frontend = frontend
        few = dataclasses.replace(spec, batch_size=min(_CLIPS, len(spec.records)))
        self._batches = iter(make_dataset(few))

    def write(self, step: int) -> None:
        """Pictures of the next clip, as the state of training stands at `step`."""
        batch = next(self._batches)
        clips = batch["clips"].shape[0]
        with self._writer.as_default(step=step):
            # Views come first views first: every `clips`-th one is of the first clip.
            for name, sounds in (
                ("crops", batch["clips"][0]),
                ("views", self._objective.views(batch)[::clips]),
            ):
                images = self._images(sounds)
                tf.summary.image(f"clip/{name}", images, max_outputs=images.shape[0])
        self._writer.flush()

    def _images(self, sounds: tf.Tensor) -> tf.Tensor:
        """(v, t, f), (v, t, f, 1) or (v, n) -> (v, f, t, 1) float32 in [0, 1]."""
        mel = log_mel(sounds, self._frontend) if len(sounds.shape) == 2 else sounds
        mel = tf.reshape(tf.cast(mel, tf.float32), mel.shape[:3])
        lowest = tf.reduce_min(mel, axis=[1, 2], keepdims=True)
        highest = tf.reduce_max(mel, axis=[1, 2], keepdims=True)
        level = tf.math.divide_no_nan(mel - lowest, highest - lowest)
        return tf.reverse(tf.transpose(level, [0, 2, 1]), axis=[1])[..., tf.newaxis]
