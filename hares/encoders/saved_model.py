"""`saved_model:DIR`: a SavedModel whose `serving_default` signature takes float waveforms. Ours, or anyone's.

Ours says its sample rate and embedding size in `hares_metadata.json`; of others the sample rate is 16 kHz
unless `--sample-rate` says otherwise. The signature takes one float tensor: (b, n), with b and n free or fixed,
or (n,), which is called once a waveform. An output (b, t, d) is averaged over time.

The graph in a SavedModel is code: load only what you trust.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hares._digests import combined_digest, library_versions, tree_digest
from hares.encoders import EncoderOptions, FrozenEncoder, chosen_rate
from hares.encoders._arrays import as_array, over_time, pick_output
from hares.own_classifier import METADATA_FILE, own_classifier

if TYPE_CHECKING:
    import tensorflow as tf

SIGNATURE = "serving_default"


def load(location: str, options: EncoderOptions) -> FrozenEncoder:
    """The encoder of a SavedModel folder. Raises ValueError where there is none, or none of waveforms."""
    spec = f"saved_model:{location}"
    folder = Path(location)
    if not (folder / "saved_model.pb").is_file():
        raise ValueError(
            f"encoder {spec!r}: no saved_model.pb in {location or '.'}; give the folder that holds it"
        )
    metadata = _metadata(folder)
    signature = _signature(location, spec)
    declared = metadata.get("sample_rate")
    return FrozenEncoder(
        spec=spec,
        name=str(metadata.get("encoder", folder.resolve().name)),
        sample_rate=chosen_rate(spec, int(declared) if declared is not None else None, options),
        embedding_size=metadata.get("embedding_size") if options.output is None else None,
        digest=combined_digest(
            kind="saved_model",
            files=tree_digest(folder),
            output=options.output,
            versions=library_versions(),
        ),
        embed=_caller(signature, options.output, spec),
        input_samples=_waveform_input(signature, spec)[1].shape[-1],
        rate_assumed=declared is None and options.sample_rate is None,
        # Another output than the embedding is nothing that the classifier knows.
        own_classifier=own_classifier(location) if options.output is None else None,
        details={key: value for key, value in metadata.items() if key not in ("encoder", "sample_rate")},
    )


def signature_encoder(path: str) -> Callable[[np.ndarray], np.ndarray]:
    """The waveform signature at `path`, on any file system TensorFlow knows: (b, n) float32 to (b, d) float32.

    Raises:
        ValueError: the SavedModel has no signature of waveforms.
    """
    return _caller(_signature(path, path), None, path)


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / METADATA_FILE
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _signature(path: str, spec: str) -> Any:
    import tensorflow as tf

    try:
        model = tf.saved_model.load(path)
    except Exception as error:  # a damaged file surfaces as any of a dozen types
        raise ValueError(
            f"encoder {spec!r}: the SavedModel cannot be loaded ({type(error).__name__}: {error}). Is "
            "it complete and undamaged?"
        ) from error
    if SIGNATURE not in model.signatures:
        found = ", ".join(model.signatures) or "none"
        raise ValueError(
            f"encoder {spec!r}: no signature {SIGNATURE}; found {found}. Export the model with a "
            f"{SIGNATURE} signature of waveforms, or try hub:{path}, which calls the model itself"
        )
    signature = model.signatures[SIGNATURE]
    signature.kept_alive = model  # the variables belong to the model, not to its signature
    return signature


def _waveform_input(signature: Any, spec: str) -> tuple[str, tf.TensorSpec]:
    """Name and spec of the signature's only input."""
    inputs: Mapping[str, tf.TensorSpec] = signature.structured_input_signature[1]
    floats = {name: s for name, s in inputs.items() if s.dtype.is_floating and s.shape.rank in (1, 2)}
    if len(inputs) != 1 or not floats:
        found = ", ".join(f"{name} {s.dtype.name}{s.shape}" for name, s in inputs.items())
        raise ValueError(
            f"encoder {spec!r}: {SIGNATURE} takes {found}; expected one float waveform (batch, samples) or "
            "(samples,). Export a signature that holds the front end too"
        )
    return next(iter(floats.items()))


def _caller(signature: Any, output: str | None, spec: str) -> Callable[[np.ndarray], np.ndarray]:
    name, tensor = _waveform_input(signature, spec)
    rank, fixed_batch = tensor.shape.rank, tensor.shape[0] if tensor.shape.rank == 2 else None
    if fixed_batch not in (None, 1):
        raise ValueError(
            f"encoder {spec!r}: {SIGNATURE} takes batches of {fixed_batch} only; export it with a free batch size"
        )

    def call(waveforms: np.ndarray) -> np.ndarray:
        import tensorflow as tf

        outputs = signature(**{name: tf.constant(waveforms, tensor.dtype)})
        batch = 1 if rank == 1 else len(waveforms)
        return over_time(as_array(pick_output(outputs, output, spec)), batch)

    def embed(waveforms: np.ndarray) -> np.ndarray:
        if rank == 2 and fixed_batch is None:
            return call(waveforms)
        rows = waveforms if rank == 1 else waveforms[:, np.newaxis]
        return np.concatenate([call(row) for row in rows])

    return embed
