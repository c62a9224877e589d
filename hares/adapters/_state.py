"""What an encoder object holds, wherever in it: the library it computes with, its device, the bytes of its weights.

People hand over more than a `torch.nn.Module`: a dataclass around one, a bound method, a closure, a dictionary of
them. Attributes, containers, closures and bound objects are followed; a global variable of a module is not.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_LEAVES = (str, bytes, int, float, complex, type(None), type, types.ModuleType, types.BuiltinFunctionType)


@dataclass(frozen=True)
class State:
    """What was found in an encoder object.

    Attributes:
        torch_modules: the `torch.nn.Module`s, the outermost first.
        torch_device: of the first module's first parameter or buffer; None where there is none.
        is_tensorflow: whether there is a `tf.Module` or a Keras layer, and no torch module.
        arrays: the arrays of numbers whose bytes are in `digest`; with 0, no weight of the encoder was seen.
        digest: SHA-256 (hex) of their places in the object, types, shapes and bytes.
    """

    torch_modules: tuple[Any, ...]
    torch_device: Any
    is_tensorflow: bool
    arrays: int
    digest: str


def state_of(encoder: Any) -> State:
    """Looks through an encoder object; torch and TensorFlow are not imported for it."""
    torch, is_tensorflow = sys.modules.get("torch"), False
    modules: list[Any] = []
    arrays, digest = 0, hashlib.sha256()
    for place, value in _walk(encoder):
        if torch is not None and isinstance(value, torch.nn.Module):
            modules.append(value)
        elif _of_tensorflow(value) and hasattr(value, "trainable_variables"):
            is_tensorflow = True
        content = _bytes(value)
        if content is not None:
            arrays += 1
            digest.update(f"{place} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(content)
    tensors = (t for module in modules for t in (*module.parameters(), *module.buffers()))
    device = getattr(next(tensors, None), "device", None)
    return State(tuple(modules), device, is_tensorflow and not modules, arrays, digest.hexdigest())


def _walk(root: Any) -> Iterator[tuple[str, Any]]:
    """Everything below `root`, each object once, with the first path to it; parents before what they hold."""
    seen: dict[int, Any] = {}  # holds what it has seen, so that no id is used again
    waiting = [("", root)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, _LEAVES) or id(value) in seen:
            continue
        seen[id(value)] = value
        yield place, value
        waiting += reversed([(f"{place}.{name}", part) for name, part in _parts(value)])


def _parts(value: Any) -> list[tuple[str, Any]]:
    """What an object holds, by name."""
    if hasattr(type(value), "__array__"):
        return []
    if _of_tensorflow(value):  # with much beside its variables that no one else should walk through
        return [(str(number), v) for number, v in enumerate(getattr(value, "variables", None) or ())]
    if isinstance(value, Mapping):
        return [(str(name), part) for name, part in value.items()]
    if isinstance(value, list | tuple):
        return [(str(number), part) for number, part in enumerate(value)]
    if isinstance(value, functools.partial):
        return [("func", value.func), ("args", value.args), ("keywords", value.keywords)]
    if isinstance(value, types.MethodType):
        return [("self", value.__self__)]
    parts = dict(getattr(value, "__dict__", {}))
    if isinstance(value, types.FunctionType):
        names = value.__code__.co_freevars
        parts |= {n: c.cell_contents for n, c in zip(names, value.__closure__ or (), strict=True) if _full(c)}
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                parts[name] = getattr(value, name)
    return list(parts.items())


def _full(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # a variable that has no value yet
        return False


def _of_tensorflow(value: Any) -> bool:
    """Whether it is a module, layer or model of TensorFlow or Keras, or of a class derived from one."""
    return not hasattr(type(value), "__array__") and any(
        kind.__module__.partition(".")[0] in ("tensorflow", "keras") for kind in type(value).__mro__
    )


def _bytes(value: Any) -> bytes | None:
    """The bytes of an array of numbers; None for anything else, and for one without content (torch's meta device)."""
    if not hasattr(type(value), "__array__") or not hasattr(value, "dtype"):
        return None
    try:
        if hasattr(value, "detach"):  # bfloat16 and others that numpy has no type for, as they are
            torch = sys.modules["torch"]
            flat = value.detach().cpu().contiguous().reshape(-1)
            return bytes(flat.view(torch.uint8).numpy().data)
        array = np.asarray(value)
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        return None
    return None if array.dtype.hasobject else array.tobytes()
