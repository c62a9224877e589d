"""Bidirectional CPC on AudioSet (tables 2 and 4) and on LibriSpeech (table 2).

    hares run --config bidir_cpc --corpus DIR --workspace DIR
    hares run --config bidir_cpc_librispeech --corpus DIR --workspace DIR

Crops of 10 s, batch 256, no augmentation; 80k steps on LibriSpeech (appendix C), whose training splits are expected in
`LibriSpeech` below the corpus, or where `pretraining.source` says.
"""

from hares.report.paper import PaperRow
from pipeline.config import PipelineConfig
from pipeline.preset import Preset
from pipeline.presets import _paper


def config() -> PipelineConfig:
    """On AudioSet."""
    return _paper.on_waveforms("bidir_cpc", "bidir_cpc", "cpc")


def librispeech() -> PipelineConfig:
    """On LibriSpeech."""
    return _paper.on_librispeech(config())


PRESETS = {
    "bidir_cpc": Preset(
        "bidir_cpc",
        "Bidirectional CPC on AudioSet (tables 2, 4)",
        config,
        PaperRow("table4", "Bidir-CPC", ("table2",)),
    ),
    "bidir_cpc_librispeech": Preset(
        "bidir_cpc_librispeech",
        "Bidirectional CPC on LibriSpeech (table 2)",
        librispeech,
        PaperRow("table2", "Bidir-CPC (LS)"),
    ),
}
