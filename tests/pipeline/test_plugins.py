"""What a plugin does to a run: its settings, the code digest of its trainer, and `hares evaluate` with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hares.code_digest import PROJECT, code_digest
from models.encoder import encoder_names
from models.loaded_plugins import PREFIX
from pipeline.config import load_config
from pipeline.resolve import resolve
from pipeline.settings import SettingError, as_dict

pytestmark = pytest.mark.slow

MINE = """
import tensorflow as tf
from models.encoder import Encoder, EncoderRecord

class Mine(Encoder):
    def __init__(self, seed):
        super().__init__(name="mine")
        self.dense = tf.keras.layers.Dense(8, kernel_initializer=tf.keras.initializers.GlorotUniform(seed))

    def call(self, inputs, training=False, noise=None):
        return {"embedding": self.dense(tf.reduce_mean(inputs, axis=[1, 3]))}

ENCODERS = {"mine_small": EncoderRecord("mine_small", "log_mel", 8, 80 * 8 + 8, Mine)}
"""


def forget() -> None:
    for name in [name for name in sys.modules if name.startswith(PREFIX)]:
        del sys.modules[name]


@pytest.fixture
def mine(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    yield path
    forget()


def test_a_changed_plugin_retrains_and_nothing_else_reruns(
    mine: Path, made_corpus: Path, tmp_path: Path
) -> None:
    settings = ["training.encoder=mine_small", "tasks=[esc50]"]

    def resolved():
        return resolve(load_config("demo", settings, [mine]), made_corpus, {}, tmp_path / "w")

    first = resolved()
    path, digest = first.config.plugins[0]
    assert path == str(mine) and as_dict(first.config)["plugins"] == [[path, digest]]
    forget()
    mine.write_text(MINE + "# another\n")
    second = resolved()
    changed = [node for node in first.code if first.code[node] != second.code[node]]
    assert changed == ["trainer", "checkpoints"] and first.run_key != second.run_key


def test_a_run_is_resolved_again_only_with_the_plugin_as_it_was(
    mine: Path, made_corpus: Path, tmp_path: Path
) -> None:
    config = load_config("demo", ["training.encoder=mine_small", "tasks=[esc50]"], [mine])
    forget()
    mine.write_text(MINE + "# another\n")
    with pytest.raises(SettingError, match=r"plugins: .*was made with"):
        resolve(config, made_corpus, {}, tmp_path / "w")


def test_the_digest_follows_what_a_plugin_imports(tmp_path: Path) -> None:
    """Of two plugins of the same digest, the one that imports a module of ours has another code digest."""
    plain, importing = tmp_path / "a.py", tmp_path / "b.py"
    plain.write_text("")
    importing.write_text("from models.objectives import simclr\n")
    digests = {code_digest("hares.task", plugins=[(path, "same")]) for path in (plain, importing)}
    assert len(digests) == 2


def test_a_plugin_that_is_not_there_is_a_wrong_setting() -> None:
    with pytest.raises(SettingError, match=r"--plugin: .*not a Python file"):
        load_config("demo", [], [Path("nowhere.py")])


@pytest.mark.slow
def test_a_trainer_in_a_process_of_its_own_loads_the_plugin(mine: Path) -> None:
    """`run_fn` loads it before it looks at the data, of which there is none here."""
    from pipeline.training import run_fn

    config = load_config("demo", ["training.encoder=mine_small"], [mine])
    forget()
    assert "mine_small" not in encoder_names()
    custom = {"training": as_dict(config.training), "frontend": as_dict(config.frontend)}
    with pytest.raises(ValueError, match="no pretraining records match"):
        run_fn(
            SimpleNamespace(
                custom_config={**custom, "plugins": as_dict(config)["plugins"]}, train_files=["none*"]
            )
        )
    assert "mine_small" in encoder_names()
    forget()
    mine.write_text(MINE + "# another\n")
    with pytest.raises(ValueError, match="was made with"):
        run_fn(
            SimpleNamespace(
                custom_config={**custom, "plugins": as_dict(config)["plugins"]}, train_files=["none*"]
            )
        )


def test_hares_evaluate_scores_an_encoder_of_a_plugin(mine: Path, made_corpus: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cli.main", "evaluate", "--encoder", "untrained:mine_small", "--plugin", str(mine),
               "--corpus", str(made_corpus), "--tasks", "esc50", "--protocol", "quick", "--output",
               str(tmp_path / "out"), "--json"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["tasks"]["esc50"]["value"] > report["tasks"]["esc50"]["chance"] / 2
    assert report["encoder"]["name"] == "mine_small, untrained" and report["encoder"]["embedding_size"] == 8
