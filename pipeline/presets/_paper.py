"""What the presets of the paper's rows share."""

from dataclasses import replace

from models.training.config import TrainingConfig
from pipeline.config import PipelineConfig, PretrainingConfig

AUDIOSET_CLIPS = 1_900_000  # "our version of AudioSet has around 1.9 million samples" (appendix A)
LIBRISPEECH = "LibriSpeech"  # as its archives unpack, below the corpus
LIBRISPEECH_STEPS = 80_000  # appendix C


def of_encoder(base: PipelineConfig, encoder: str, name: str) -> PipelineConfig:
    """The settings of a row that differs from another by its encoder alone."""
    return replace(
        base, name=f"hares-{name.replace('_', '-')}", training=replace(base.training, encoder=encoder)
    )


def on_waveforms(name: str, encoder: str, objective: str) -> PipelineConfig:
    """CPC's and wav2vec 2.0's rows: crops of 10 s, batch 256, SimCLR's optimiser and steps (appendix C)."""
    training = TrainingConfig(
        encoder=encoder, objective=objective, steps=200_000, batch_size=256, crop_seconds=10.0
    )
    return PipelineConfig(name=f"hares-{name.replace('_', '-')}", training=training)


def on_librispeech(base: PipelineConfig) -> PipelineConfig:
    """The same on LibriSpeech, for 80k steps (appendix C): a folder of its training splits beside the tasks'."""
    return replace(
        base,
        name=f"{base.name}-librispeech",
        pretraining=PretrainingConfig(source=LIBRISPEECH),
        training=replace(base.training, steps=LIBRISPEECH_STEPS),
    )
