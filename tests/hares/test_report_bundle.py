"""Bundles: what goes in, what comes out, and what is refused; a stranger may have written every byte."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hares.arrays import npz_bytes
from hares.benchmark import CorpusSummary, build_report
from hares.embedding.task_embeddings import TaskEmbeddings
from hares.protocol import ProtocolSettings
from hares.report import write_report
from hares.report.bundle import bundle_bytes, is_bundle, load_bundle
from hares.report.places import without_places
from hares.report.runs import differences, load_run
from hares.scoring import score_task
from hares.task import load_task, task_names

SETTINGS = ProtocolSettings(name="quick", max_steps=20, bootstrap_resamples=20, probe_seeds=2)
SECRET = "/home/ann b/project x"


def embeddings(seed: int) -> TaskEmbeddings:
    random = np.random.default_rng(seed)
    index = np.arange(60)
    truth = index % 3
    splits = tuple("train" if i < 30 else "test" for i in index)
    return TaskEmbeddings(
        (np.eye(3)[truth] + random.normal(size=(60, 3))).astype(np.float32), index,
        np.asarray([s == "test" for s in splits], np.int8), index, np.ones(60, np.float32),
        tuple(f"clip {i}.wav" for i in index), splits, ("",) * 60, tuple((int(label),) for label in truth),
    )  # fmt: skip


def write_run(folder: Path, seed: int) -> None:
    """What `hares evaluate` leaves in its output, of two kinds of tasks."""
    tasks = [load_task(name) for name in task_names()]
    scores = {n: score_task(load_task(n), load_task(n).slots, embeddings(seed), SETTINGS)
              for n in ("tut18", "magnatagatune")}  # fmt: skip
    corpus = CorpusSummary(30, {}, False, (f"split read from {SECRET}/corpus/tut18/fold1.txt",), 60, 60)
    encoder = {
        "name": "sparrow", "spec": f"saved_model:{SECRET}/sparrow", "digest": "d", "sample_rate": 16_000,
        "source": "https://ann:hunter2@example.org/x", "made": ["/home/ann/notes", {"log": "~ann/log.txt"}],
    }  # fmt: skip
    report = build_report(tasks, scores, {}, {"tut18": corpus}, SETTINGS, encoder)
    write_report(
        report,
        {name: score.predictions for name, score in scores.items()},
        folder,
        lambda _, ids: {i: np.ones(16_000, np.int16) for i in ids},
    )
    record = {
        "cache": {"folder": f"{SECRET}/cache"}, "data": {"tut18": f"{SECRET}/corpus/tut18"}, "seconds": {"total": seed},
        "tasks": {}, "encoder": encoder, "versions": {"numpy": "1"}, "failed": {"esc50": f"{SECRET}/cache is full"},
    }  # fmt: skip
    (folder / "evaluate.json").write_text(json.dumps(record))
    (folder / "manifests").mkdir()
    rejected = {"path": "a.wav", "detail": f"{SECRET}/corpus/tut18/a.wav: cut"}
    (folder / "manifests/tut18.json").write_text(json.dumps({"deviations": [SECRET + "/corpus/tut18: odd"]}))
    (folder / "manifests/tut18.clips.jsonl").write_text('{"clip_id": "/m/09x0r", "sha256": "0"}\n')
    (folder / "manifests/tut18.rejected.jsonl").write_text(json.dumps(rejected) + "\n")
    (folder / "manifests/esc50.json").write_text('{"of": "an earlier evaluation"}')
    (folder / "logs").mkdir()
    (folder / "logs/evaluate.log").write_text("a log")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundles")
    for number, name in enumerate(("ours", "theirs")):
        write_run(root / name, number)
        (root / f"{name}.zip").write_bytes(bundle_bytes(root / name))
    return root


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path: Path, content: dict[str, bytes], **settings: int) -> Path:
    """An archive of `content` with an index that fits it, as a forger would make it."""
    listed = {n: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in content.items()}
    listed.pop("bundle.json", None)
    index = json.dumps({"form": "hares bundle 1", "members": listed})
    with zipfile.ZipFile(path, "w", **settings) as archive:
        for name, data in {**content, "bundle.json": index}.items():
            archive.writestr(name, data)
    return path


def test_a_bundle_holds_the_run_and_nothing_of_the_machine(runs: Path) -> None:
    content = members(runs / "ours.zip")
    assert set(content) == {
        "bundle.json", "evaluate.json", "report.json", "report.html", "spectrograms.npz", "predictions/tut18.npz",
        "predictions/magnatagatune.npz", "manifests/tut18.json", "manifests/tut18.clips.jsonl",
        "manifests/tut18.rejected.jsonl",
    }  # fmt: skip
    everything = b"".join(content.values())
    for secret in (b"/home", b"ann b", b"project x", b"hunter2", b"~ann", str(runs).encode(), b"seconds"):
        assert secret not in everything, secret
    report = json.loads(content["report.json"])
    assert report["encoder"]["spec"] == "saved_model:sparrow"
    assert report["encoder"]["source"] == "https://example.org/x"
    assert report["encoder"]["made"] == ["notes", {"log": "log.txt"}]
    assert "split read from tut18/fold1.txt" in report["tasks"]["tut18"]["deviations"]
    assert b'"/m/09x0r"' in content["manifests/tut18.clips.jsonl"]
    assert json.loads(content["evaluate.json"])["failed"] == {"esc50": "cache is full"}


def test_equal_runs_give_equal_bytes(runs: Path, tmp_path: Path) -> None:
    """Wherever they lie, whenever and however fast they ran."""
    write_run(tmp_path / "elsewhere", 0)
    record = json.loads((tmp_path / "elsewhere/evaluate.json").read_text())
    record["seconds"]["total"] = 99
    (tmp_path / "elsewhere/evaluate.json").write_text(json.dumps(record))
    for path in (tmp_path / "elsewhere").rglob("*"):
        os.utime(path, (1e9, 1e9))
    assert bundle_bytes(tmp_path / "elsewhere") == (runs / "ours.zip").read_bytes()


def test_a_bundle_is_compared_as_its_folder_is(runs: Path) -> None:
    folders = [load_run(runs / name, name) for name in ("ours", "theirs")]
    bundled = [load_bundle(runs / f"{name}.zip", name) for name in ("ours", "theirs")]
    found = differences(bundled)
    assert found == differences(folders) == differences([bundled[0], folders[1]])
    assert {row.name for row in found[0] if row.paired} == {"tut18", "magnatagatune"}
    assert bundled[0].pictures == folders[0].pictures and bundled[0].pictures["tut18"]


def test_an_unpacked_bundle_is_a_run(runs: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(runs / "ours.zip") as archive:
        archive.extractall(tmp_path)
    assert load_run(tmp_path, "x").report == load_bundle(runs / "ours.zip", "x").report
    assert bundle_bytes(tmp_path) == (runs / "ours.zip").read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_cut_bundle_is_refused(runs: Path, tmp_path: Path, share: float) -> None:
    whole = (runs / "ours.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: int(share * len(whole))])
    assert is_bundle(tmp_path / "cut.zip")
    with pytest.raises(ValueError, match=r"cut\.zip: not a whole zip archive"):
        load_bundle(tmp_path / "cut.zip", "cut")


def test_no_changed_byte_goes_unnoticed(runs: Path, tmp_path: Path) -> None:
    """Of any member's content, which the zip's own checksum finds as well."""
    whole = (runs / "ours.zip").read_bytes()
    with zipfile.ZipFile(runs / "ours.zip") as archive:
        places = [
            entry.header_offset + 30 + len(entry.filename) for entry in archive.infolist() if entry.file_size
        ]
    for place in places:
        damaged = bytearray(whole)
        damaged[place + 3] ^= 1
        (tmp_path / "b.zip").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"b\.zip"):
            load_bundle(tmp_path / "b.zip", "b")


def test_a_member_that_is_not_what_the_index_says(runs: Path, tmp_path: Path) -> None:
    content = members(runs / "ours.zip")
    content["manifests/tut18.json"] = b"{}"
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match=r"manifests/tut18\.json has been changed"):
        load_bundle(tmp_path / "b.zip", "b")


@pytest.mark.parametrize("what", ["task", "mean", "removed"])
def test_scores_that_the_predictions_do_not_give(runs: Path, tmp_path: Path, what: str) -> None:
    """The digests fit, as a forger's would."""
    content = members(runs / "ours.zip")
    report = json.loads(content["report.json"])
    if what == "task":
        report["tasks"]["tut18"]["value"] += 0.01
    elif what == "mean":
        report["hares"] = 0.99
    else:
        del content["predictions/tut18.npz"]
    content["report.json"] = json.dumps(report).encode()
    with pytest.raises(ValueError, match="and its predictions give"):
        load_bundle(rewrite(tmp_path / "b.zip", content), "b")


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a\\..\\x", "predictions/../../x.npz", "logs/x", "predictions/"]
)
def test_names_that_lead_elsewhere(runs: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no part of a bundle"):
        load_bundle(rewrite(tmp_path / "b.zip", {**members(runs / "ours.zip"), name: b"x"}), "b")


def test_a_link_is_refused(runs: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for name, data in members(runs / "ours.zip").items():
            entry = zipfile.ZipInfo(name)
            kind = stat.S_IFLNK if name == "evaluate.json" else stat.S_IFREG
            entry.external_attr = (kind | 0o644) << 16
            archive.writestr(entry, data)
    with pytest.raises(ValueError, match=r"evaluate\.json is a link"):
        load_bundle(tmp_path / "b.zip", "b")


def test_bombs_do_not_go_off(runs: Path, tmp_path: Path) -> None:
    content = members(runs / "ours.zip")
    zeros = np.zeros((1, 10**7, 1), np.uint8)
    packed = io.BytesIO()
    np.savez_compressed(packed, scores=zeros)
    with pytest.raises(ValueError, match="is compressed"):
        load_bundle(rewrite(tmp_path / "b.zip", content, compression=zipfile.ZIP_DEFLATED), "b")
    with pytest.raises(ValueError, match=r"predictions/tut18\.npz: its arrays are compressed"):
        load_bundle(rewrite(tmp_path / "b.zip", {**content, "predictions/tut18.npz": packed.getvalue()}), "b")
    huge = npz_bytes({"scores": np.zeros((1, 9, 1), np.uint8)}).replace(b"(1, 9, 1)", b"(1<<40,1)")
    tall = npz_bytes({"scores": np.zeros((1, 9, 1), np.uint8)}).replace(
        b"'shape': (1, 9, 1),", b"'shape': (9**9**9,)"
    )
    torn = huge.replace(b"'shape': (", b"'sh\xe0pe: ((")  # no literal of Python's, nor its tokens
    for damaged in (huge, tall, torn, b"PK", b""):
        with pytest.raises(ValueError, match=r"predictions/tut18\.npz"):
            load_bundle(rewrite(tmp_path / "b.zip", {**content, "predictions/tut18.npz": damaged}), "b")


def test_an_array_larger_than_its_bytes(runs: Path, tmp_path: Path) -> None:
    buffer, inner = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(
        inner, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 1, 1)}
    )
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("scores.npy", inner.getvalue())
    content = {**members(runs / "ours.zip"), "predictions/tut18.npz": buffer.getvalue()}
    with pytest.raises(ValueError, match="not as large as they say"):
        load_bundle(rewrite(tmp_path / "b.zip", content), "b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["tasks"].pop("esc50"), "no report of this version .LookupError: task .*esc50"),
        (lambda r: r["tasks"]["esc50"].pop("title"), "cannot be shown"),
        (lambda r: r.pop("partial_mean"), "no report of this version"),
        (lambda r: r.update(tasks=[]), "no report of this version"),
        (lambda r: r["tasks"]["tut18"].update(interval=["<", 1]), "cannot be shown"),
        (lambda r: r["tasks"]["tut18"].update(value="0.5"), "it says 0.5 for tut18"),
        (
            lambda r: r["tasks"]["esc50"].update(domain="music"),
            "no report of this version .LookupError: task .*esc50",
        ),
        (lambda r: r["tasks"].update(tut18=r["tasks"].pop("tut18")), "tasks in another order"),
        (lambda r: r["tasks"]["tut18"].update(chance=float("nan")), "not JSON .it holds NaN"),
        (lambda r: r["protocol"]["choices"].append("\ud800"), "cannot be shown .UnicodeEncodeError"),
        (lambda r: r["intervals"].update(hares=[10**400, 1]), "cannot be shown .OverflowError"),
        (lambda r: r["tasks"]["tut18"]["manifest"].update(present="9"), "cannot be shown .TypeError"),
        (
            lambda r: r["partial_mean"].update(hares=10**400),
            "for partial mean, hares, and its predictions give",
        ),
        (lambda r: r.clear(), "Is this a report of HARES"),
    ],
)
def test_a_report_of_another_form_is_no_crash(
    runs: Path, tmp_path: Path, change: object, message: str
) -> None:
    content = members(runs / "ours.zip")
    report = json.loads(content["report.json"])
    change(report)  # type: ignore[operator]
    content["report.json"] = json.dumps(report).encode()
    with pytest.raises(ValueError, match=message):
        load_bundle(rewrite(tmp_path / "b.zip", content), "b")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("saved_model:/home/ann/my model", "saved_model:my model"),
        ("hear:my.module:/data/w 1.pt", "hear:my.module:w 1.pt"),
        ("torch:../../ann/x.pt2", "torch:x.pt2"),
        ("no file '/data/ann/a.wav', nor (/b/c)", "no file 'a.wav', nor (c)"),
        ("file:///home/ann/x", "x"),
        ("/home/ann", "~"),
        (r"C:\Users\ann\x.wav is cut", "x.wav is cut"),
        ("clips/s, and/or 3 / 4", "clips/s, and/or 3 / 4"),
        ("github.com/deepmind/slowfast_nfnets and https://a.org/b/c", "github.com/deepmind/slowfast_nfnets and https://a.org/b/c"),
        ("runs/ours/model", "runs/ours/model"),
    ],
)  # fmt: skip
def test_what_is_left_of_a_path(text: str, left: str) -> None:
    assert without_places({"a": [text]}, []) == {"a": [left]}


def test_names_with_spaces_of_known_folders() -> None:
    assert without_places("x /data/my set/a.wav y", ["/data/my set"]) == "x my set/a.wav y"
