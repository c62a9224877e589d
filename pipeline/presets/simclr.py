"""SimCLR on AudioSet: the second numbers of table 2, table 3, and in full tables 7 and 9.

    hares run --config simclr_sf_nfnet_f0 --corpus DIR --workspace DIR

One preset an encoder, `simclr_<encoder>`, in the order of the tables. Batch 4096 for 200k steps, crops of 3 s,
temperature 0.1, projector of three layers of 4096 (section 3, appendix C).
"""

from hares.report.paper import PaperRow
from pipeline.config import PipelineConfig
from pipeline.preset import Preset
from pipeline.presets import _paper, paper_simclr

ROWS = {
    "byola_cnn": PaperRow("table7", "BYOL-A CNN", ("table2",)),
    "efficientnet_b0": PaperRow("table7", "EfficientNet-B0", ("table2",)),
    "resnet50": PaperRow("table7", "ResNet50", ("table2",)),
    "cnn14": PaperRow("table7", "CNN14", ("table2",)),
    "nfnet_f0": PaperRow("table7", "NFNet-F0", ("table2",)),
    "vit_base": PaperRow("table7", "ViT-Base", ("table2",)),
    "sf_resnet50_none": PaperRow("table9", "SF ResNet50 (no BN)", ("table3",)),
    "sf_resnet50_bn": PaperRow("table9", "SF ResNet50", ("table2", "table3", "table4")),
    "sf_resnet50_ln": PaperRow("table9", "SF ResNet50-LN", ("table3",)),
    "sf_resnet50_in": PaperRow("table9", "SF ResNet50-IN", ("table3",)),
    "sf_nf_resnet50": PaperRow("table9", "SF NF-ResNet50", ("table3",)),
    "sf_nfnet_f0": PaperRow("table9", "SF NFNet-F0", ("table2", "table3", "table4")),
}


def _preset(encoder: str, row: PaperRow) -> Preset:
    def config() -> PipelineConfig:
        return _paper.of_encoder(paper_simclr.config(), encoder, name)

    name = f"simclr_{encoder}"
    return Preset(name, f"{row.system} by SimCLR on AudioSet ({row.places})", config, row)


PRESETS = {preset.name: preset for preset in (_preset(*item) for item in ROWS.items())}
