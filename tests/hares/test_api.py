"""`hares.evaluate`: callables, modules and SPECs, with the numbers of the command line."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import hares
from cli.main import main
from hares.adapters import load_adapter
from hares.adapters.log_mel import embed
from hares.protocol import load_protocol

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
QUICK = dataclasses.replace(load_protocol("quick"), max_steps=30, bootstrap_resamples=20)


class Weighted:
    """An object that holds weights and says what it takes."""

    sample_rate, embedding_size = 16_000, 160

    def __init__(self, scale: float) -> None:
        self.scale = np.full(160, scale, np.float32)

    def __call__(self, waveforms):
        return embed(waveforms) * self.scale


def hear_module() -> types.ModuleType:
    module = types.ModuleType("tests_hear_module")
    module.load_model = lambda weights="": Weighted(1.0)
    Weighted.scene_embedding_size = 160
    module.get_scene_embeddings = lambda audio, model: model(audio)
    return module


def scores(result: hares.Result) -> list[tuple]:
    return [(one.task, one.score, one.low, one.high, one.chance, one.clips) for one in result.tasks]


def test_a_callable_an_object_and_a_spec_score_the_same(corpus):
    floor = hares.evaluate("log_mel", corpus, protocol=QUICK)
    assert [one.task for one in floor.tasks] == ["esc50", "speech_commands_v2"], "by domain"
    assert floor["esc50"].score is not None and floor["esc50"].domain == "environment"
    for encoder in (embed, lambda x: embed(x), Weighted(1.0), load_adapter("log_mel")):
        assert scores(hares.evaluate(encoder, corpus, protocol=QUICK)) == scores(floor)


def test_the_command_line_gives_the_same_numbers(corpus, tmp_path, monkeypatch):
    arguments = [
        *("--encoder", "log_mel", "--corpus", str(corpus), "--tasks", "esc50", "--protocol", "quick"),
        *("--output", str(tmp_path / "out")),
    ]
    monkeypatch.setattr(sys, "argv", ["hares", "evaluate", *arguments])
    main()
    report = json.loads((tmp_path / "out/report.json").read_text())
    result = hares.evaluate("log_mel", {"esc50": corpus / "esc50"}, "esc50", "quick")
    assert report == json.loads(json.dumps(dict(result.report)))


def test_a_module_with_the_hear_interface(corpus, monkeypatch):
    module = hear_module()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("hares.adapters.hear.source_digest", lambda name: name)  # it has no file
    found = hares.evaluate(module, corpus, ["esc50"], QUICK)
    assert scores(found) == scores(hares.evaluate("log_mel", corpus, ["esc50"], QUICK))


def test_embeddings_are_found_again_where_the_weights_are_seen(corpus, tmp_path):
    def computed(encoder) -> int:
        result = hares.evaluate(encoder, corpus, ["esc50"], QUICK, cache=tmp_path / "cache")
        return result.record["cache"]["computed"]

    shards = computed(Weighted(1.0))
    assert shards > 0 and computed(Weighted(1.0)) == 0
    assert computed(Weighted(2.0)) == shards
    assert computed(embed) == computed(embed) == shards, "a function may use weights that nobody sees"


def test_a_result_prints_and_becomes_a_table(corpus, tmp_path):
    result = hares.evaluate(Weighted(1.0), corpus, protocol=QUICK, output=tmp_path / "out", seed=3)
    assert (tmp_path / "out/report.html").is_file()
    assert result.report["protocol"]["settings"]["seed"] == 3
    shown = repr(result)
    assert shown.startswith("Weighted, protocol quick\ntask ") and "HARES" in shown
    assert re.search(r"^esc50 +accuracy +\d+\.\d +.* to ", shown, re.M)
    table = result.to_pandas()
    assert list(table.index) == ["esc50", "speech_commands_v2"]
    assert table.loc["esc50", "score"] == result["esc50"].score
    with pytest.raises(KeyError, match="'voxforge' was not evaluated; there are esc50"):
        result["voxforge"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.hares = 1.0


def test_a_task_that_fails_says_why(corpus):
    def fails_on_long(waveforms):
        if waveforms.shape[1] > 30_000 and len(waveforms) > 4:  # past the pre-flight
            raise RuntimeError("too long")
        return embed(waveforms)

    result = hares.evaluate(fails_on_long, corpus, protocol=QUICK)
    assert result["esc50"].score is None and "raised RuntimeError: too long" in result["esc50"].reason
    assert result["speech_commands_v2"].score is not None
    assert "esc50: failed: " in repr(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder": 3}, r"encoder: got a int; expected a SPEC"),
        ({"encoder": Weighted}, r"encoder: got the class Weighted; expected"),
        ({"encoder": "tensorflow:x"}, r"no kind is called 'tensorflow'"),
        ({"encoder": types.ModuleType("empty")}, r"module empty has no function load_model"),
        ({"encoder": embed, "output_name": "pooled"}, r"a callable has one embedding"),
        ({"encoder": Weighted(1.0), "sample_rate": 8_000}, r"declares 16000 Hz"),
        ({"tasks": ["esc51"]}, r"unknown task 'esc51'"),
        ({"tasks": ["voxforge"]}, r"task voxforge: there is no folder .*\{'voxforge': DIR\} in Python"),
        ({"protocol": "quik"}, r"unknown protocol 'quik'"),
        ({"seed": -1}, r"seed is -1"),
        ({"batch_size": 0}, r"batch_size is 0"),
        ({"embedding_dtype": "float64"}, r"kept as float16 or float32, not 'float64'"),
        ({"longest_clip": 0}, r"limits of decoding must be above 0"),
    ],
)
def test_a_wrong_argument_is_said_in_a_sentence(corpus, arguments, message):
    with pytest.raises(ValueError, match=message):
        hares.evaluate(**{"encoder": "log_mel", "corpus": corpus, **arguments})


def test_the_code_in_the_documentation_runs(corpus, tmp_path, monkeypatch, capsys):
    text = (PROJECT / "docs/evaluate.md").read_text(encoding="utf-8")
    section = text.partition("## From Python\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.S)
    monkeypatch.chdir(tmp_path)
    corpus.rename(tmp_path / "corpora")
    exec(compile(code, "docs/evaluate.md", "exec"), {"__name__": "documentation"})
    assert "loudness, protocol quick" in capsys.readouterr().out
    assert (tmp_path / "floor/report.json").is_file()
