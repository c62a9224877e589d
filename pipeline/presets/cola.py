"""COLA's published row: EfficientNet-B0 by COLA's objective on AudioSet (table 4).

    hares run --config cola --corpus DIR --workspace DIR

The paper quotes COLA's own numbers and trains nothing. The front end is COLA's (64 mel bins of an FFT of 1024), as
are crops of 0.96 s and Adam at 1e-4; batch and steps, which its public code leaves to the user, are those of this
paper's SimCLR runs.
"""

from dataclasses import replace

from hares.report.paper import PaperRow
from models.frontend import FrontendConfig
from pipeline.config import PipelineConfig
from pipeline.presets import paper_simclr

ROW = PaperRow("table4", "COLA")


def config() -> PipelineConfig:
    """COLA's own numbers where it gives them."""
    base = paper_simclr.config()
    training = replace(
        base.training, encoder="efficientnet_b0", objective="cola", crop_seconds=0.96, peak_learning_rate=1e-4
    )
    return replace(
        base, name="hares-cola", training=training, frontend=FrontendConfig(fft_length=1024, num_mel_bins=64)
    )
