"""BYOL-A by its own objective on AudioSet (tables 2 and 4).

    hares run --config byola --corpus DIR --workspace DIR

"The exact pre-training setup in the original paper" (appendix C): 100 epochs at batch 256, Adam at 3e-4, crops of
0.95 s, 64 mel bins of the power spectrum of windows of 64 ms, with the smallest floor of PyTorch's float32; and 5.3m
parameters, as at 64 bins only. The original's learning rate is constant; ours warms up and falls to zero as all our
runs do. Steps are 100 epochs of HARES's 1.9 million clips. A crop is 89 frames and not 96, as our front end pads no
clip, and is drawn from anywhere in it; the original's code always takes the beginning.
"""

from hares.report.paper import PaperRow
from models.frontend import FrontendConfig
from models.training.config import TrainingConfig
from pipeline.config import PipelineConfig
from pipeline.presets._paper import AUDIOSET_CLIPS

ROW = PaperRow("table4", "BYOL-A", ("table2",))
BATCH_SIZE, EPOCHS = 256, 100
LOG_FLOOR = 2.0**-23  # torch.finfo().eps


def config() -> PipelineConfig:
    """BYOL-A's own numbers."""
    training = TrainingConfig(
        encoder="byola_cnn",
        objective="byola",
        steps=EPOCHS * AUDIOSET_CLIPS // BATCH_SIZE,
        batch_size=BATCH_SIZE,
        crop_seconds=0.95,
        peak_learning_rate=3e-4,
    )
    frontend = FrontendConfig(
        window_length=1024, fft_length=1024, num_mel_bins=64, magnitude_power=2.0, log_floor=LOG_FLOOR
    )
    return PipelineConfig(name="hares-byola", training=training, frontend=frontend)
