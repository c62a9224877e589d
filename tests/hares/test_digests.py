"""Digests of files, whatever their size."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from hares.digests import _BLOCK_BYTES, file_digest


@pytest.mark.parametrize("size", [0, 1, _BLOCK_BYTES, _BLOCK_BYTES + 1, 3 * _BLOCK_BYTES - 5])
def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path, size: int) -> None:
    content = np.random.default_rng(size).bytes(size)
    (tmp_path / "a").write_bytes(content)
    assert file_digest(tmp_path / "a") == hashlib.sha256(content).hexdigest()
    assert file_digest(str(tmp_path / "a")) == hashlib.sha256(content).hexdigest()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_digest(tmp_path / "absent")


def test_a_file_on_a_remote_file_system_has_the_digest_of_its_bytes(tmp_path):
    import tensorflow as tf

    (tmp_path / "a").write_bytes(b"a" * 3_000_000)
    with tf.io.gfile.GFile("ram://digests/a", "wb") as file:
        file.write(b"a" * 3_000_000)
    assert file_digest("ram://digests/a") == file_digest(tmp_path / "a")
