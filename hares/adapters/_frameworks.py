"""What the adapters of PyTorch, JAX, Keras, ONNX and transformers share: which output, rows one by one, the record.

Shapes: `b` batch, `n` samples, `d` embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hares.adapters._arrays import as_array, choose_output, over_time
from hares.user_code import UserCodeError, import_user_module

TRIAL_SAMPLES = 16_000  # of the waveform that shows what an encoder of any length returns


@dataclass(frozen=True)
class WaveformInput:
    """The shape that a model's only input has.

    Attributes:
        rank: 1 of (n,), 2 of (b, n).
        batch: the only b it takes; None where it takes any.
        samples: the only n it takes; None where it takes any.
    """

    rank: int = 2
    batch: int | None = None
    samples: int | None = None

    @classmethod
    def of_shape(cls, shape: tuple[Any, ...], spec: str) -> WaveformInput:
        """Of the dimensions of an input, whole numbers where they are fixed.

        Raises:
            ValueError: it takes no waveforms, or batches of one size above 1 alone.
        """
        fixed = [dim if isinstance(dim, int) and dim > 0 else None for dim in shape]
        if len(fixed) not in (1, 2):
            raise ValueError(
                f"encoder {spec!r}: its input is {tuple(shape)}; expected waveforms (batch, samples) or (samples,). "
                "Export the model with its front end"
            )
        batch = fixed[0] if len(fixed) == 2 else None
        if batch not in (None, 1):
            raise ValueError(
                f"encoder {spec!r}: it takes batches of {batch} only; export it with a free batch size (of "
                "torch.export, give dynamic_shapes)"
            )
        return cls(len(fixed), batch, fixed[-1])

    def rows(self, waveforms: np.ndarray) -> list[np.ndarray]:
        """Waveforms (b, n) as the calls that the model takes."""
        if self.rank == 2 and self.batch is None:
            return [waveforms]
        return list(waveforms if self.rank == 1 else waveforms[:, np.newaxis])


def with_outputs(
    call: Callable[[np.ndarray], Any], takes: WaveformInput, wanted: str | None, spec: str
) -> tuple[Callable[[np.ndarray], np.ndarray], str, tuple[str, ...]]:
    """An encoder of whatever a model returns: tensors of any library, mappings and tuples of them.

    Args:
        call: what is called with one element of `takes.rows`.
        takes: the form of its input.
        wanted: name of the output, or number from 0 where they have no names; None where it is clear.
        spec: the encoder, for error messages.

    Returns:
        Waveforms (b, n) to embeddings (b, d), those in time averaged; the output's name, "" of the only one; all names.

    Raises:
        ValueError: the model fails on a second of silence, or it is unclear which output is the embedding.
    """
    silence = takes.rows(np.zeros((1, takes.samples or TRIAL_SAMPLES), np.float32))[0]
    try:
        found = call(silence)
    except Exception as error:  # whatever the model's code raises
        raise UserCodeError(
            f"encoder {spec!r}: called with silence of shape {silence.shape}, it raised {type(error).__name__}: {error}"
        ) from error
    named = _named(found)
    if not named and wanted is not None:
        raise ValueError(f"encoder {spec!r}: it has one output without a name. Leave --output-name out")
    output = choose_output(named, wanted, spec) if named else ""

    def embed(waveforms: np.ndarray) -> np.ndarray:
        parts = []
        for row in takes.rows(waveforms):
            returned = call(row)
            array = as_array(_named(returned)[output] if output else returned)
            parts.append(over_time(array, len(row) if row.ndim == 2 else 1))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    return embed, output, tuple(named)


def made_by(location: str, kind: str) -> tuple[str, str, Any]:
    """The module's name, the factory's, and what the factory of `MODULE:FACTORY` makes.

    Raises:
        ValueError: there is no such factory, it fails, or what it makes cannot be called.
    """
    spec = f"{kind}:{location}"
    name, _, factory_name = location.partition(":")
    if not name or not factory_name:
        raise ValueError(
            f"encoder {spec!r}: there is no such file; give that of a model, or {kind}:MODULE:FACTORY"
        )
    factory = getattr(import_user_module(name, spec), factory_name, None)
    if not callable(factory):
        raise ValueError(f"encoder {spec!r}: module {name} has no function {factory_name!r}")
    try:
        made = factory()
    except Exception as error:  # whatever the user's code raises
        raise UserCodeError(
            f"encoder {spec!r}: {factory_name}() failed ({type(error).__name__}: {error})"
        ) from error
    if not callable(made):
        raise ValueError(
            f"encoder {spec!r}: {factory_name}() gave a {type(made).__name__} that cannot be called"
        )
    return name, factory_name, made


def model_file(location: str, kind: str, ending: str) -> Path:
    """The path of a model's file. Raises ValueError where there is none."""
    path = Path(location)
    if not path.is_file():
        raise ValueError(
            f"encoder '{kind}:{location}': no file {location!r}; give the path of a {ending} file"
        )
    return path


def not_loaded(spec: str, what: str, error: Exception) -> ValueError:
    """That a file is none of a kind, or is damaged."""
    return ValueError(f"encoder {spec!r}: not {what}, or a damaged one ({type(error).__name__}: {error})")


def _named(found: Any) -> dict[str, Any]:
    """Outputs by name, or by number as text; empty of a single one."""
    if isinstance(found, Mapping):
        return {str(name): value for name, value in found.items() if hasattr(value, "shape")}
    if isinstance(found, list | tuple):
        return {str(number): value for number, value in enumerate(found) if hasattr(value, "shape")}
    return {}
