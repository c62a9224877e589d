"""Every layer scored from one pass over the audio: each as it would be alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import hares
from hares.adapters import FrozenEncoder, Layers, load_adapter
from hares.protocol import ProtocolSettings
from hares.report.bundle import bundle_bytes, load_bundle
from hares.report.page import render_page
from hares.report.runs import load_run

pytestmark = pytest.mark.slow

PROTOCOL = ProtocolSettings(
    name="quick", max_steps=40, learning_rate=2e-3, bootstrap_resamples=20, probe_seeds=1
)
WIDTHS = (4, 160, 8)


class Network:
    """A network of three layers that counts the crops that it hears in batches of the evaluation."""

    def __init__(self, fails_at: int = 10**9) -> None:
        self.crops, self.fails_at = 0, fails_at
        self.floor = load_adapter("log_mel").embed

    def all(self, waveforms: np.ndarray) -> list[np.ndarray]:
        self.crops += len(waveforms)
        if self.crops > self.fails_at:
            raise MemoryError
        whole = np.asarray(self.floor(waveforms))
        return [whole[:, :width] * (place + 1) for place, width in enumerate(WIDTHS)]

    def encoder(self) -> FrozenEncoder:
        def one(place: int) -> FrozenEncoder:
            return FrozenEncoder(
                "counted:network", "network", 16_000, None, f"layer {place}", lambda w: self.all(w)[place],
                output=f"{place}:mean",
            )  # fmt: skip

        return dataclasses.replace(one(2), layers=Layers(tuple(map(one, range(3))), self.all))


def test_one_pass_scores_every_layer_as_it_would_be_alone(corpus: Path, tmp_path: Path) -> None:
    network = Network()
    result = hares.evaluate(
        network.encoder(),
        corpus,
        protocol=PROTOCOL,
        output=tmp_path / "all",
        cache=tmp_path / "cache",
        layers="all",
    )
    heard = network.crops
    alone = {}
    for place in range(3):
        single = Network()
        encoder = dataclasses.replace(single.encoder().layers.encoders[place])
        alone[str(place)] = hares.evaluate(encoder, corpus, protocol=PROTOCOL)
        single_pass = single.crops
    assert heard <= single_pass + 1, (
        "the widths are asked of one second of silence, and no clip is heard twice"
    )
    assert result.layers == {
        name: {one.task: one.score for one in found.tasks} for name, found in alone.items()
    }
    assert len({tuple(scores.values()) for scores in result.layers.values()}) > 1
    report = json.loads((tmp_path / "all/report.json").read_text())
    assert [(row["layer"], row["embedding_size"]) for row in report["layers"]] == list(
        zip("012", WIDTHS, strict=True)
    )
    for name, found in alone.items():
        layer = json.loads((tmp_path / "all/layers" / name / "report.json").read_text())
        assert layer["tasks"] == json.loads(json.dumps(found.report["tasks"]))
    assert report["tasks"] == json.loads(json.dumps(alone["2"].report["tasks"])), "the chosen output's"


def test_a_second_run_hears_nothing_but_the_preflight_and_a_layer_alone_is_found(
    corpus: Path, tmp_path: Path
) -> None:
    where = {"protocol": PROTOCOL, "cache": tmp_path / "cache"}
    first = hares.evaluate(Network().encoder(), corpus, layers="all", **where)
    assert first.record["cache"]["computed"] == 0, "the pass over the audio has put them there"
    again = hares.evaluate(Network().encoder().layers.encoders[1], corpus, **where)
    assert again.record["cache"]["computed"] == 0
    (tmp_path / "cache/shards").rename(tmp_path / "cache/gone")
    assert (
        hares.evaluate(Network().encoder().layers.encoders[1], corpus, **where).record["cache"]["computed"]
        > 0
    )
    found = hares.evaluate(Network().encoder(), corpus, layers="all", **where)
    assert found.layers == first.layers, "one layer of a shard in the cache is not all of them"


def test_the_table_is_in_page_and_bundle(corpus: Path, tmp_path: Path) -> None:
    hares.evaluate(Network().encoder(), corpus, ["esc50"], PROTOCOL, output=tmp_path / "all", layers="all")
    page = render_page([load_run(tmp_path / "all", "all")])
    assert "Every layer from one pass" in page and page.count("<tr><td>2</td>") == 1
    (tmp_path / "all.zip").write_bytes(bundle_bytes(tmp_path / "all"))
    assert len(load_bundle(tmp_path / "all.zip", "all.zip").report["layers"]) == 3


def test_an_encoder_without_layers_is_refused(corpus: Path) -> None:
    with pytest.raises(ValueError, match="it has no layers to choose from"):
        hares.evaluate("log_mel", corpus, protocol=PROTOCOL, layers="all")
