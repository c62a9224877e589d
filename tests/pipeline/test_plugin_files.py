"""Encoders and objectives in files outside the package."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import tensorflow as tf

from hares import plugin as files
from kits.loaded_plugins import forgotten
from models.encoder import encoder_module_name, encoder_names, load_encoder
from models.loaded_plugins import PREFIX
from models.objective import load_objective, objective_module_name, objective_names
from pipeline import plugin as plugins

__all__ = ["forgotten"]

ENCODER = """
import tensorflow as tf
from models.encoder import Encoder, EncoderRecord

class Mine(Encoder):
    def __init__(self, seed):
        super().__init__(name="mine")
        self.dense = tf.keras.layers.Dense(7, kernel_initializer=tf.keras.initializers.GlorotUniform(seed))

    def call(self, inputs, training=False, noise=None):
        return {"embedding": self.dense(tf.reduce_mean(inputs, axis=[1, 3]))}

ENCODERS = {"%s": EncoderRecord("%s", "log_mel", 7, 80 * 7 + 7, Mine)}
"""
OBJECTIVE = """
import dataclasses
from models.objectives.simclr import OBJECTIVE as theirs
OBJECTIVE = dataclasses.replace(theirs, name="%s")
"""


@pytest.fixture
def file(tmp_path: Path):
    def write(text: str, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_an_encoder_of_a_plugin_is_found_by_its_name(file) -> None:
    path = file(ENCODER % ("mine_small", "mine_small"))
    plugin = plugins.load_plugin(path)
    assert plugin.digest == hashlib.sha256(path.read_bytes()).hexdigest() and plugin.path == str(path)
    assert "mine_small" in encoder_names() and "sf_nfnet_f0" in encoder_names()
    record = load_encoder("mine_small")
    embedding = record.build(0)(tf.ones([2, 100, 80, 1]))["embedding"]
    assert embedding.shape == (2, record.embedding_size)
    assert encoder_module_name("mine_small").startswith(PREFIX)
    assert plugins.load_plugin(path, plugin.digest) == plugin  # again, and nothing happens


def test_a_task_alone_is_nothing_for_a_run_and_waits_beside_an_encoder(file) -> None:
    assert files.PREFIX == PREFIX, "models find by it what hares has loaded"
    task = "from hares.tasks.esc50 import TASK as theirs, index, read\nimport dataclasses\n"
    task += "TASK = dataclasses.replace(theirs, name='mine_too')\n"
    with pytest.raises(ValueError, match="it defines a task alone, and a run scores the twelve"):
        plugins.load_plugin(file(task))
    assert plugins.load_plugin(file(task + ENCODER % ("mine_small", "mine_small"))).task == "mine_too"
    assert "mine_small" in encoder_names()


def test_an_objective_of_a_plugin_is_found_by_its_name(file) -> None:
    plugins.load_plugin(file(OBJECTIVE % "mine"))
    assert load_objective("mine").name == "mine" and "mine" in objective_names()
    assert objective_module_name("mine").startswith(PREFIX)
    assert objective_module_name("simclr") == "models.objectives.simclr"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ENCODER % ("sf_nfnet_tiny", "sf_nfnet_tiny"), "there is an encoder 'sf_nfnet_tiny' already"),
        (OBJECTIVE % "simclr", "there is an objective 'simclr' already"),
        (ENCODER % ("mine", "yours"), "the record of 'mine' is named 'yours'"),
        ("ENCODERS = {'a': 3}", "must map names to models.encoder.EncoderRecord"),
        ("OBJECTIVE = 3", "must be a models.objective.ObjectiveRecord"),
        ("x = 1", "neither a TASK nor ENCODERS nor OBJECTIVE"),
        ("1 / 0", "it failed .ZeroDivisionError"),
        ("def", "it failed .SyntaxError"),
    ],
)
def test_what_is_no_plugin_is_refused_and_leaves_nothing(file, text: str, message: str) -> None:
    before = encoder_names(), objective_names()
    with pytest.raises(ValueError, match=message):
        plugins.load_plugin(file(text))
    assert (encoder_names(), objective_names()) == before


def test_names_are_taken_by_other_plugins_too(file) -> None:
    plugins.load_plugin(file(ENCODER % ("mine", "mine")))
    with pytest.raises(ValueError, match="there is an encoder 'mine' already"):
        plugins.load_plugin(file(ENCODER % ("mine", "mine") + "# another", "other.py"))


def test_a_file_that_changed_is_told(file) -> None:
    path = file(ENCODER % ("mine", "mine"))
    plugin = plugins.load_plugin(path)
    path.write_text(path.read_text() + "# changed\n")
    with pytest.raises(ValueError, match="changed after this process had loaded it"):
        plugins.load_plugin(path)
    with pytest.raises(ValueError, match=f"was made with {plugin.digest[:16]}"):
        plugins.load_plugin(path, plugin.digest)


@pytest.mark.parametrize("name", ["nowhere.py", "mine.txt"])
def test_no_python_file(file, tmp_path: Path, name: str) -> None:
    file("", "mine.txt")
    with pytest.raises(ValueError, match="not a Python file that is there"):
        plugins.load_plugin(tmp_path / name)
