"""Minutes on two cores: the tiny Slowfast NFNet by SimCLR, and probes at the `quick` protocol.

    hares run --config demo --corpus DIR --workspace DIR

Scores show that the chain is true, and nothing about the paper's: the encoder has 1% of its parameters, hears
crops of 1.28 s, and trains for minutes.
"""

from hares.protocol import load_protocol
from models.training.config import TrainingConfig
from pipeline.config import AUTO, PipelineConfig, PretrainingConfig


def config() -> PipelineConfig:
    """Small enough that the whole pipeline, scores included, ends within ten minutes on two cores."""
    training = TrainingConfig(
        encoder="sf_nfnet_tiny",
        steps=400,
        batch_size=64,
        crop_seconds=1.28,
        peak_learning_rate=1e-3,
        warmup_steps=20,
        objective_settings={"projector_sizes": [512]},
        steps_per_loop=10,
        checkpoint_every_steps=50,
    )
    return PipelineConfig(
        name="hares-demo",
        pretraining=PretrainingConfig(source=AUTO),
        training=training,
        protocol=load_protocol("quick"),
    )
