"""The paper's supervised row: SF NFNet-F0 by classification on AudioSet (tables 2 and 8).

    hares run --config paper_classification --corpus DIR --workspace DIR

Batch 1024 for 100k steps (section 3), 527 classes with example mixing.
"""

from hares.report.paper import PaperRow
from models.training.config import TrainingConfig
from pipeline.config import PipelineConfig

ROW = PaperRow("table8", "SF NFNet-F0", ("table2",))


def config() -> PipelineConfig:
    """Every number is the paper's."""
    training = TrainingConfig(objective="classification", batch_size=1024, steps=100_000)
    return PipelineConfig(name="hares-paper-classification", training=training)
