"""CLMR's published row: SampleCNN by SimCLR on waveforms of music (table 4).

    hares run --config clmr --corpus DIR --workspace DIR

The paper quotes CLMR's own number and trains nothing. Batch 48, Adam at 3e-4, a projection of 64 and the augmentations
are those of CLMR's public code (`models/objectives/clmr.py` lists what differs), 1550 epochs of its public checkpoint.
A crop is SampleCNN's 59049 samples, which at our 16 kHz are 3.7 s (2.7 s at CLMR's 22.05 kHz). Pretraining is on
MagnaTagATune alone: the paper's row adds the Million Song Dataset, whose audio is not public.
"""

from hares.report.paper import PaperRow
from models.training.config import TrainingConfig
from pipeline.config import PipelineConfig, PretrainingConfig

ROW = PaperRow("table4", "CLMR")
TRAINING_CLIPS, BATCH_SIZE, EPOCHS = 18_706, 48, 1550  # clips: MagnaTagATune's folders 0 to b


def config() -> PipelineConfig:
    """CLMR's own numbers."""
    training = TrainingConfig(
        encoder="samplecnn",
        objective="clmr",
        steps=EPOCHS * TRAINING_CLIPS // BATCH_SIZE,
        batch_size=BATCH_SIZE,
        crop_seconds=59_049 / 16_000,
        peak_learning_rate=3e-4,
    )
    return PipelineConfig(
        name="hares-clmr", training=training, pretraining=PretrainingConfig(source="magnatagatune")
    )
