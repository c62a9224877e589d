"""`torch:FILE|MODULE:FACTORY`: a PyTorch model of waveforms (b, n) or (n,), on a GPU where there is one.

- `torch:FILE.pt2`: an archive of `torch.export.save`. Dimensions that it was not told to leave free are fixed; with a
  fixed batch of 1 it is called once a waveform.
- `torch:FILE`: any other file is a TorchScript archive (`torch.jit.save`).
- `torch:MODULE:FACTORY`: `FACTORY()` gives a `torch.nn.Module` (put into `eval` mode), or any callable. Weights that it
  loads are its own affair: `torch.load(..., weights_only=True)` and safetensors run no code, a pickle does.

`sample_rate` is an attribute of what the factory makes, else `--sample-rate`, else 16 kHz. The embedding is a tensor
(b, d), or (b, t, d), which is averaged over time; of a mapping or tuple that is returned `--output-name` chooses.

The module's code, and the graph in an archive, are executed: load only what you trust.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hares.adapters import EncoderOptions, FrozenEncoder, chosen_rate
from hares.adapters._frameworks import WaveformInput, made_by, not_loaded, with_outputs
from hares.adapters._state import state_of
from hares.code_digest import code_digest, source_digest
from hares.digests import combined_digest, file_digest, library_versions


def load(location: str, options: EncoderOptions) -> FrozenEncoder:
    """The encoder of a file or a factory. Raises ValueError where there is none of waveforms."""
    import torch

    spec, path = f"torch:{location}", Path(location)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    takes, parts, details = WaveformInput(), {}, {"device": device.type}
    model: Any
    if path.suffix == ".pt2" and path.is_file():
        model, takes = _exported(path, device, spec)
        parts = {"file": file_digest(path)}
    elif path.is_file():
        try:
            model = torch.jit.load(location, map_location=device).eval()
        except Exception as error:  # whatever a damaged archive surfaces as
            raise not_loaded(
                spec, "an archive of TorchScript; one of torch.export ends in .pt2", error
            ) from error
        parts = {"file": file_digest(path)}
    else:
        module, factory, model = made_by(location, "torch")
        for part in state_of(model).torch_modules:
            part.eval().to(device)
        state = state_of(model)
        parts = {"source": source_digest(module), "factory": factory, "state": state.digest}
        details["weight_arrays"] = state.arrays
    declared = getattr(model, "sample_rate", None)

    def call(waveforms: np.ndarray) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(waveforms.copy()).to(device))

    embed, output, outputs = with_outputs(call, takes, options.output, spec)
    return FrozenEncoder(
        spec=spec,
        name=path.stem if path.is_file() else location,
        sample_rate=chosen_rate(spec, declared if isinstance(declared, int) else None, options),
        embedding_size=None,
        digest=combined_digest(
            kind="torch", code=code_digest(__name__), output=output, versions=library_versions(), **parts
        ),
        embed=embed,
        input_samples=takes.samples,
        output=output,
        outputs=outputs,
        rate_assumed=not isinstance(declared, int) and options.sample_rate is None,
        details=details,
    )


def _exported(path: Path, device: Any, spec: str) -> tuple[Any, WaveformInput]:
    """The module of an archive of torch.export, and the form of its only input."""
    import torch
    from torch.export.passes import move_to_device_pass

    try:
        program = torch.export.load(str(path))
    except Exception as error:  # whatever a damaged archive surfaces as
        raise not_loaded(spec, "an archive of torch.export", error) from error
    names = program.graph_signature.user_inputs
    values = [node.meta["val"] for node in program.graph.nodes if node.name in names]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    if len(values) != 1 or not tensors or not tensors[0].is_floating_point():
        raise ValueError(f"encoder {spec!r}: it takes {len(values)} inputs; expected one float waveform")
    takes = WaveformInput.of_shape(tuple(tensors[0].shape), spec)
    return move_to_device_pass(program, str(device)).module(), takes
