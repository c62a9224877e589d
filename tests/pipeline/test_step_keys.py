"""What decides the numbers of each step: a list that a reviewer reads, and what a change of a file re-runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hares import code_digest
from hares.code_digest import PROJECT, closure, locked_versions
from hares.embedding.cache import _PREPARING
from hares.task import task_names
from hares.version_lines import this_lock
from kits.pipeline_runs import copy_project
from pipeline.config import load_config
from pipeline.resolve import entry_modules

pytestmark = pytest.mark.slow

# A module that comes in here re-runs the step whenever it changes: of a trainer, hours or days of work. Does it decide
# a number?
CLOSURES = {
    "ingest_esc50": """
        components.audio_example_gen components.audio_example_gen.executor
        hares hares.decoding hares.decoding.containers hares.decoding.ffmpeg hares.decoding.file_bytes
        hares.decoding.frames hares.decoding.limits hares.decoding.process hares.decoding.waveform
        hares.decoding.worker hares.digests hares.example hares.files hares.folder hares.ingest
        hares.machine hares.plain_data hares.reading hares.task hares.tasks hares.tasks._places
        hares.tasks._rows hares.tasks.esc50 hares.tfds_source
    """,
    "ingest_pretraining": """
        components.audio_example_gen components.audio_example_gen.executor
        hares hares.archives hares.decoding hares.decoding.containers hares.decoding.ffmpeg hares.decoding.file_bytes
        hares.decoding.frames hares.decoding.limits hares.decoding.process hares.decoding.waveform
        hares.decoding.worker hares.digests hares.example hares.files hares.folder hares.ingest
        hares.machine hares.packed hares.plain_data hares.reading hares.task hares.tfds_source
    """,
    "span_window": """
        components.span_window components.span_window.executor
        hares hares.decoding hares.decoding.containers hares.decoding.ffmpeg hares.decoding.file_bytes
        hares.decoding.frames hares.decoding.limits hares.decoding.process hares.decoding.waveform
        hares.decoding.worker hares.files hares.folder hares.machine hares.reading hares.task
    """,
    "transform": """
        hares
        models models.frontend
        pipeline pipeline.preprocessing
        workarounds workarounds.tfx_bsl workarounds.tfx_transform
    """,
    "trainer": """
        components.model_layout
        hares hares.plain_data
        models models.compute_dtype models.encoder models.encoders models.encoders._normalizer_free
        models.encoders.sf_nfnet models.export models.frontend models.loaded_plugins models.objective
        models.objectives models.objectives._contrastive models.objectives.simclr models.training
        models.training.checkpoints models.training.config models.training.distribution
        models.training.input_pipeline models.training.loop models.training.mixing
        models.training.optimizers models.training.records models.training.step models.warm_start
        models.weights
        pipeline pipeline.preprocessing pipeline.pretraining
        workarounds workarounds.addons workarounds.keras
    """,
    "checkpoints": """
        hares
        models models.compute_dtype models.encoder models.encoders models.encoders._normalizer_free
        models.encoders.sf_nfnet models.frontend models.loaded_plugins models.objective
        models.objectives models.objectives._contrastive models.objectives.simclr models.training
        models.training.checkpoints models.training.config models.training.distribution
        models.training.input_pipeline models.training.loop models.training.mixing
        models.training.optimizers models.training.records models.training.step models.weights
        pipeline pipeline.preprocessing
        workarounds workarounds.addons workarounds.keras workarounds.tfx_bsl workarounds.tfx_transform
    """,
    "embed_esc50": """
        components.embedder components.embedder.executor components.model_layout
        hares hares.adapters hares.adapters._arrays hares.adapters.saved_model hares.arrays
        hares.decoding hares.decoding.containers hares.decoding.ffmpeg hares.decoding.file_bytes
        hares.decoding.frames hares.decoding.limits hares.decoding.process hares.decoding.waveform
        hares.decoding.worker hares.digests hares.embedding hares.embedding.encoding
        hares.embedding.task_embeddings hares.example hares.files hares.machine hares.own_classifier
        hares.plain_data hares.protocol hares.reading hares.task hares.tasks hares.tasks._places
        hares.tasks._rows hares.tasks.esc50
        models models.compute_dtype models.encoder models.export models.frontend models.loaded_plugins
        models.weights
    """,
    "evaluator": """
        components.evaluator components.evaluator.executor components.properties
        hares hares.arrays hares.averages hares.benchmark hares.blessing hares.class_scores
        hares.decoding hares.decoding.containers hares.decoding.ffmpeg hares.decoding.file_bytes
        hares.decoding.frames hares.decoding.limits hares.decoding.process hares.decoding.waveform
        hares.decoding.worker hares.digests hares.embedding hares.embedding.collector
        hares.embedding.task_embeddings
        hares.example hares.files hares.leakage hares.machine hares.metrics hares.own_classifier
        hares.plain_data hares.predictions hares.probes hares.probes._standard hares.probes.svm
        hares.protocol hares.reading hares.report hares.report.mistakes hares.report.page
        hares.report.paper hares.report.runs hares.report.spectrogram hares.report.summary hares.scoring
        hares.statistics hares.task hares.tasks hares.tasks._nsynth hares.tasks._places
        hares.tasks._rows hares.tasks._speech_commands hares.tasks._speech_commands_testing
        hares.tasks._split hares.tasks.audioset
        hares.tasks.birdsong hares.tasks.esc50 hares.tasks.fluent_speech_commands
        hares.tasks.magnatagatune hares.tasks.nsynth_instrument hares.tasks.nsynth_pitch
        hares.tasks.speech_commands_v1 hares.tasks.speech_commands_v2 hares.tasks.tut18
        hares.tasks.voxceleb1 hares.tasks.voxforge
        models models.compute_dtype models.encoder models.export models.frontend models.loaded_plugins
        models.weights
    """,
    "hares evaluate": """
        hares hares.adapters hares.adapters._arrays hares.adapters.saved_model hares.arrays
        hares.decoding hares.decoding.containers hares.decoding.ffmpeg hares.decoding.file_bytes
        hares.decoding.frames hares.decoding.limits hares.decoding.process hares.decoding.waveform
        hares.decoding.worker hares.digests hares.embedding hares.embedding.encoding
        hares.embedding.task_embeddings hares.example hares.files hares.folder hares.ingest
        hares.machine hares.own_classifier hares.protocol hares.reading hares.task hares.tfds_source
    """,
}


def entries(*settings: str, readers: tuple[str, ...] = ("folder",)) -> dict[str, tuple[str, ...]]:
    return entry_modules(load_config("paper_simclr", ["training.encoder=sf_nfnet_tiny", *settings]), readers)


@pytest.mark.parametrize("step", CLOSURES)
def test_these_modules_decide_the_numbers_of_a_step(step: str) -> None:
    steps = {**entries("tasks=[esc50]"), "hares evaluate": (*_PREPARING, "hares.adapters.saved_model")}
    assert set(steps) == set(CLOSURES)
    assert sorted(closure(*steps[step]).modules) == sorted(CLOSURES[step].split())


def test_training_reads_no_store_and_shows_nothing() -> None:
    """Whatever the encoder and the objective."""
    names = entries("training.encoder=resnet50", "training.objective=classification")
    for step in ("trainer", "checkpoints"):
        found = set(closure(*names[step]).modules)
        assert not [name for name in found if "lineage" in name or "ml_metadata" in name or "probes" in name]
        assert not found & {
            "pipeline.workspace", "pipeline.settings", "pipeline.listener", "models.training.pictures",
            "pipeline.training", "pipeline.warm_start",
        }  # fmt: skip
    assert "models.export" not in closure(*names["checkpoints"]).modules


def test_a_reader_of_the_pretraining_corpus_counts_though_it_is_no_task_of_the_run() -> None:
    names = entries("tasks=[esc50]", readers=("audioset",))
    assert "hares.tasks.audioset" in closure(*names["ingest_pretraining"]).modules
    assert "hares.tasks.audioset" not in closure(*names["ingest_esc50"]).modules


def keys(steps: dict[str, tuple[str, ...]], pins: dict[str, str] | None = None) -> dict[str, str]:
    return {step: code_digest.code_digest(*modules, pins=pins) for step, modules in steps.items()}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    copy_project(PROJECT, folder)
    return folder


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    """The keys of a run of all tasks."""
    return keys(entries())


def line(text: str) -> Callable[[str], str]:
    return lambda before: f"{before}\n{text}\n"


def swapped(old: str, new: str) -> Callable[[str], str]:
    def change(before: str) -> str:
        assert old in before, old
        return before.replace(old, new)

    return change


EMBEDDERS = {f"embed_{name}" for name in task_names()}
INGESTION = {"ingest_pretraining", *(f"ingest_{name}" for name in task_names())}
ANOTHER = line("ANOTHER = 1")
CHANGES = {
    "a probe": ("hares/probes/mlp.py", ANOTHER, {"evaluator"}),
    "what probes share": (
        "hares/probes/_standard.py", swapped("BLOCK_ROWS = 2_048", "BLOCK_ROWS = 2_047"), {"evaluator"},
    ),
    "how the encoder's own classifier scores": ("hares/scoring.py", ANOTHER, {"evaluator"}),
    "AudioSet's labels": (
        "hares/tasks/data/audioset_labels.csv", swapped("Speech", "Talk"),
        {"ingest_audioset", "embed_audioset", "evaluator"},
    ),
    "a task": ("hares/tasks/tut18.py", ANOTHER, {"ingest_tut18", "embed_tut18", "evaluator"}),
    "the paper's tables": ("hares/report/paper_tables.json", line(""), {"evaluator"}),
    "a template": ("hares/report/parts.html.j2", line("<p>"), {"evaluator"}),
    "a template that no step uses": ("hares/report/study.html.j2", line("<p>"), set()),
    "a comment in the workaround for PostgreSQL": (
        "workarounds/ml_metadata.py", line("# Seen in 1.15 too."), set(),
    ),
    "the workaround for PostgreSQL": ("workarounds/ml_metadata.py", ANOTHER, set()),
    "the workarounds for TFX": ("workarounds/tfx.py", ANOTHER, set()),
    "the size of batches": ("workarounds/tfx_bsl.py", ANOTHER, {"transform", "checkpoints"}),
    "the workaround for Keras": ("workarounds/keras.py", ANOTHER, {"trainer", "checkpoints"}),
    "what stands in for Addons": ("workarounds/addons.py", ANOTHER, {"trainer", "checkpoints"}),
    "a comment in the training loop": ("models/training/loop.py", line("# The end."), set()),
    "a docstring of the encoder": (
        "models/encoders/sf_nfnet.py", lambda before: f'"""{before.removeprefix(chr(34) * 3)}', set(),
    ),
    "the encoder": (
        "models/encoders/sf_nfnet.py", ANOTHER, {"trainer", "checkpoints"},
    ),
    "another encoder": ("models/encoders/cnn14.py", ANOTHER, set()),
    "another objective": ("models/objectives/cpc.py", ANOTHER, set()),
    "the objective": ("models/objectives/simclr.py", ANOTHER, {"trainer", "checkpoints"}),
    "the training loop": ("models/training/loop.py", ANOTHER, {"trainer", "checkpoints"}),
    # Those that read an export have its code in their keys too.
    "the export": ("models/export.py", ANOTHER, {"trainer", "evaluator"} | EMBEDDERS),
    "pictures": ("models/training/pictures.py", ANOTHER, set()),
    "what is said of progress": ("pipeline/training.py", ANOTHER, set()),
    "what is recorded of outputs": ("components/provenance.py", ANOTHER, set()),
    "the front end": (
        "models/frontend.py", ANOTHER, {"transform", "trainer", "checkpoints", "evaluator"} | EMBEDDERS,
    ),
    "the decoder": (
        "hares/decoding/waveform.py", ANOTHER, {"span_window", "evaluator"} | INGESTION | EMBEDDERS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_re_runs_what_it_can_change(
    change: str, copy: Path, before: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a copy of the packages one file is edited."""
    name, edit, expected = CHANGES[change]
    monkeypatch.setattr(code_digest, "PROJECT", copy)
    path = copy / name
    text = path.read_text(encoding="utf-8")
    try:
        path.write_text(edit(text), encoding="utf-8")
        after = keys(entries())
    finally:
        path.write_text(text, encoding="utf-8")
    assert {step for step in before if before[step] != after[step]} == expected


# Upgrades of packages in the lock file, and which steps of a run they re-run.
UPGRADES = {
    "pytest": set(),
    "google-cloud-storage": set(),
    "grpcio": set(),
    "jinja2": set(),
    "scikit-learn": {"evaluator"},
    "scipy": {"evaluator"},
    "tensorflow-addons": {"trainer", "checkpoints"},
    "tf-keras": {  # as all of TensorFlow
        *(
            "ingest_esc50",
            "ingest_pretraining",
            "transform",
            "trainer",
            "checkpoints",
            "embed_esc50",
            "evaluator",
        ),
    },
    "tensorflow-transform": {"transform", "trainer", "checkpoints"},
    "apache-beam": set(),
    "soundfile": {"ingest_esc50", "ingest_pretraining", "span_window", "embed_esc50", "evaluator"},
}


@pytest.mark.parametrize("package", UPGRADES)
def test_an_upgrade_re_runs_what_it_can_change(package: str) -> None:
    pins, steps = locked_versions(), entries("tasks=[esc50]")
    if package in ("tensorflow-addons", "tf-keras") and package not in pins:
        pytest.skip(f"{this_lock()} has no {package}: it is of the other line")
    assert package in pins
    before, after = keys(steps, pins), keys(steps, pins | {package: "999"})
    assert {step for step in before if before[step] != after[step]} == UPGRADES[package]


@pytest.mark.slow
def test_decoders_and_limits_are_in_the_key_of_an_ingestion() -> None:
    from components.audio_example_gen.component import AudioExampleGen
    from hares.decoding import Limits, decoder_versions

    def properties(limits: Limits, decoders: dict[str, str]) -> str:
        step = AudioExampleGen({"esc50": "/e"}, ["train"], "f", "c", limits=limits, decoders=decoders)
        return str(sorted(step.exec_properties.items()))

    here = decoder_versions()
    different = [
        properties(Limits(), here),
        properties(Limits(), here | {"ffmpeg": "none"}),
        properties(Limits(), here | {"libsndfile": "0"}),
        properties(Limits(seconds=60.0), here),
        properties(Limits(memory_bytes=1 << 20), here),
        properties(Limits(longest=60.0), here),
        properties(Limits(), {}),
    ]
    assert len(set(different)) == len(different)
