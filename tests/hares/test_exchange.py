"""Our encoders and tasks in mteb and X-ARES, and mteb's models in HARES: each with the other side's own package.

`make test-pythons` has an environment with these packages.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hares.adapters import encode_crops, load_adapter
from hares.preflight import check_encoder, synthetic_crops

pytestmark = pytest.mark.slow


def loaded(task: Any) -> Any:
    """A task's clips, which mteb lets go of when it has evaluated them."""
    task.load_data()
    return task.dataset


@pytest.fixture
def local_wav2vec(tmp_path: Path) -> Iterator[str]:
    """A small wav2vec 2.0 with random weights in mteb's own register, loaded by mteb's own wrapper from a folder."""
    pytest.importorskip("mteb")
    import torch
    import transformers
    from mteb.models.model_implementations import MODEL_REGISTRY
    from mteb.models.model_implementations.wav2vec2_models import Wav2Vec2AudioWrapper

    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, conv_dim=[16] * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
    )  # fmt: skip
    folder = tmp_path / "model"
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    theirs = next(meta for name, meta in MODEL_REGISTRY.items() if "wav2vec2-base" in name)
    name = "hares-tests/wav2vec2"

    def loader(model_name: str, revision: str | None = None, **_: object) -> Wav2Vec2AudioWrapper:
        return Wav2Vec2AudioWrapper(str(folder), None, device="cpu")

    MODEL_REGISTRY[name] = theirs.model_copy(update={"name": name, "loader": loader, "revision": "1"})
    yield name
    del MODEL_REGISTRY[name]


def test_a_model_of_mteb_s_register_is_an_encoder(local_wav2vec: str, tmp_path: Path) -> None:
    encoder = load_adapter(f"mteb:{local_wav2vec}")
    waves = synthetic_crops(1.0)
    ours = load_adapter(f"transformers:{tmp_path / 'model'}")
    np.testing.assert_allclose(encode_crops(encoder)(waves), encode_crops(ours)(waves), atol=1e-4)
    checks, size = check_encoder(encoder, (1.0, 2.5))
    assert size == 32 and all(check.passed for check in checks)
    assert encoder.details["weight_arrays"] > 10 and load_adapter(encoder.spec).digest == encoder.digest


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody/nothing", "not found in MTEB registry"),
        ("sentence-transformers/all-MiniLM-L6-v2", "a model of text, not of audio"),
    ],
)
def test_a_name_without_audio_is_refused(name: str, message: str) -> None:
    pytest.importorskip("mteb")
    with pytest.raises(ValueError, match=message):
        load_adapter(f"mteb:{name}")


def test_our_encoder_is_evaluated_by_mteb_on_our_tasks(corpus: Path) -> None:
    mteb = pytest.importorskip("mteb")
    from hares.exchange.mteb import model_of, tasks_of

    tasks = tasks_of(corpus)
    assert [task.metadata.name for task in tasks] == ["HaresEsc50", "HaresSpeechCommandsV2"]
    found = mteb.evaluate(model_of("log_mel"), tasks, cache=None, co2_tracker=False, show_progress_bar=False)
    scores = {result.task_name: result for result in found.task_results}
    assert scores["HaresSpeechCommandsV2"].get_score() == 1.0, "tones whose pitch tells the word"
    folds = scores["HaresEsc50"].scores["test"]
    assert sorted(fold["hf_subset"] for fold in folds) == ["fold1", "fold2", "fold3", "fold4", "fold5"]
    assert all(fold["accuracy"] == 1.0 for fold in folds)
    esc50, commands = map(loaded, tasks)
    assert {len(split) for fold in esc50.values() for split in fold.values()} == {2, 8}
    assert (len(commands["train"]), len(commands["test"])) == (15, 9), (
        "validation is left out, as by the paper"
    )


def test_several_labels_and_slots_become_mteb_s(tmp_path: Path) -> None:
    mteb = pytest.importorskip("mteb")
    from hares.exchange.mteb import model_of, tasks_of
    from hares.synthesis import make_corpus

    make_corpus(tmp_path / "made", scale=0.05)
    tasks = tasks_of(tmp_path / "made", ["magnatagatune", "fluent_speech_commands"])
    found = mteb.evaluate(model_of("log_mel"), tasks, cache=None, co2_tracker=False, show_progress_bar=False)
    assert [result.task_name for result in found.task_results] == [
        "HaresMagnatagatune",
        "HaresFluentSpeechCommands",
    ]
    assert all(0 < result.get_score() <= 1 for result in found.task_results)
    intents = set(np.asarray(loaded(tasks[1])["train"]["label"]).tolist())
    assert len(intents) > 2 and max(intents) < 6 * 14 * 4


def test_our_encoder_is_one_of_x_ares(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("xares")
    import torch
    from xares.audio_encoder_checker import check_audio_encoder
    from xares.task import TaskConfig, XaresTask

    from hares.exchange.xares import encoder_of

    encoder = encoder_of("log_mel")
    assert check_audio_encoder(encoder)
    one = encoder(torch.zeros(2, 40_000))
    assert one.shape == (2, 1 + 40_000 // 8_000, 160)
    home = tmp_path / "env" / "tones"
    home.mkdir(parents=True)
    files = sorted((corpus / "speech_commands_v2").glob("*/*.wav"))
    for split, chosen in (("train", files[::2]), ("valid", files[1::2]), ("test", files[1::2])):
        with tarfile.open(home / f"{split}0.tar", "w") as archive:
            for number, file in enumerate(chosen):
                (tmp_path / "label.json").write_text(
                    json.dumps({"label": ["no", "up", "yes"].index(file.parent.name)})
                )
                archive.add(file, f"{split}{number}.wav")
                archive.add(tmp_path / "label.json", f"{split}{number}.json")
    (home / ".audio_tar_ready").touch()
    config = TaskConfig(
        name="tones", encoder=encoder, env_root=tmp_path / "env", output_dim=3, num_encoder_workers=0, epochs=40,
        batch_size_train=2, label_processor=lambda row: row["label"],
    )  # fmt: skip
    (home / config.xares_settings.audio_ready_filename).touch()
    task = XaresTask(config)
    task.make_encoded_tar()
    score, _ = task.run_mlp()
    assert score > 0.9, "a third by chance"
