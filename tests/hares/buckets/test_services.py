"""Readers, ingestion and evaluation on the two real servers: what a disk gives, and what becomes of faults."""

from __future__ import annotations

import dataclasses
import io
import json
import socket
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hares.adapters import load_adapter
from hares.api import evaluate
from hares.buckets import BucketError, client, gs, place, s3
from hares.corpus import check_corpus
from hares.decoding import Limits
from hares.decoding.process import pool
from hares.folder import FOLDER, resolve_span, resolve_window
from hares.ingest import Entry, build_manifest, count_listed, ingest_shard, list_entries
from hares.protocol import load_protocol
from hares.reading import source_fingerprint
from hares.task import Reason
from kits.bucket_proxy import ERROR, Fault
from kubeflow.watch import Watch

pytestmark = pytest.mark.slow

SPLITS = ("train", "validation", "test", *(f"fold{fold}" for fold in range(1, 6)))
CHECKED = ("esc50", "speech_commands_v2")
SLOW_DOWN = Fault(503, ERROR % b"SlowDown")


def recording(folder, name: str, seed: int = 0) -> bytes:
    """A tone as a file's bytes."""
    path = folder / "tone.wav"
    noise = np.random.default_rng(seed).standard_normal(8_000)
    soundfile.write(path, 0.1 * noise, 16_000, subtype="PCM_16")
    return path.read_bytes()


def ingested(source: str, root: str, to) -> tuple[bytes, list, dict]:
    """A source as one shard: its records, its lines of clips, and its manifest without the folder's name."""
    entries = [item for item in list_entries({source: root}, SPLITS) if isinstance(item, Entry)]
    _, rejected = count_listed({source: root}, SPLITS)
    to.mkdir()
    summary = ingest_shard(entries, {source: root}, "train", 0, f"{to}/records", f"{to}/clips")
    manifest, lines = build_manifest({source: root}, SPLITS, [summary], rejected)
    del manifest["sources"]
    return (
        (to / "records").read_bytes(),
        (to / "clips").read_text().splitlines(),
        {**manifest, "lines": lines},
    )


@pytest.fixture
def clips(server, prefix, tmp_path):
    """Forty recordings in a bucket for pretraining; returns their address."""
    for number in range(40):
        server.put(f"{prefix}/{number:02}.wav", recording(tmp_path, "tone", number))
    server.put(f"{prefix}-beside/other.wav", b"not of the folder")
    return server.address(prefix)


def rejections(address: str, to) -> tuple[int, dict[str, str]]:
    """How many clips are used, and what is said of the others."""
    _, lines, manifest = ingested(FOLDER, address, to)
    return len(lines), {line["path"]: f"{line['reason']}: {line['detail']}" for line in manifest["lines"]}


@pytest.mark.parametrize("task", ["esc50", "speech_commands_v2", FOLDER])
def test_ingestion_writes_the_same_bytes(server, prefix, corpus, tmp_path, task):
    folder = "esc50" if task == FOLDER else task
    server.upload(corpus / folder, f"{prefix}/{folder}")
    from_bucket = ingested(task, server.address(f"{prefix}/{folder}"), tmp_path / "bucket")
    from_disk = ingested(task, str(corpus / folder), tmp_path / "disk")
    assert from_bucket == from_disk and from_disk[2]["splits"]


def test_tar_shards_and_parquet_are_read_where_they_lie(server, prefix, between, tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "packed").mkdir()
    recordings = {f"{number:03}.wav": recording(tmp_path, "tone", number) for number in range(300)}
    with tarfile.open(tmp_path / "packed/a.tar", "w") as tar:
        for name, content in recordings.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    rows = [{"bytes": content, "path": name} for name, content in recordings.items()]
    parquet.write_table(arrow.table({"audio": rows}), tmp_path / "packed/b.parquet", row_group_size=100)
    server.upload(tmp_path / "packed", prefix)
    from_bucket = ingested(FOLDER, server.address(prefix), tmp_path / "bucket")
    requests = len(between.seen)
    assert from_bucket == ingested(FOLDER, str(tmp_path / "packed"), tmp_path / "disk")
    assert len(from_bucket[1]) == 600 and requests < 20  # two listings, and ranges of 4 MiB


def test_an_evaluation_and_a_check_say_the_same(server, prefix, corpus, tmp_path):
    server.upload(corpus, prefix)
    protocol = dataclasses.replace(load_protocol("quick"), max_steps=20, bootstrap_resamples=20)
    encoder = load_adapter("log_mel")
    reports = []
    for name, root in (("disk", str(corpus)), ("bucket", server.address(prefix))):
        result = evaluate(encoder, root, ["esc50"], protocol, output=tmp_path / name)
        report = json.loads((tmp_path / name / "report.json").read_text())
        listed = (tmp_path / name / "manifests/esc50.clips.jsonl").read_text()
        assert result["esc50"].score is not None
        reports.append((report, listed, (tmp_path / name / "predictions/esc50.npz").read_bytes()))
    assert reports[0] == reports[1]
    checks = [
        [dataclasses.replace(check, root="", error=None) for check in check_corpus(root, tasks=CHECKED)]
        for root in (corpus, place(server.address(prefix)))
    ]  # fmt: skip
    assert checks[0] == checks[1]


def test_names_with_blanks_letters_of_all_kinds_and_900_characters(server, prefix, tmp_path):
    names = [
        "a b.wav",
        "ü/é ñ.wav",
        "日本/語+%20&.wav",
        f"{'x' * 200}/{'y' * 200}/{'z' * 200}/{'w' * 200}.wav",
    ]
    for name in names:
        server.put(f"{prefix}/{name}", recording(tmp_path, name))
    _, lines, manifest = ingested(FOLDER, server.address(prefix), tmp_path / "out")
    assert sorted(json.loads(line)["path"] for line in lines) == sorted(names) and manifest["lines"] == []


def test_an_object_deleted_and_one_changed_after_the_listing_are_named(server, clips, prefix, tmp_path):
    entries = [item for item in list_entries({FOLDER: clips}, ("train",)) if isinstance(item, Entry)]
    server.delete(f"{prefix}/03.wav")
    server.put(f"{prefix}/04.wav", recording(tmp_path, "new", 99))
    summary = ingest_shard(entries, {FOLDER: clips}, "train", 0, f"{tmp_path}/r", f"{tmp_path}/c")
    assert summary.used == 38 and len(entries) == 40
    said = {line["path"]: line for line in summary.rejected}
    assert {line["reason"] for line in said.values()} == {Reason.ABSENT.value}
    assert "deleted after it was listed" in said["03.wav"]["detail"]
    assert "written again after it was listed" in said["04.wav"]["detail"]


def test_the_fingerprint_changes_with_any_object_and_reads_none(server, clips, prefix, between, tmp_path):
    before = source_fingerprint(place(clips))
    assert before == source_fingerprint(place(clips))
    assert len(between.seen) == 2  # a page each
    server.put(f"{prefix}/04.wav", recording(tmp_path, "new", 99))
    assert source_fingerprint(place(clips)) != before
    server.put(f"{prefix}-beside/another.wav", b"not of the folder")
    assert source_fingerprint(place(clips)) == source_fingerprint(place(clips))


def test_spans_are_found_without_listing_what_is_in_them(server, prefix, between, tmp_path):
    for span in (3, 20, 100):
        for number in range(3):
            server.put(f"{prefix}/span-{span:03}/audio/{number}.wav", recording(tmp_path, "tone"))
    server.put(f"{prefix}/span-200/other/1.wav", b"")
    pattern = server.address(f"{prefix}/span-{{SPAN}}/audio")
    assert str(resolve_span(pattern, None)[0]) == server.address(f"{prefix}/span-100/audio")
    assert len(between.seen) == 1 + 1 + 4  # is there a folder, its spans, has each its folder
    assert [number for _, number in resolve_window(pattern, None, 2)] == [100, 20]
    server.put(f"{prefix}/span-020/audio/_DONE", b"")
    between.seen.clear()
    assert Watch(pattern, "_DONE", tmp_path, ["{OUTPUT}"]).due() == [20]
    assert len(between.seen) < 30 and not any("span-100%2Faudio%2F&" in path for _, path in between.seen[-4:])


def test_a_storm_of_refusals_and_broken_answers_costs_time_alone(clips, between, tmp_path):
    whole = rejections(clips, tmp_path / "calm")
    between.seen.clear()
    count = iter(range(10_000))

    def storm(method, path):
        number = next(count)
        return SLOW_DOWN if number % 3 == 1 else Fault(cut=1_000) if number % 7 == 2 else None

    between.fault = storm
    assert rejections(clips, tmp_path / "storm") == whole == (40, {})
    assert len(between.seen) > 55


def test_slow_answers_are_waited_for(clips, between, tmp_path):
    between.fault = lambda method, path: Fault(pause=0.05)
    assert rejections(clips, tmp_path / "slow") == (40, {})


def test_a_server_that_dies_ends_the_step_and_blames_no_clip(server, clips, between, tmp_path, monkeypatch):
    monkeypatch.setattr(s3, "_WAITS", (0.5, 0.5))
    monkeypatch.setattr(gs, "_PATIENCE", 3.0)
    entries = [item for item in list_entries({FOLDER: clips}, ("train",)) if isinstance(item, Entry)]
    port, between.port = between.port, 9  # nothing is there
    started = time.monotonic()
    with pytest.raises(BucketError, match=rf"^{clips}/\d\d.wav: the server .* run the same command again$"):
        ingest_shard(entries, {FOLDER: clips}, "train", 0, f"{tmp_path}/r", f"{tmp_path}/c")
    assert time.monotonic() - started < 60
    assert not (tmp_path / "r").exists()
    between.port = port
    assert ingest_shard(entries, {FOLDER: clips}, "train", 0, f"{tmp_path}/r", f"{tmp_path}/c").used == 40


def test_a_server_that_is_killed_and_comes_back_costs_time_alone(server, clips, between, tmp_path):
    entries = [item for item in list_entries({FOLDER: clips}, ("train",)) if isinstance(item, Entry)]
    count = iter(range(10_000))

    def killed_at_the_tenth(method, path):
        if next(count) == 10:
            server.kill()
            threading.Timer(1.0, server.start).start()
        return None

    between.fault = killed_at_the_tenth
    summary = ingest_shard(entries, {FOLDER: clips}, "train", 0, f"{tmp_path}/r", f"{tmp_path}/c")
    assert (summary.used, summary.rejected) == (40, []) and next(count) > 41


def test_a_server_that_is_not_there_is_said_in_seconds(server, between, prefix):
    between.port = 9
    started = time.monotonic()
    with pytest.raises(BucketError, match=f"^{server.address(prefix)}/?: the server"):
        place(server.address(prefix)).is_dir()
    assert time.monotonic() - started < 20


def test_no_redirect_is_followed(server, clips, between, tmp_path):
    """To a port of this machine, as to a cloud's own 169.254.169.254."""
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.2)
        elsewhere = f"http://127.0.0.1:{trap.getsockname()[1]}/"
        between.fault = lambda method, path: Fault(307, b"", (("Location", elsewhere),))
        with pytest.raises(BucketError, match="sends us elsewhere"):
            place(clips).is_dir()
        try:
            trap.accept()
            asked.set()
        except TimeoutError:
            pass
    assert not asked.is_set()


@pytest.mark.parametrize(
    ("status", "code"), [(400, b"ExpiredToken"), (403, b"InvalidAccessKeyId"), (403, b"AccessDenied")]
)
def test_refused_credentials_are_named_and_not_shown(s3_server, found, between, status, code, monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "hush-hush")
    found(s3_server, between)
    between.port, between.fault = s3_server.port, lambda method, path: Fault(status, ERROR % code)
    with pytest.raises(BucketError, match=code.decode()) as raised:
        place(s3_server.address("x")).is_dir()
    for secret in ("hush-hush", s3_server.environment["AWS_SECRET_ACCESS_KEY"]):
        assert secret not in str(raised.value)


def test_the_decoder_gets_a_file_and_no_credentials(s3_server, found, prefix, tmp_path):
    found(s3_server)
    s3_server.put(f"{prefix}/a.wav", recording(tmp_path, "tone"))
    assert rejections(s3_server.address(prefix), tmp_path / "out") == (1, {})
    secret = s3_server.environment["AWS_SECRET_ACCESS_KEY"].encode()
    (decoder, *_) = pool(Limits().memory_bytes).idle()
    for name in ("environ", "cmdline"):
        said = Path(f"/proc/{decoder.pid}/{name}").read_bytes()
        assert secret not in said and b"s3://" not in said


def test_a_wrong_secret_is_told_from_an_empty_folder(s3_server, found, monkeypatch):
    found(s3_server)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(BucketError, match="the credentials are refused"):
        place(s3_server.address("x")).is_dir()
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


def test_without_credentials_it_says_where_they_go(s3_server, found, monkeypatch, tmp_path):
    found(s3_server)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(BucketError, match=r"no credentials.*AWS_PROFILE"):
        place(s3_server.address("x")).is_dir()


def test_a_bucket_that_goes_in_the_middle_of_its_listing_is_no_shorter_one(server, clips, between):
    said = {"s3": ERROR % b"NoSuchBucket", "gs": b'{"error": {"code": 404, "message": "Not Found"}}'}
    count = iter(range(10_000))
    between.fault = lambda method, path: Fault(404, said[server.scheme]) if next(count) == 2 else None
    service = client.client(server.scheme)
    bucket, _, prefix = clips.removeprefix(f"{server.scheme}://").partition("/")
    with pytest.raises(BucketError, match=f"^{server.scheme}://{bucket}/{prefix}"):
        list(service.pages(bucket, f"{prefix}/", most=10))


def test_what_is_there_instead_is_said_without_listing_it_all(server, prefix, between):
    for name in ("corpora/ESC-50-master/a.wav", "corpora/nsynth/b.wav"):
        server.put(f"{prefix}/{name}", b"")
    (check,) = check_corpus(place(server.address(f"{prefix}/corpora")), tasks=["esc50"])
    assert not check.found and "the folder holds ESC-50-master, nsynth" in str(check.error)
    assert len(between.seen) == 2 and "delimiter" in between.seen[1][1]


def test_a_bucket_or_folder_that_is_not_there_is_no_folder(server, prefix):
    assert not place(server.address(prefix)).is_dir()
    assert not place(f"{server.scheme}://no-such-bucket/x").is_dir()
