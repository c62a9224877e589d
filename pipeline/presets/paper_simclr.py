"""The paper's best row: SF NFNet-F0 by SimCLR on AudioSet (tables 2, 4 and 9).

    hares run --config paper_simclr --corpus DIR --workspace DIR

Batch 4096 for 200k steps (section 3); made for a TPU v3 slice of 32 cores, as the paper's.
"""

from hares.report.paper import PaperRow
from models.training.config import TrainingConfig
from pipeline.config import PipelineConfig

ROW = PaperRow("table9", "SF NFNet-F0", ("table2", "table3", "table4"))


def config() -> PipelineConfig:
    """Every number is the paper's."""
    training = TrainingConfig(objective="simclr", batch_size=4096, steps=200_000)
    return PipelineConfig(name="hares-paper-simclr", training=training)
