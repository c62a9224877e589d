"""An hour or two on a workstation: the tiny Slowfast NFNet, longer, on the training splits of all tasks.

hares run --config small --corpus DIR --workspace DIR
"""

from dataclasses import replace

from pipeline.config import PipelineConfig
from pipeline.presets import demo


def config() -> PipelineConfig:
    """The demo's encoder and protocol with ten times its steps and larger batches."""
    base = demo.config()
    training = replace(
        base.training,
        steps=3000,
        batch_size=128,
        warmup_steps=100,
        steps_per_loop=50,
        checkpoint_every_steps=250,
    )
    return replace(base, name="hares-small", training=training)
