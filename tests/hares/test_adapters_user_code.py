"""HEAR modules and Python factories in the current folder: embeddings, digests, and what is none."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from hares.adapters import load_adapter
from kits.three_features import WAVES, features

pytestmark = pytest.mark.slow


HEAR_MODULE = """
import numpy as np
class Model:
    sample_rate, scene_embedding_size, scale = 16000, 3, 1.0
def load_model(path=""):
    model = Model()
    if path:
        model.scale = float(open(path).read())
    return model
def get_scene_embeddings(audio, model):
    assert isinstance(audio, np.ndarray)
    return model.scale * np.stack([audio.mean(1), np.abs(audio).mean(1), (audio ** 2).mean(1)], 1)
"""


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    """Writes a module into the current folder, under a name no other test has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    written = []

    def write(source: str, name: str = "") -> str:
        name = name or f"user_{tmp_path.name.replace('-', '_')}"
        sys.modules.pop(name, None)
        (tmp_path / f"{name}.py").write_text(source)
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


def test_hear_module_in_the_current_folder(user_module, tmp_path):
    name = user_module(HEAR_MODULE)
    (tmp_path / "weights.txt").write_text("2.5")
    plain, weighted = load_adapter(f"hear:{name}"), load_adapter(f"hear:{name}:weights.txt")
    assert (plain.embedding_size, plain.sample_rate) == (3, 16_000)
    np.testing.assert_allclose(plain.embed(WAVES), features(WAVES), atol=1e-6)
    np.testing.assert_allclose(weighted.embed(WAVES), 2.5 * features(WAVES), atol=1e-6)
    assert plain.digest != weighted.digest


@pytest.mark.parametrize(
    "source,message",
    [
        ("load_model = print", "has no function get_scene_embeddings"),
        (HEAR_MODULE.replace("3, 1.0", "3.0, 1.0"), "scene_embedding_size is 3.0; HEAR 2021 asks for"),
        (HEAR_MODULE.replace("16000, 3", "None, 3"), "sample_rate is None; HEAR 2021 asks for"),
        ("raise ImportError('no torch here')", "cannot be imported .*no torch here"),
        (HEAR_MODULE.replace("model = Model()", "1 / 0"), "load_model failed .ZeroDivisionError"),
    ],
)
def test_hear_modules_that_are_none(user_module, source, message):
    with pytest.raises(ValueError, match=message):
        load_adapter(f"hear:{user_module(source)}")


PYTHON_MODULE = """
import numpy as np
class Encoder:
    sample_rate, embedding_size, digest = 16000, 3, "weights 1"
    def __call__(self, x):
        assert x.dtype == np.float32
        return np.stack([x.mean(1), np.abs(x).mean(1), (x ** 2).mean(1)], 1)
"""


def test_python_factory_and_its_digest(user_module):
    first = load_adapter(f"python:{user_module(PYTHON_MODULE)}:Encoder")
    np.testing.assert_allclose(first.embed(WAVES), features(WAVES), atol=1e-6)
    again = load_adapter(f"python:{user_module(PYTHON_MODULE)}:Encoder")
    weights = load_adapter(f"python:{user_module(PYTHON_MODULE.replace('weights 1', 'weights 2'))}:Encoder")
    assert again.digest == first.digest != weights.digest


def test_python_digest_covers_what_the_module_imports(user_module):
    user_module("SCALE = 1", "user_scale")
    source = "from user_scale import SCALE\n" + PYTHON_MODULE
    before = load_adapter(f"python:{user_module(source)}:Encoder").digest
    user_module("SCALE = 2", "user_scale")
    assert load_adapter(f"python:{user_module(source)}:Encoder").digest != before
