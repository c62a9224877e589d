"""Classification on AudioSet: the first numbers of table 2, and in full tables 6 and 8.

    hares run --config classification_sf_nfnet_f0 --corpus DIR --workspace DIR

One preset an encoder, `classification_<encoder>`, in the order of the tables. Batch 1024 for 100k steps, crops of
3 s, 527 classes with example mixing (section 3, appendix C).
"""

from hares.report.paper import PaperRow
from pipeline.config import PipelineConfig
from pipeline.preset import Preset
from pipeline.presets import _paper, paper_classification

ROWS = {
    "byola_cnn": PaperRow("table6", "BYOL-A CNN", ("table2",)),
    "efficientnet_b0": PaperRow("table6", "EfficientNet-B0", ("table2",)),
    "resnet50": PaperRow("table6", "ResNet50", ("table2",)),
    "cnn14": PaperRow("table6", "CNN14", ("table2", "table4")),
    "nfnet_f0": PaperRow("table6", "NFNet-F0", ("table2",)),
    "vit_base": PaperRow("table6", "ViT-Base", ("table2",)),
    "sf_resnet50_none": PaperRow("table8", "SF ResNet50 (no BN)"),
    "sf_resnet50_bn": PaperRow("table8", "SF ResNet50", ("table2",)),
    "sf_resnet50_ln": PaperRow("table8", "SF ResNet50-LN"),
    "sf_resnet50_in": PaperRow("table8", "SF ResNet50-IN"),
    "sf_nf_resnet50": PaperRow("table8", "SF NF-ResNet50"),
    "sf_nfnet_f0": PaperRow("table8", "SF NFNet-F0", ("table2",)),
}


def _preset(encoder: str, row: PaperRow) -> Preset:
    def config() -> PipelineConfig:
        return _paper.of_encoder(paper_classification.config(), encoder, name)

    name = f"classification_{encoder}"
    return Preset(name, f"{row.system} by classification on AudioSet ({row.places})", config, row)


PRESETS = {preset.name: preset for preset in (_preset(*item) for item in ROWS.items())}
