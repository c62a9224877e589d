"""Every row of the paper's tables has a preset, with the paper's settings."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hares.report.paper import paper_tables
from models.frontend import FrontendConfig
from models.objective import load_objective
from models.objectives.cola import ColaSettings
from pipeline.config import PipelineConfig
from pipeline.preset import load_preset, preset_names

PRESETS = {name: load_preset(name) for name in preset_names()}
ROWS = {name: preset for name, preset in PRESETS.items() if preset.row is not None}
# Rows of table 4 that others trained, and that a preset of the same system repeats by our own training
PUBLISHED_TWICE = {("table4", "BYOL-A (published)"), ("table4", "PANNs-CNN14 (published)")}

# Table 2, typed from the main text: environment, speech, music, HARES, AudioSet (mAP), by preset
TABLE_2 = {
    "classification_byola_cnn": (69.4, 61.4, 57.6, 63.1, 32.2),
    "simclr_byola_cnn": (69.9, 69.8, 63.1, 68.2, 32.2),
    "classification_efficientnet_b0": (71.1, 43.5, 48.0, 53.8, 34.5),
    "simclr_efficientnet_b0": (63.8, 40.7, 44.0, 49.2, 26.2),
    "classification_cnn14": (74.6, 56.0, 56.4, 62.3, 37.8),
    "simclr_cnn14": (66.4, 37.3, 44.8, 48.9, 28.8),
    "classification_vit_base": (73.3, 50.4, 60.3, 60.5, 36.8),
    "simclr_vit_base": (74.6, 56.5, 64.2, 64.5, 36.8),
    "classification_resnet50": (74.8, 51.7, 59.6, 61.4, 38.4),
    "simclr_resnet50": (74.4, 65.0, 63.7, 67.8, 36.2),
    "classification_sf_resnet50_bn": (74.0, 56.9, 59.6, 63.3, 37.2),
    "simclr_sf_resnet50_bn": (74.3, 73.4, 65.2, 71.7, 36.6),
    "classification_nfnet_f0": (76.1, 59.0, 61.8, 65.4, 39.3),
    "simclr_nfnet_f0": (76.0, 65.9, 65.5, 69.2, 37.6),
    "classification_sf_nfnet_f0": (75.2, 65.6, 64.5, 68.5, 38.2),
    "simclr_sf_nfnet_f0": (75.8, 77.2, 68.6, 74.6, 37.8),
    "bidir_cpc": (69.1, 72.4, 57.6, 67.6, 28.7),
    "bidir_cpc_librispeech": (59.9, 75.3, 51.5, 64.2, 21.3),
    "wav2vec2": (48.3, 41.2, 35.4, 42.1, 14.8),
    "wav2vec2_librispeech": (48.5, 75.6, 35.5, 56.6, 14.8),
    "byola": (65.4, 66.9, 60.7, 64.9, 26.1),
}


def test_every_row_has_a_preset() -> None:
    printed = {(table, column["system"]) for table, columns in paper_tables().items() for column in columns}
    covered = set()
    for preset in ROWS.values():
        covered |= {(preset.row.table, preset.row.system)}
    # Of a row that two tables print, the detailed table's is the preset's.
    repeated = {("table4", "SF NFNet-F0"), ("table4", "SF ResNet50"), ("table4", "PANNs-CNN14")}
    assert printed - covered == PUBLISHED_TWICE | repeated
    assert all(
        "table4" in ROWS[n].row.also
        for n in ("simclr_sf_nfnet_f0", "simclr_sf_resnet50_bn", "classification_cnn14")
    )


@pytest.mark.parametrize("name", TABLE_2)
def test_references_are_table_2_of_the_main_text(name: str) -> None:
    row = ROWS[name].row
    scores = row.scores()
    found = (*(scores["domains"][d] for d in ("environment", "speech", "music")), scores["hares"])
    assert (*found, scores["tasks"]["audioset"]) == TABLE_2[name]
    assert "table2" in (row.table, *row.also)


def test_no_other_preset_says_it_is_in_table_2() -> None:
    said = {name for name, preset in ROWS.items() if "table2" in (preset.row.table, *preset.row.also)}
    assert said - {"paper_simclr", "paper_classification"} == set(TABLE_2)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_runs_with_the_papers_settings(name: str) -> None:
    """Section 3 and appendix C; the original papers' own where the paper says so."""
    config: PipelineConfig = ROWS[name].config()
    training = config.training
    training.validate()
    assert config.protocol.name == "paper" and config.frontend.sample_rate == 16_000
    if training.objective in ("classification", "simclr"):
        expected = (1024, 100_000) if training.objective == "classification" else (4096, 200_000)
        assert (training.batch_size, training.steps) == expected
        assert (training.crop_seconds, config.frontend.num_mel_bins) == (3.0, 80)
        assert not training.objective_settings  # SimCLR's defaults are the paper's
        assert (training.mixing_alpha, training.mixing_beta) == (5, 2)
    if training.objective in ("cpc", "wav2vec2"):
        assert (training.batch_size, training.crop_seconds) == (256, 10.0)
        assert training.steps == (80_000 if name.endswith("librispeech") else 200_000)
    if training.objective == "byola":
        assert (training.batch_size, training.crop_seconds, training.peak_learning_rate) == (256, 0.95, 3e-4)
        # config.yaml and byol_a/dataset.py of nttcslab/byol-a: MelSpectrogram(power=2), log(x + torch.finfo().eps)
        assert config.frontend == FrontendConfig(
            window_length=1024, hop_length=160, fft_length=1024, num_mel_bins=64, lower_edge_hertz=60.0,
            upper_edge_hertz=7800.0, magnitude_power=2.0, log_floor=float(np.finfo(np.float32).eps),
        )  # fmt: skip
        assert training.steps == pytest.approx(100 * 1.9e6 / 256, abs=1)
    if training.objective in ("classification", "simclr", "cpc", "wav2vec2"):
        assert (training.peak_learning_rate, training.warmup_steps) == (2e-4, 5000)
        assert training.optimizer == "adam"
    sources = {
        "clmr": "magnatagatune",
        "bidir_cpc_librispeech": "LibriSpeech",
        "wav2vec2_librispeech": "LibriSpeech",
    }
    assert config.pretraining.source == sources.get(name, "audioset")


def test_cola_has_the_numbers_of_its_public_code() -> None:
    """google-research/cola: data.py, and the flags' defaults in main.py."""
    config = ROWS["cola"].config()
    assert config.training.crop_seconds * config.frontend.sample_rate == 16_000
    assert config.frontend == FrontendConfig(
        window_length=400, hop_length=160, fft_length=1024, num_mel_bins=64, lower_edge_hertz=60.0,
        upper_edge_hertz=7800.0, magnitude_power=1.0, log_floor=1e-5,
    )  # fmt: skip
    assert config.training.encoder == "efficientnet_b0_max"  # pooling_type="max"
    assert ColaSettings().projection_size == 512  # embedding_dim


def test_clmr_has_the_numbers_of_its_public_code() -> None:
    """Spijkervet/CLMR: config/config.yaml; Spijkervet/torchaudio-augmentations: the defaults of Noise and Gain."""
    training = ROWS["clmr"].config().training
    settings = load_objective("clmr").own_settings(training)
    assert (training.batch_size, training.peak_learning_rate) == (48, 3e-4)
    assert training.crop_seconds * 16_000 == pytest.approx(59_049)
    assert (settings.projection_size, settings.temperature) == (64, 0.5)
    names = ("polarity", "noise", "gain", "filter", "delay", "pitch")
    assert [getattr(settings, name) for name in names] == [0.8, 0.01, 0.3, 0.8, 0.3, 0.6]
    assert settings.gain_decibels == (-20.0, -1.0)
    assert settings.noise_levels == (1e-4, 1e-2)


@pytest.mark.parametrize("name", ROWS)
def test_a_summary_names_its_tables(name: str) -> None:
    preset = ROWS[name]
    numbers = set(re.findall(r"\d+", preset.summary.rpartition("(")[2]))
    own = {table.removeprefix("table") for table in (preset.row.table, *preset.row.also)}
    assert numbers and numbers <= own


def test_pipelines_of_presets_are_told_apart() -> None:
    names = [preset.config().name for preset in PRESETS.values()]
    assert len(set(names)) == len(names)


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(ValueError, match=r"unknown preset 'simclr_resnet'; did you mean .*simclr_resnet50"):
        load_preset("simclr_resnet")
