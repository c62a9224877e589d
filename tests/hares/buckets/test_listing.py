"""A bucket's listing answers as a disk does, in the same order, in pages, without memory for what is listed."""

from __future__ import annotations

import os
import tracemalloc

import pytest

from hares.buckets import BucketError, Listed
from hares.buckets.client import Page
from hares.buckets.listing import Listing
from hares.files import folders_in, names_in, walk_files

NAMES = (
    *("a.wav", "a/1.wav", "a-b/2.wav", "a b.wav", "B/ü.wav"),
    *("z/é/x.wav", "z/e.wav", "z.wav", "a.b/c/d/e.wav", "0/.hidden"),
)


class Service:
    """A service's pages of some keys, as S3 gives them: by the bytes of the keys, a thousand at a time."""

    def __init__(self, keys):
        self.keys = keys
        self.requests = 0

    def pages(self, bucket, prefix, one_level=False, most=1_000):
        keys = sorted((key for key in self.keys if key.startswith(prefix)), key=str.encode)
        for first in range(0, len(keys), most):
            self.requests += 1
            yield Page([(key, len(key), f'"{key}"') for key in keys[first : first + most]], [])


def test_walks_and_names_are_those_of_a_disk(tmp_path):
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    listing = Listing(Service([f"p/{name}" for name in NAMES] + ["p/", "p/a/", "q/other.wav"]), "b", "p/")
    assert [found.path for found in listing.walk()] == [path for path, _ in walk_files(tmp_path)]
    assert [found.path for found in listing.walk("z")] == [path for path, _ in walk_files(tmp_path, "z")]
    for below in ("", "a", "z", "a.b", "z/é"):
        assert [name for name, _ in listing.names(below)] == names_in(tmp_path, below)
        assert [name for name, deep in listing.names(below) if deep] == folders_in(tmp_path, below)
    for path in (*NAMES, "a", "z", "z/é", "p", "nothing", "a.w", ""):
        assert (listing.file(path) is not None) == (tmp_path / path).is_file(), path
        assert listing.has_folder(path) == (tmp_path / path).is_dir(), path


@pytest.mark.parametrize("key", ["../secret.wav", "a/../../b.wav", "a//b.wav", "./a.wav", "/etc/a.wav"])
def test_a_key_that_no_file_can_have_is_listed_and_not_read(key):
    listing = Listing(Service([f"p/{key}", "p/a.wav"]), "b", "p/")
    odd = next(found for found in listing.walk() if found.problem)
    assert not odd.is_file() and "rename the object" in odd.problem
    assert listing.file("a.wav") == Listed("a.wav", 7, '"p/a.wav"')


def test_a_listing_that_leaves_the_prefix_ends_there():
    service = Service(["p/a.wav"])
    service.pages = lambda *_: iter([Page([("p/a.wav", 1, "1"), ("q/secret.wav", 1, "1")], [])])
    with pytest.raises(BucketError, match="what is not below it"):
        Listing(service, "b", "p/")


def test_a_key_of_900_characters_is_one_of_all():
    key = "ü" * 100 + "/" + "x" * 700 + ".wav"
    listing = Listing(Service([key]), "b", "")
    assert listing.file(key) == Listed(key, len(key), f'"{key}"')


@pytest.mark.parametrize("count", [1_000, 20_000])
def test_memory_does_not_grow_with_the_listing(count):
    service = Service([f"p/{number % 100:03}/{number:08}.wav" for number in range(count)])
    tracemalloc.start()
    listing = Listing(service, "b", "p/")
    walked = sum(1 for _ in listing.walk())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert walked == count and service.requests == count // 1_000
    # Keys and their sorted copy are the stand-in's own, some 60 bytes each; a page of the listing is 200 kB.
    assert peak < 1_500_000 + 60 * count, os.fspath(str(peak))
