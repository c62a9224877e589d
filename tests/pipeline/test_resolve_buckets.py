"""A run on a corpus that only a bucket holds: spans, fingerprints and class checks from a few requests."""

from __future__ import annotations

import dataclasses

import pytest

from hares.buckets import place
from kits.bucket_fixtures import between, found, gs_server, prefix, s3_server, server
from kits.compiled_kit import compiled
from pipeline.config import PretrainingConfig, load_config
from pipeline.resolve import resolve
from pipeline.settings import SettingError

pytestmark = pytest.mark.slow

__all__ = ["between", "found", "gs_server", "prefix", "s3_server", "server"]
TASKS = "tasks=[esc50, speech_commands_v2]"
INDEXES = 3  # meta/esc50.csv and the two lists of Speech Commands


def test_a_run_is_resolved_as_on_the_disk(server, prefix, between, corpus, tmp_path):
    server.upload(corpus, prefix)
    root = server.address(prefix)
    config = load_config("demo", [TASKS])
    run = resolve(config, place(root), {}, tmp_path / "w")
    here = resolve(config, corpus, {}, tmp_path / "w")
    assert {name: dict(source.readers) for name, source in run.tasks.items()} == {
        name: {name: f"{root}/{name}"} for name in ("esc50", "speech_commands_v2")
    }
    assert run.pretraining.readers.keys() == here.pretraining.readers.keys()
    # Is there a pretraining folder; of each task: is it there, and its listing, which the indexes and the fingerprint
    # share; once more where its training part is what is pretrained on.
    count = len(between.seen)
    assert count <= 1 + 2 * 2 + INDEXES + 2, between.seen
    again = resolve(config, place(root), {}, tmp_path / "w")
    assert again.run_key == run.run_key and len(between.seen) == 2 * count
    server.put(f"{prefix}/esc50/audio/new.wav", b"RIFF")
    assert resolve(config, place(root), {}, tmp_path / "w").run_key != run.run_key


def test_the_newest_span_of_a_bucket_is_pretrained_on(server, prefix, corpus, tmp_path):
    server.upload(corpus / "esc50", f"{prefix}/esc50")
    for span in (1, 2):
        server.put(f"{prefix}/spans/{span}/a.wav", b"RIFF")
    config = load_config("demo", ["tasks=[esc50]"])
    pattern = server.address(f"{prefix}/spans/{{SPAN}}")
    config = dataclasses.replace(config, pretraining=PretrainingConfig(pattern, None, window=2))
    run = resolve(config, place(server.address(prefix)), {}, tmp_path / "w")
    assert dict(run.pretraining.readers) == {"folder": server.address(f"{prefix}/spans/2")}
    assert [source.span for source in run.older_spans] == [1]


@pytest.mark.parametrize(
    ("source", "said"),
    [("s3://me:hush@bucket/a", "a user or a port"), ("gs://bucket/a?token=hush", "holds a query")],
)
def test_a_pretraining_address_with_a_secret_is_refused(corpus, tmp_path, source, said):
    config = load_config("demo", ["tasks=[esc50]"])
    config = dataclasses.replace(config, pretraining=PretrainingConfig(source))
    with pytest.raises(SettingError, match=said) as raised:
        resolve(config, corpus, {}, tmp_path / "w")
    assert "hush" not in str(raised.value)


def test_the_compiled_file_names_addresses_and_no_credentials(server, prefix, corpus, tmp_path):
    server.upload(corpus, prefix)
    text = compiled("kubeflow", server.address(prefix), tmp_path, TASKS).read_text()
    assert server.address(f"{prefix}/esc50") in text
    secrets = [value for name, value in server.environment.items() if "KEY" in name]
    assert not any(secret in text for secret in secrets)
