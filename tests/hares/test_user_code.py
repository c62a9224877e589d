"""Code that a user brings cannot end the process, nor change what the rest of it relies on."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from hares.adapters import encode_crops, load_adapter
from hares.preflight import synthetic_crops
from hares.user_code import UserCodeError, contained

HEAR = """
import numpy as np
class Model:
    sample_rate, scene_embedding_size = 16000, 1
def load_model(path=""):
    return Model()
def get_scene_embeddings(audio, model):
    return np.abs(audio).mean(1, keepdims=True)
"""
ENDINGS = {
    "parse_args": "import argparse; p = argparse.ArgumentParser(); p.add_argument('--model'); p.parse_args()",
    "sys.exit": "import sys; sys.exit('no GPU here')",
    "exit 0": "raise SystemExit(0)",
    "os._exit": "import os; os._exit(7)",
    "interrupt": "raise KeyboardInterrupt",
    "of its own": "class Stop(BaseException): pass\nraise Stop('enough')",
}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of the user's into the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["hares", "evaluate", "--encoder", "x"])
    name = f"user_code_{tmp_path.name.replace('-', '_')}"

    def write(source: str) -> str:
        sys.modules.pop(name, None)
        (tmp_path / f"{name}.py").write_text(source)
        return name

    yield write
    sys.modules.pop(name, None)


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("where", ["import", "load_model", "factory", "call"])
def test_what_ends_the_process_is_an_error(module, ending, where):
    def within(function: str) -> str:
        body = "".join(f"    {line}\n" for line in ending.splitlines())
        return HEAR.replace(f"{function}:\n", f"{function}:\n{body}")

    source, kind = {
        "import": (HEAR + ending, "hear:{}"),
        "load_model": (within('def load_model(path="")'), "hear:{}"),
        "factory": (within('def load_model(path="")'), "python:{}:load_model"),
        "call": (within("def get_scene_embeddings(audio, model)"), "hear:{}"),
    }[where]
    spec = kind.format(module(source))
    with pytest.raises(UserCodeError, match=spec):
        encode_crops(load_adapter(spec))(synthetic_crops(1.0))


def test_what_a_module_changes_is_put_back(module, tmp_path, capfd):
    before = sys.stdin, sys.stdout, sys.stderr, signal.getsignal(signal.SIGINT), os._exit
    name = module(
        HEAR
        + "import os, signal, sys\nos.chdir('/')\nsys.stdout = sys.stderr = open(os.devnull, 'w')\n"
        + "signal.signal(signal.SIGINT, signal.SIG_IGN)\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    )
    load_adapter(f"hear:{name}")
    assert (sys.stdin, sys.stdout, sys.stderr, signal.getsignal(signal.SIGINT), os._exit) == before
    assert signal.getsignal(signal.SIGTERM) != signal.SIG_IGN
    assert os.getcwd() == str(tmp_path)


def test_a_module_that_asks_gets_no_answer(module):
    with pytest.raises(UserCodeError, match="EOFError"):
        load_adapter(f"hear:{module(HEAR + 'input()')}")


def test_an_interruption_that_was_asked_for_comes_through():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background jobs
    try:
        with pytest.raises(KeyboardInterrupt), contained("x"):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_children_may_end():
    with contained("x"):
        child = os.fork()
        if child == 0:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
