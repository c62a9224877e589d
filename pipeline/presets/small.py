"""Half an hour on two cores: the tiny Slowfast NFNet by SimCLR on a folder of recordings, long enough to learn.

    hares run --config small --corpus DIR --workspace DIR --set pretraining.source=FOLDER

Given some hours of varied recordings, the encoder learns: docs/measurements has the figures. Scores say nothing about
the paper's, as in `demo`.
"""

from dataclasses import replace

from pipeline.config import PipelineConfig
from pipeline.presets import demo


def config() -> PipelineConfig:
    """The demo's encoder and protocol with five times its steps and larger batches."""
    base = demo.config()
    training = replace(
        base.training,
        steps=2000,
        batch_size=96,
        warmup_steps=50,
        steps_per_loop=20,
        checkpoint_every_steps=250,
    )
    return replace(base, name="hares-small", training=training)
