"""Weight files that others made: what is read, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from models.weight_files import read_tensors


def safetensors_bytes(header: dict, body: bytes) -> bytes:
    """As the format's description has it: length, header, tensors."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_safetensors_by_hand(tmp_path: Path) -> None:
    body = (
        struct.pack("<4f", 1, 2, 3, 4) + b"\x80\x3f\x00\xc0" + struct.pack("<e", 0.5) + struct.pack("<q", 7)
    )
    header = {
        "__metadata__": {"format": "pt"},
        "w": entry("F32", [2, 2], 0, 16),
        "bf": entry("BF16", [2], 16, 20),
        "half": entry("F16", [], 20, 22),
        "count": entry("I64", [1], 22, 30),
    }
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes(header, body))
    tensors = read_tensors(path)
    assert set(tensors) == {"w", "bf", "half", "count"}
    np.testing.assert_array_equal(tensors["w"], [[1, 2], [3, 4]])
    np.testing.assert_array_equal(tensors["bf"].astype(np.float32), [1, -2])
    assert tensors["half"] == 0.5 and tensors["half"].shape == ()
    assert tensors["count"].tolist() == [7]


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "damaged"),
        (struct.pack("<Q", 2**60) + b"{}", "does not fit the file"),
        (struct.pack("<Q", 2) + b"[]", "damaged"),
        (struct.pack("<Q", 2) + b"{x", "damaged"),
        (safetensors_bytes({"w": entry("F32", [2], 0, 4)}, b"1234"), r"shape \(2,\) cannot be bytes 0 to 4"),
        (safetensors_bytes({"w": entry("F32", [2], 0, 8)}, b"1234"), "bytes 0 to 8 of 4"),
        (safetensors_bytes({"w": entry("F32", [1], -4, 0)}, b"1234"), "bytes -4 to 0"),
        (safetensors_bytes({"w": entry("Q4", [1], 0, 4)}, b"1234"), "of type Q4"),
        (safetensors_bytes({"w": {"dtype": "F32"}}, b"1234"), "damaged"),
    ],
)
def test_damaged_safetensors_are_refused(tmp_path: Path, data: bytes, cause: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=cause) as error:
        read_tensors(path)
    assert str(path) in str(error.value)


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def test_pickles_in_an_npz_are_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "w.npz", good=np.ones(2), bad=np.array([Bomb()], dtype=object))
    with pytest.raises(ValueError, match="no npz archive of plain arrays"):
        read_tensors(tmp_path / "w.npz")
    assert not (tmp_path / "exploded").exists()
    np.savez(tmp_path / "w.npz", good=np.ones(2))
    np.testing.assert_array_equal(read_tensors(tmp_path / "w.npz")["good"], [1, 1])


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is installed here")
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
def test_without_pytorch_its_archives_are_answered_with_a_remedy(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"not installed; install 'hares-tfx\[torch\]', or convert"):
        read_tensors(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        read_tensors(tmp_path / "none.npz")
    (tmp_path / "w.h5").touch()
    with pytest.raises(ValueError, match=r"read from \.safetensors, \.npz, \.pt"):
        read_tensors(tmp_path / "w.h5")


@pytest.mark.parametrize(
    ("version", "good"), [("2.6.0", False), ("2.10.0+cpu", False), ("2.11.0", True), ("3.0", True)]
)
def test_a_pytorch_in_which_a_checkpoint_can_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, good: bool
) -> None:
    """Of PyTorch there is the version alone, and what happens next: the file is handed over, or is not."""
    handed_over = []
    library = types.ModuleType("torch")
    library.__version__ = version
    library.Tensor = np.ndarray
    library.load = lambda path, **options: handed_over.append((path, options)) or {}
    monkeypatch.setitem(sys.modules, "torch", library)
    file = tmp_path / "weights.pt"
    file.write_bytes(b"x")
    if good:
        assert read_tensors(file) == {}
        assert handed_over == [(file, {"map_location": "cpu", "weights_only": True})]
    else:
        with pytest.raises(ValueError, match="can run code"):
            read_tensors(file)
        assert not handed_over
