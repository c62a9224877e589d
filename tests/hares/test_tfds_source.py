"""Plumbing from TensorFlow Datasets, on its own mock data: features and label names are real, sounds are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hares.task import Clip, Reason, Rejected, load_task
from hares.tfds_source import read_tfds, tfds_index, tfds_tasks

tfds = pytest.importorskip("tensorflow_datasets")
tf = pytest.importorskip("tensorflow")

# task: (type of the sound, three label names of TensorFlow Datasets and what we call them)
CASES: dict[str, tuple[Any, dict[str, str]]] = {
    "speech_commands_v1": (np.int16, {"down": "down", "_silence_": "silence", "_unknown_": "unknown"}),
    "nsynth_instrument": (np.float32, {"bass": "bass", "synth_lead": "synth_lead", "vocal": "vocal"}),
    "nsynth_pitch": (np.float32, {"0": "0", "60": "60", "127": "127"}),
    "voxceleb1": (np.int64, {"1": "id10001", "2": "id10002", "1251": "id11251"}),
    "voxforge": (np.int64, {"ru": "ru", "de": "de", "it": "it"}),
}


def mock(task: str, samples: int) -> Any:
    """TensorFlow Datasets' mock with three examples a split whose labels and first sample are known."""
    kind, names = CASES[task]

    def dataset(self: Any, *_: Any, **__: Any) -> Any:
        features = self.info.features
        label = {
            "nsynth_instrument": lambda: features["instrument"]["family"],
            "nsynth_pitch": lambda: features["pitch"],
        }
        ids = [label.get(task, lambda: features["label"])().str2int(name) for name in names]
        scale = 1.0 if kind is np.float32 else 32_768
        audio = np.full((3, samples), 0.5 * scale).astype(kind)
        columns: dict[str, Any] = {
            "audio": audio,
            "label": ids,
            "youtube_id": ["v"] * 3,
            "speaker_id": ["s"] * 3,
        }
        if task.startswith("nsynth"):
            columns["pitch"] = ids
            columns["instrument"] = {"family": ids, "label": [7] * 3}
        return tf.data.Dataset.from_tensor_slices(columns)

    return tfds.testing.mock_data(as_dataset_fn=dataset)


def test_the_tasks_it_has() -> None:
    assert set(tfds_tasks()) == set(CASES)


@pytest.mark.parametrize("task", sorted(CASES))
def test_labels_go_by_name_and_sound_becomes_int16(task: str, tmp_path: Path) -> None:
    with mock(task, 16_000):
        items = list(read_tfds(task, tmp_path))
    assert len(items) == 9
    classes = load_task(task).slots[0].classes
    named = []
    for item in items:
        assert not isinstance(item, Rejected)
        clip, waveform = item
        assert isinstance(clip, Clip) and waveform.dtype == np.int16 and waveform.shape == (16_000,)
        assert waveform[0] == 16_384
        named.append(classes[clip.labels[0]])
    assert named == list(CASES[task][1].values()) * 3
    assert [item[0].split for item in items if not isinstance(item, Rejected)] == [
        *["train"] * 3,
        *["validation"] * 3,
        *["test"] * 3,
    ]
    assert len({item[0].clip_id for item in items if not isinstance(item, Rejected)}) == 9


def test_too_short_examples_are_rejected(tmp_path: Path) -> None:
    with mock("voxforge", 399):
        items = list(read_tfds("voxforge", tmp_path))
    assert all(isinstance(item, Rejected) and item.reason is Reason.TOO_SHORT for item in items)


def test_what_it_has_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="esc50 is not in TensorFlow Datasets; there are nsynth_instrument"):
        next(read_tfds("esc50", tmp_path))
    with pytest.raises(ValueError, match=r"voxforge is not prepared in .* Run 'tfds build voxforge"):
        next(read_tfds("voxforge", tmp_path))


def test_a_corpus_check_counts_it(tmp_path: Path) -> None:
    from hares.corpus import check_corpus

    with mock("voxforge", 16_000):
        (check,) = check_corpus(None, {"voxforge": Path(f"tfds:{tmp_path}")}, ["voxforge"])
    assert check.error is None and check.clips_per_split == {"test": 3, "train": 3, "validation": 3}
    assert check.hours == pytest.approx(9 / 3600) and check.slots[0].classes_present == 3


def test_voxceleb_lacks_speakers_and_says_so(tmp_path: Path) -> None:
    from hares.ingest import build_manifest

    for task, official in (("voxceleb1", False), ("voxforge", True)):
        index = tfds_index(task)
        assert index.split_is_official == official and ("40 speakers" in index.deviations[0]) != official
        manifest, _ = build_manifest({task: f"tfds:{tmp_path}"}, ["train"], [], [])
        assert manifest["split_is_official"] == official
        assert manifest["deviations"] == list(index.deviations)


def test_an_evaluation_scores_it_and_finds_its_shards_again(tmp_path: Path) -> None:
    """Three tones a language: TensorFlow Datasets' mock gives the features, the sounds are ours."""
    from hares.adapters import load_adapter
    from hares.embedding.task_embedder import EvaluationSettings
    from hares.evaluation import evaluate_tasks, find_sources
    from hares.protocol import ProtocolSettings

    def tones(self: Any, *_: Any, **__: Any) -> Any:
        ids = [self.info.features["label"].str2int(name) for name in ("ru", "de", "it")] * 4
        time = np.arange(16_000) / 16_000
        pitches = [300.0 * (1 + i % 3) + i for i in range(12)]
        audio = np.stack([8_000 * np.sin(2 * np.pi * pitch * time) for pitch in pitches]).astype(np.int64)
        return tf.data.Dataset.from_tensor_slices({"audio": audio, "label": ids, "speaker_id": ["s"] * 12})

    (tmp_path / "tfds/voxforge").mkdir(parents=True)
    protocol = ProtocolSettings("quick", max_steps=200, learning_rate=5e-3, probe_seeds=1, crops_per_clip=1)
    settings = EvaluationSettings(protocol, clips_per_shard=5)
    observer = type("Silent", (), {"__getattr__": lambda *_: lambda *_, **__: None})()
    runs = []
    with tfds.testing.mock_data(as_dataset_fn=tones):
        sources = find_sources(None, {"voxforge": Path(f"tfds:{tmp_path / 'tfds'}")}, ())
        for name in ("first", "second"):
            encoder = load_adapter("log_mel")
            runs.append(
                evaluate_tasks(encoder, sources, settings, tmp_path / name, tmp_path / "cache", observer)
            )
    for run, found, computed in zip(runs, (0, 6), (6, 0), strict=True):  # 5 + 5 + 2 clips, of two splits
        score = run.report["tasks"]["voxforge"]
        assert (score["value"], score["clips"], score["train_clips"]) == (1.0, 12, 12)
        assert (run.record["cache"]["found"], run.record["cache"]["computed"]) == (found, computed)
