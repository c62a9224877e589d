"""`onnx:FILE`: an ONNX model of one float waveform (b, n) or (n,), by onnxruntime.

Dimensions may be free or fixed; with a batch of 1 it is called once a waveform. It runs where onnxruntime's build and
the machine let it: on a GPU with onnxruntime-gpu. Sample rate: 16 kHz unless `--sample-rate` says otherwise. An
embedding (b, t, d) is averaged over time; of several outputs `--output-name` chooses.

Weights in files of their own beside FILE count where their names begin with FILE's (`model.onnx.data`,
`model.onnx_data`).
"""

from __future__ import annotations

import numpy as np

from hares.adapters import EncoderOptions, FrozenEncoder, chosen_rate
from hares.adapters._frameworks import WaveformInput, model_file, not_loaded, with_outputs
from hares.code_digest import code_digest
from hares.digests import combined_digest, file_digest, library_versions


def load(location: str, options: EncoderOptions) -> FrozenEncoder:
    """The encoder of an .onnx file. Raises ValueError where it is none, or not one of waveforms."""
    import onnxruntime

    spec = f"onnx:{location}"
    path = model_file(location, "onnx", ".onnx")
    try:
        session = onnxruntime.InferenceSession(location, providers=onnxruntime.get_available_providers())
    except Exception as error:  # onnxruntime has an exception of its own for each kind of damage
        raise not_loaded(spec, f"a model that onnxruntime {onnxruntime.__version__} reads", error) from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        found = ", ".join(f"{one.name} {one.type}{one.shape}" for one in inputs)
        raise ValueError(f"encoder {spec!r}: the model takes {found}; expected one float waveform")
    takes = WaveformInput.of_shape(tuple(inputs[0].shape), spec)
    names = [one.name for one in session.get_outputs()]

    def call(waveforms: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {inputs[0].name: waveforms}), strict=True))

    embed, output, outputs = with_outputs(call, takes, options.output, spec)
    beside = sorted(other for other in path.parent.glob(f"{path.name}[._]*") if other.is_file())
    return FrozenEncoder(
        spec=spec,
        name=path.stem,
        sample_rate=chosen_rate(spec, None, options),
        embedding_size=None,
        digest=combined_digest(
            kind="onnx", code=code_digest(__name__), files=[file_digest(file) for file in (path, *beside)],
            output=output, versions=library_versions("onnxruntime", "onnxruntime-gpu"),
        ),
        embed=embed,
        input_samples=takes.samples,
        output=output,
        outputs=outputs,
        rate_assumed=options.sample_rate is None,
        details={"device": session.get_providers()[0]},
    )  # fmt: skip
