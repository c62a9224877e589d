"""Tensors by name from a file that others made: safetensors, npz, or an archive of PyTorch.

Such a file is downloaded, so nothing in it is ever executed: safetensors and npz hold numbers alone, and a PyTorch
archive is read by PyTorch itself with `weights_only=True`. PyTorch is no part of this package; where it is missing,
the error says how to convert the file elsewhere.
"""

from __future__ import annotations

import importlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

# The floor in setup.py; before it `weights_only=True` can be got round (docs/dependencies.md).
_TORCH = (2, 11)
_SAFETENSORS_TYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(tf.bfloat16.as_numpy_dtype),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000  # the format's own limit


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a `.safetensors`, `.npz`, `.pt`, `.pth` or `.bin` file, by their names there.

    Where a PyTorch archive keeps its tensors one level down, under "model" or "state_dict", that level is taken.

    Raises:
        ValueError: the file is of another kind, damaged, or holds something else than tensors; or PyTorch, which
            its kind needs, is not installed.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; download the checkpoint first")
    readers = {
        ".safetensors": _read_safetensors,
        ".npz": _read_npz,
        **dict.fromkeys((".pt", ".pth", ".bin"), _read_torch),
    }
    if path.suffix not in readers:
        raise ValueError(f"{path}: weights are read from {', '.join(readers)} files, and this is none")
    return readers[path.suffix](path)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, AttributeError) as error:
        raise ValueError(f"{path}: no npz archive of plain arrays ({error}); download it again") from error


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    data = path.read_bytes()
    try:
        (length,) = struct.unpack("<Q", data[:_LENGTH_BYTES])
        if length > min(_LONGEST_HEADER, len(data) - _LENGTH_BYTES):
            raise ValueError(f"its header of {length} bytes does not fit the file")
        start = _LENGTH_BYTES + length
        header = json.loads(data[_LENGTH_BYTES:start])
        body = memoryview(data)[start:]
        return {
            name: _safetensor(name, entry, body) for name, entry in header.items() if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ValueError(f"{path}: damaged safetensors file ({error}); download it again") from error


def _safetensor(name: str, entry: Mapping[str, Any], body: memoryview) -> np.ndarray:
    if entry["dtype"] not in _SAFETENSORS_TYPES:
        raise ValueError(f"{name} is of type {entry['dtype']}; read are {', '.join(_SAFETENSORS_TYPES)}")
    dtype, shape = _SAFETENSORS_TYPES[entry["dtype"]], tuple(entry["shape"])
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= len(body) or end - begin != dtype.itemsize * int(np.prod(shape)):
        raise ValueError(f"{name} of shape {shape} cannot be bytes {begin} to {end} of {len(body)}")
    return np.frombuffer(body[begin:end], dtype).reshape(shape)


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise ValueError(
            f"{path}: archives of PyTorch are read by PyTorch, which is not installed; install "
            "'hares-tfx[torch]', or convert the file to .safetensors where PyTorch is (docs/published_weights.md)"
        ) from error
    version = torch.__version__
    if tuple(map(int, version.split(".")[:2])) < _TORCH:
        raise ValueError(
            f"{path}: an archive of PyTorch can run code in PyTorch {version}; install 'hares-tfx[torch]' anew, or "
            "convert the file to .safetensors (docs/published_weights.md)"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch's own kinds are known only where it is installed
        raise ValueError(f"{path}: PyTorch does not read it as weights alone ({error})") from error
    for level in ("model", "state_dict"):
        if isinstance(state, Mapping) and isinstance(state.get(level), Mapping):
            state = state[level]
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ValueError(f"{path}: it holds no mapping of names to tensors; export the model's state_dict")
    return {name: tensor.float().numpy() for name, tensor in state.items()}
