"""wav2vec 2.0 Base on AudioSet (table 2) and on LibriSpeech (tables 2 and 4).

    hares run --config wav2vec2 --corpus DIR --workspace DIR
    hares run --config wav2vec2_librispeech --corpus DIR --workspace DIR

Crops of 10 s, batch 256, no augmentation, continuous inputs and targets; 80k steps on LibriSpeech (appendix C), whose
training splits are expected in `LibriSpeech` below the corpus, or where `pretraining.source` says.
"""

from hares.report.paper import PaperRow
from pipeline.config import PipelineConfig
from pipeline.preset import Preset
from pipeline.presets import _paper


def config() -> PipelineConfig:
    """On AudioSet."""
    return _paper.on_waveforms("wav2vec2", "wav2vec2_base", "wav2vec2")


def librispeech() -> PipelineConfig:
    """On LibriSpeech."""
    return _paper.on_librispeech(config())


PRESETS = {
    "wav2vec2": Preset(
        "wav2vec2", "wav2vec 2.0 on AudioSet (table 2)", config, PaperRow("table2", "Wav2Vec2.0")
    ),
    "wav2vec2_librispeech": Preset(
        "wav2vec2_librispeech",
        "wav2vec 2.0 on LibriSpeech (tables 2, 4)",
        librispeech,
        PaperRow("table4", "Wav2Vec2.0", ("table2",)),
    ),
}
