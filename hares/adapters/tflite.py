"""`tflite:FILE`: a TensorFlow Lite model of float waveforms, run one waveform at a time.

`--output-name` names the output, or any tensor inside the graph: classifiers such as BirdNET keep their embedding
one layer before their output. Without it the only output is taken. TensorFlow Lite files say nothing of their
sample rate: 16 kHz unless `--sample-rate` says otherwise. An embedding (1, t, d) is averaged over time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hares.adapters import EncoderOptions, FrozenEncoder, chosen_rate
from hares.adapters._arrays import over_time
from hares.digests import combined_digest, file_digest, library_versions
from hares.task import SAMPLE_RATE


def load(location: str, options: EncoderOptions) -> FrozenEncoder:
    """The encoder of a .tflite file. Raises ValueError where it is none, or not one of waveforms."""
    import tensorflow as tf

    spec = f"tflite:{location}"
    path = Path(location)
    if not path.is_file():
        raise ValueError(f"encoder {spec!r}: no file {location!r}; give the path of a .tflite file")
    try:
        interpreter = tf.lite.Interpreter(
            model_path=location,
            num_threads=len(os.sched_getaffinity(0)),
            # Tensors inside the graph are overwritten unless they are kept.
            experimental_preserve_all_tensors=options.output is not None,
        )
        _give_length(interpreter)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"encoder {spec!r}: not a model that TensorFlow Lite {tf.__version__} reads ({error})"
        ) from error
    taken = _waveform_input(interpreter, spec)
    free = taken["shape_signature"][-1] < 0
    output, outputs = _output(interpreter, options.output, spec)
    return FrozenEncoder(
        spec=spec,
        name=path.stem,
        sample_rate=chosen_rate(spec, None, options),
        embedding_size=None,
        digest=combined_digest(
            kind="tflite", file=file_digest(path), output=int(output["index"]), versions=library_versions()
        ),
        embed=_caller(interpreter, taken, output["index"]),
        input_samples=None if free else int(taken["shape"][-1]),
        output=output["name"],
        outputs=outputs,
        rate_assumed=options.sample_rate is None,
    )


def _give_length(interpreter: Any) -> None:
    """A second of sound where the length is free: such a file says 1 sample, too few for a convolution's window."""
    for given in interpreter.get_input_details():
        if len(given["shape_signature"]) and given["shape_signature"][-1] < 0:
            interpreter.resize_tensor_input(given["index"], [*given["shape"][:-1], SAMPLE_RATE])


def _waveform_input(interpreter: Any, spec: str) -> dict[str, Any]:
    inputs: list[dict[str, Any]] = interpreter.get_input_details()
    found = ", ".join(f"{i['name']} {np.dtype(i['dtype']).name}{list(i['shape_signature'])}" for i in inputs)
    if len(inputs) != 1 or inputs[0]["dtype"] is not np.float32 or len(inputs[0]["shape"]) not in (1, 2):
        raise ValueError(
            f"encoder {spec!r}: the model takes {found}; expected one float32 waveform (1, samples) or (samples,)"
        )
    return inputs[0]


def _output(interpreter: Any, wanted: str | None, spec: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The output, or tensor inside the graph, that is asked for, and the names of all outputs."""
    outputs: list[dict[str, Any]] = interpreter.get_output_details()
    names = tuple(str(output["name"]) for output in outputs)
    if wanted is None and len(outputs) == 1:
        return outputs[0], names
    candidates = [] if wanted is None else [*outputs, *interpreter.get_tensor_details()]
    matching = {t["index"]: t for t in candidates if wanted in (t["name"], str(t["index"]))}
    if len(matching) != 1:
        what = "several outputs" if wanted is None else f"{len(matching) or 'no'} tensors {wanted!r}"
        shown = matching.values() or outputs
        found = ", ".join(f"{tensor['index']} {tensor['name']} {list(tensor['shape'])}" for tensor in shown)
        raise ValueError(
            f"encoder {spec!r}: {what}; {'they' if matching else 'the outputs'} are {found}. Choose one, or a tensor "
            "inside the graph, with --output-name NAME or NUMBER"
        )
    return next(iter(matching.values())), names


def _caller(interpreter: Any, taken: dict[str, Any], output: int) -> Callable[[np.ndarray], np.ndarray]:
    def embed(waveforms: np.ndarray) -> np.ndarray:
        shape = [1] * (len(taken["shape"]) - 1) + [waveforms.shape[1]]
        if list(interpreter.get_input_details()[0]["shape"]) != shape:
            interpreter.resize_tensor_input(taken["index"], shape)
            interpreter.allocate_tensors()
        rows = []
        for waveform in waveforms:
            interpreter.set_tensor(taken["index"], waveform.reshape(shape).astype(np.float32))
            interpreter.invoke()
            rows.append(over_time(interpreter.get_tensor(output), 1))
        return np.concatenate(rows)

    return embed
