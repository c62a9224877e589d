"""Runs on other data than the plain one: labels to learn from, and broken audio."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kits.pipeline_runs import run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("objective", ["classification", "simclr"])
def test_only_supervised_pretraining_scores_audioset_by_its_own_classifier(
    made_corpus: Path, tmp_path: Path, objective: str
) -> None:
    """SimCLR has the same labels before it, and no classifier: its AudioSet score is the probe's.

    The demo's own encoder, where other runs of the tests have one that is compiled sooner.
    """
    settings = (
        "tasks=[audioset]", "pretraining.source=audioset", f"training.objective={objective}",
        "training.encoder=sf_nfnet_tiny",
    )  # fmt: skip
    finished = run(made_corpus, tmp_path, *settings)
    assert finished.code == 0, finished.stderr
    entry = finished.report()["tasks"]["audioset"]
    assert 0 < entry["value"] < 1 and entry["untrained"] is not None
    own = any("own classifier" in text for text in entry["deviations"])
    assert own == (objective == "classification")


@pytest.fixture
def bad_corpus(copied_corpus: Callable[..., Path], tmp_path: Path) -> Path:
    """Three data sets with everything that goes wrong, beside what is right."""
    corpus = copied_corpus("esc50", "birdsong", "tut18", "speech_commands_v2")
    audio = corpus / "esc50" / "audio"
    good = sorted(audio.iterdir())
    tone = 0.3 * np.sin(np.arange(5 * 16_000) / 10)

    def listed(stem: str, target: int = 0) -> Path:
        name = f"1-{stem}-A-{target}.wav"
        with open(corpus / "esc50" / "meta" / "esc50.csv", "a") as csv:
            csv.write(f"{name},1,{target},dog,True,{stem},A\n")
        return audio / name

    listed("900001").write_bytes(b"")
    listed("900002").write_text("not audio at all\n")
    soundfile.write(listed("900003"), np.stack([tone] * 6, 1), 192_000, subtype="FLOAT")
    soundfile.write(listed("900004"), tone, 8_000, subtype="PCM_U8")
    soundfile.write(listed("900005"), tone, 16_000, subtype="PCM_24")
    soundfile.write(
        listed("900006"), np.where(np.arange(tone.size) == 9, np.nan, tone), 16_000, subtype="FLOAT"
    )
    soundfile.write(
        listed("900007"), np.where(np.arange(tone.size) == 9, np.inf, tone), 16_000, subtype="FLOAT"
    )
    soundfile.write(listed("900008"), tone[:160], 16_000)
    listed("900009")  # listed and absent
    soundfile.write(audio / "unlisted.wav", tone, 16_000)
    outside = tmp_path / "outside.wav"
    soundfile.write(outside, tone, 16_000)
    listed("900010").symlink_to(outside)
    for stem, suffix in (("900011", "FLAC"), ("900012", "MP3")):
        broken = listed(stem)
        soundfile.write(broken, tone, 16_000, format=suffix)
        content = broken.read_bytes()
        broken.write_bytes(content[: len(content) // 2])
    assert len(good) > 20
    # A csv with a missing column, and one that is not UTF-8.
    meta = corpus / "tut18" / "meta.csv"
    meta.write_text(meta.read_text().replace("scene_label", "scene"))
    for csv in (corpus / "birdsong").glob("*.csv"):
        csv.write_bytes(csv.read_bytes() + "clé-\xe9,x,1\n".encode("latin-1"))
    return corpus


def test_bad_audio_is_counted_named_and_reported(bad_corpus: Path, tmp_path: Path) -> None:
    tasks = "tasks=[birdsong, esc50, speech_commands_v2, tut18]"
    finished = run(bad_corpus, tmp_path / "w", tasks, "compare_untrained=false")
    assert finished.code == 0, finished.stdout + finished.stderr
    lines = (finished.artifact("ingest_esc50", "manifest") / "rejected.jsonl").read_text().splitlines()
    reasons = {Path(line["path"]).name: line["reason"] for line in map(json.loads, lines)}
    assert reasons == {
        "1-900001-A-0.wav": "empty",
        "1-900002-A-0.wav": "undecodable",
        "1-900006-A-0.wav": "non_finite",
        "1-900007-A-0.wav": "non_finite",
        "1-900008-A-0.wav": "too_short",
        "1-900009-A-0.wav": "absent",
        "1-900010-A-0.wav": "outside_corpus",
        "1-900011-A-0.wav": "truncated",
        "1-900012-A-0.wav": "truncated",
        "unlisted.wav": "unlisted",
    }
    report = finished.report()
    esc50, tut18, birdsong = (report["tasks"][name] for name in ("esc50", "tut18", "birdsong"))
    assert esc50["expected_clips"] - esc50["clips"] == 9, "all but the unlisted one were expected"
    assert sum(esc50["missing"].values()) == 10 and esc50["value"] is not None
    assert tut18["value"] is None and tut18["reason"] and tut18["missing"] == {"index_error": 1}
    assert any("scene_label" in text for text in tut18["deviations"])
    assert birdsong["value"] is not None and sum(birdsong["missing"].values()) == 3
    assert report["hares"] is None, "a mean of fewer tasks is not HARES"
    page = (finished.artifact("evaluator", "report") / "report.html").read_text()
    assert "2 non finite" in page and "1 outside corpus" in page
