"""Addresses: what is one, and what is refused before anything is asked of a server."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from hares.buckets import BucketPath, own, place


@pytest.mark.parametrize("text", ["corpora", "/data/corpora", "tfds:/data", "s3:/bucket", "minio://bucket/x"])
def test_all_else_is_a_folder_of_the_disk(text):
    assert place(text) == Path(text)


@pytest.mark.parametrize("text", ["s3://bucket", "gs://bucket/a/b c/ü", "s3://my.bucket-1/a=b"])
def test_an_address_is_what_it_was(text):
    assert str(place(text)) == str(place(f"{text}/")) == text
    assert pickle.loads(pickle.dumps(place(text))) == place(text)


def test_parts_are_joined_as_those_of_a_path():
    root = place("gs://bucket/corpora")
    assert str(root / "esc50" / "meta/esc50.csv") == "gs://bucket/corpora/esc50/meta/esc50.csv"
    assert (root / "").path == "" and str(root.joinpath("a", "b").parent) == "gs://bucket/corpora/a"
    assert root.resolve() is root and own(root / "esc50") == root / "esc50"
    assert str(place("s3://bucket").parent) == "s3://bucket"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://me:hush@bucket/a", "a user or a port"),
        ("s3://localhost:9000/a", "a user or a port"),
        ("gs://bucket/a?X-Goog-Signature=hush", "a query"),
        ("s3://bucket/a#hush", "a query"),
        ("s3://bucket/../other", "no address of a folder"),
        ("s3://bucket/a//b", "no address of a folder"),
        ("s3:///a", "no address of a folder"),
        ("gs://bucket/a\nb", "no address of a folder"),
    ],
)
def test_an_address_with_a_secret_or_an_odd_part_is_refused(text, said):
    with pytest.raises(ValueError, match=said) as refused:
        place(text)
    assert "hush" not in str(refused.value)


def test_a_missing_library_is_named_with_its_extra():
    """In a process where it cannot be imported: one line, and what installs it."""
    code = (
        "import sys; sys.modules['botocore'] = None\n"
        "from hares.buckets import ExtraMissingError, place\n"
        "try: place('s3://bucket').is_dir()\n"
        "except ExtraMissingError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("s3:// needs the package botocore") and "hares-tfx[buckets]" in done.stdout


def test_nothing_of_the_libraries_is_imported_before_an_address_is_used():
    code = (
        "import sys, hares.evaluation, hares.ingest; from hares.buckets import place; place('s3://bucket/a')\n"
        "print(sorted({'botocore', 'google.cloud.storage'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert isinstance(place("s3://bucket/a"), BucketPath)
