"""COLA's published row: EfficientNet-B0 by COLA's objective on AudioSet (table 4).

    hares run --config cola --corpus DIR --workspace DIR

The paper quotes COLA's own numbers and trains nothing. From COLA's public code are the front end (64 mel bins of an
FFT of 1024, a floor of 1e-5), crops of 16,000 samples, and the encoder's maximum over time and frequency; Adam at 1e-4
is its paper's. Batch and steps are those of this paper's SimCLR runs. `models/objectives/cola.py` lists what our
log-mels cannot have: the whole clip's scale, and noise on the second crop.
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
        base.training,
        encoder="efficientnet_b0_max",
        objective="cola",
        crop_seconds=1.0,
        peak_learning_rate=1e-4,
    )
    frontend = FrontendConfig(fft_length=1024, num_mel_bins=64, log_floor=1e-5)
    return replace(base, name="hares-cola", training=training, frontend=frontend)
