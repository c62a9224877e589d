"""`saved_model:DIR`: a SavedModel with a signature that takes float waveforms. Ours, or anyone's.

Ours says its sample rate and embedding size in `hares_metadata.json`; of others the sample rate is 16 kHz
unless `--sample-rate` says otherwise. The signature takes one float tensor: (b, n), with b and n free or fixed,
or (n,), which is called once a waveform. An output (b, t, d) is averaged over time.

The embedding is the signature's only output, or the one with an embedding's name. `--output-name OUTPUT` chooses
another of `serving_default`, `--output-name SIGNATURE:OUTPUT` one of another signature. Where another signature of
waveforms gives other outputs, and none of `serving_default` is named as an embedding, a choice is asked for.

The graph in a SavedModel is code: load only what you trust.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hares.adapters import EncoderOptions, FrozenEncoder, chosen_rate
from hares.adapters._arrays import EMBEDDING_NAMES, as_array, choose_output, over_time
from hares.digests import combined_digest, library_versions, tree_digest
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
    chosen = _choose(_signatures(location, spec), options.output, spec)
    declared = metadata.get("sample_rate")
    return FrozenEncoder(
        spec=spec,
        name=str(metadata.get("encoder", folder.resolve().name)),
        sample_rate=chosen_rate(spec, int(declared) if declared is not None else None, options),
        embedding_size=metadata.get("embedding_size") if options.output is None else None,
        digest=combined_digest(
            kind="saved_model", files=tree_digest(folder), output=chosen.name, versions=library_versions()
        ),
        embed=_caller(chosen, spec),
        input_samples=_waveform_input(chosen.signature, spec)[1].shape[-1],
        output=chosen.name,
        outputs=chosen.among,
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
    return _caller(_choose(_signatures(path, path), None, path), path)


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / METADATA_FILE
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _signatures(path: str, spec: str) -> dict[str, Any]:
    import tensorflow as tf

    try:
        model = tf.saved_model.load(path)
    except Exception as error:  # a damaged file surfaces as any of a dozen types
        raise ValueError(
            f"encoder {spec!r}: the SavedModel cannot be loaded ({type(error).__name__}: {error}). Is "
            "it complete and undamaged?"
        ) from error
    for signature in model.signatures.values():
        signature.kept_alive = model  # the variables belong to the model, not to its signature
    return dict(model.signatures)


@dataclass(frozen=True)
class _Choice:
    """An output of a signature; `name` and `among` have the signature's name before all but the default's outputs."""

    signature: Any
    output: str
    name: str
    among: tuple[str, ...]


def _choose(signatures: Mapping[str, Any], wanted: str | None, spec: str) -> _Choice:
    usable = {name: found for name, found in signatures.items() if _takes_waveforms(found)}
    if SIGNATURE in signatures and SIGNATURE not in usable and (wanted is None or not usable):
        _waveform_input(signatures[SIGNATURE], spec)
    if not usable:
        raise ValueError(
            f"encoder {spec!r}: no signature {SIGNATURE}; found {', '.join(signatures) or 'none'}. Export the model "
            f"with a {SIGNATURE} signature of waveforms, or try hub:DIR, which calls the model itself"
        )
    default = usable.get(SIGNATURE)
    among = _outputs(default, "") if default else {}
    if wanted is not None or not any(name in EMBEDDING_NAMES for name in among):
        for name, found in usable.items():
            if name != SIGNATURE and (default is None or wanted or not _same_outputs(found, default)):
                among |= _outputs(found, f"{name}:")
    tensors = {name: tensor for name, (_, _, tensor) in among.items()}
    name = choose_output(tensors, wanted, spec)
    _check_form(tensors[name], name, spec)
    signature, output, _ = among[name]
    return _Choice(signature, output, name, tuple(among))


def _outputs(signature: Any, prefix: str) -> dict[str, tuple[Any, str, tf.TensorSpec]]:
    outputs: Mapping[str, tf.TensorSpec] = signature.structured_outputs
    return {f"{prefix}{name}": (signature, name, tensor) for name, tensor in sorted(outputs.items())}


def _takes_waveforms(signature: Any) -> bool:
    inputs: Mapping[str, tf.TensorSpec] = signature.structured_input_signature[1]
    return len(inputs) == 1 and all(s.dtype.is_floating and s.shape.rank in (1, 2) for s in inputs.values())


def _same_outputs(one: Any, other: Any) -> bool:
    def shapes(signature: Any) -> list[tuple[str, str]]:
        return sorted((name, str(tensor.shape)) for name, tensor in signature.structured_outputs.items())

    return shapes(one) == shapes(other)


def _waveform_input(signature: Any, spec: str) -> tuple[str, tf.TensorSpec]:
    """Name and spec of the signature's only input."""
    inputs: Mapping[str, tf.TensorSpec] = signature.structured_input_signature[1]
    if not _takes_waveforms(signature):
        found = ", ".join(f"{name} {s.dtype.name}{s.shape}" for name, s in inputs.items())
        raise ValueError(
            f"encoder {spec!r}: {SIGNATURE} takes {found}; expected one float waveform (batch, samples) or "
            "(samples,). Export a signature that holds the front end too"
        )
    return next(iter(inputs.items()))


def _check_form(tensor: tf.TensorSpec, name: str, spec: str) -> None:
    """Raises ValueError where the output's last axis is one of time: (b, d, t) would be averaged over d."""
    shape = tensor.shape
    if shape.rank == 3 and shape[1] is not None and shape[2] is None:
        raise ValueError(
            f"encoder {spec!r}: output {name} is {shape}, with time as its last axis; expected (batch, time, numbers). "
            "Export it transposed, or averaged over time"
        )


def _caller(chosen: _Choice, spec: str) -> Callable[[np.ndarray], np.ndarray]:
    signature = chosen.signature
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
        return over_time(as_array(outputs[chosen.output]), batch)

    def embed(waveforms: np.ndarray) -> np.ndarray:
        if rank == 2 and fixed_batch is None:
            return call(waveforms)
        rows = waveforms if rank == 1 else waveforms[:, np.newaxis]
        return np.concatenate([call(row) for row in rows])

    return embed
