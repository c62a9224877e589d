"""What a run is given is concrete before it starts: spans, fingerprints, code digests, the run's key."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.config import PipelineConfig, PretrainingConfig, load_config
from pipeline.resolve import ResolvedRun, resolve
from pipeline.settings import SettingError

pytestmark = pytest.mark.slow


@pytest.fixture
def spans(tmp_path: Path) -> Path:
    """Three spans, numbered as people number them."""
    for name in ("span-1", "span-02", "span-10"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", np.zeros(16_000), 16_000)
    return tmp_path


def resolved(config: PipelineConfig, corpus: Path, tmp_path: Path) -> ResolvedRun:
    return resolve(config, corpus, {}, tmp_path / "w")


def demo(source: str, span: int | None = None) -> PipelineConfig:
    config = load_config("demo", ["tasks=[tut18, esc50]"])
    return dataclasses.replace(config, pretraining=PretrainingConfig(source, span))


def test_the_newest_span_or_the_one_asked_for(spans: Path, shared_corpus: Path, tmp_path: Path) -> None:
    pattern = str(spans / "span-{SPAN}")
    newest = resolved(demo(pattern), shared_corpus, tmp_path).pretraining
    assert newest.span == 10 and newest.readers == {"folder": str((spans / "span-10").resolve())}
    assert resolved(demo(pattern, 2), shared_corpus, tmp_path).pretraining.span == 2
    with pytest.raises(SettingError, match=r"has no span 3; there are 1, 2, 10"):
        resolved(demo(pattern, 3), shared_corpus, tmp_path)


def windowed(source: str, window: int, span: int | None = None) -> PipelineConfig:
    pretraining = PretrainingConfig(source, span, window=window)
    return dataclasses.replace(demo(source), pretraining=pretraining)


def test_a_window_is_the_newest_spans_each_an_ingestion_of_its_own(
    spans: Path, shared_corpus: Path, tmp_path: Path
) -> None:
    pattern = str(spans / "span-{SPAN}")

    def taken(config: PipelineConfig) -> dict[int | None, str]:
        run = resolved(config, shared_corpus, tmp_path)
        return {source.span: source.fingerprint for source in (run.pretraining, *run.older_spans)}

    two, three = taken(windowed(pattern, 2)), taken(windowed(pattern, 3))
    assert list(two) == [10, 2] and list(three) == [10, 2, 1]
    assert all(three[number] == digest for number, digest in two.items()) and len(set(three.values())) == 3
    assert list(taken(windowed(pattern, 2, span=2))) == [2, 1]
    assert list(taken(windowed(pattern, 9))) == [10, 2, 1], "there are three"
    os.utime(spans / "span-1" / "a.wav", ns=(0, 0))
    touched = taken(windowed(pattern, 3))
    assert [touched[number] == three[number] for number in (10, 2, 1)] == [True, True, False]


def test_the_key_covers_every_span_of_a_window(spans: Path, shared_corpus: Path, tmp_path: Path) -> None:
    config = windowed(str(spans / "span-{SPAN}"), 3)
    key = resolved(config, shared_corpus, tmp_path).run_key
    os.utime(spans / "span-1" / "a.wav", ns=(0, 0))
    assert resolved(config, shared_corpus, tmp_path).run_key != key


def test_a_window_needs_a_pattern(spans: Path, shared_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"pretraining\.window: got 2, but .* is no pattern"):
        resolved(windowed(str(spans / "span-1"), 2), shared_corpus, tmp_path)
    for window in (0, 33):
        with pytest.raises(SettingError, match=rf"window: got {window}; accepted are 1 to 32"):
            windowed("x", window)


def test_a_folder_is_no_span(spans: Path, shared_corpus: Path, tmp_path: Path) -> None:
    assert resolved(demo(str(spans)), shared_corpus, tmp_path).pretraining.span is None


def test_auto_takes_the_training_splits_where_there_is_no_pretrain_folder(
    shared_corpus: Path, tmp_path: Path
) -> None:
    run = resolved(demo("auto"), shared_corpus, tmp_path)
    # ESC-50 has folds, each of which is tested on, and no training split.
    assert set(run.pretraining.readers) == {"tut18"} and run.num_classes == 0


def test_audioset_brings_its_labels(shared_corpus: Path, tmp_path: Path) -> None:
    run = resolved(demo("audioset"), shared_corpus, tmp_path)
    assert (run.num_classes, run.label_task, run.input_kind) == (527, "audioset", "log_mel")


def test_the_key_changes_with_data_settings_and_nothing_else(
    spans: Path, shared_corpus: Path, tmp_path: Path
) -> None:
    config = demo(str(spans / "span-1"))
    key = resolved(config, shared_corpus, tmp_path).run_key
    assert resolved(config, shared_corpus, tmp_path / "elsewhere").run_key == key
    training = dataclasses.replace(config.training, seed=1)
    assert resolved(dataclasses.replace(config, training=training), shared_corpus, tmp_path).run_key != key
    os.utime(spans / "span-1" / "a.wav", ns=(0, 0))
    assert resolved(config, shared_corpus, tmp_path).run_key != key


def test_a_data_set_elsewhere(shared_corpus: Path, tmp_path: Path) -> None:
    placed = resolve(demo("auto"), shared_corpus, {"esc50": shared_corpus / "esc50"}, tmp_path).tasks["esc50"]
    assert placed.readers == {"esc50": str((shared_corpus / "esc50").resolve())}
    with pytest.raises(SettingError, match=r"no place for the data set 'tut18'"):
        resolve(demo("auto"), None, {"esc50": shared_corpus / "esc50"}, tmp_path)


def test_tensorflow_datasets_has_to_be_prepared(shared_corpus: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(demo("auto"), tasks=("voxforge",))
    with pytest.raises(SettingError, match=r"voxforge is not prepared in .* Run 'tfds build voxforge"):
        resolve(config, shared_corpus, {"voxforge": Path(f"tfds:{tmp_path}")}, tmp_path)
    (tmp_path / "voxforge").mkdir()
    run = resolve(config, shared_corpus, {"voxforge": Path(f"tfds:{tmp_path}")}, tmp_path)
    assert run.tasks["voxforge"].readers == {"voxforge": f"tfds:{tmp_path.resolve()}"}
