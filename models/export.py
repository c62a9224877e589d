"""Export of a trained encoder as a SavedModel that needs nothing but TensorFlow.

Paper, section 2.1: the encoder is frozen and its embeddings are probed. Whoever loads the export gets the
front end with it, so serving and evaluation cannot drift from training.

Signatures (`b` batch, `n` samples, `t` frames, `f` mel bins, `d` embedding; batch and length are free):

- `serving_default`: `waveform` (b, n) float32 in [-1, 1]
- `log_mel`: `log_mel` (b, t, f) float32, as `models.frontend.log_mel` makes it; standardised inside
- `spectrogram`: `spectrogram` (b, t, f) float32, standardised already
- `pcm16`: `pcm` (b,) 16-bit little-endian PCM bytes, clips of one call equally long, through the Transform
  graph
- `classify`: `embedding` (b, d) -> `scores` (b, k) in [0, 1], by the classifier that pretraining trained, if any
- `metadata`: nothing in, `metadata` out: the text of `hares_metadata.json`

All but the last two return `embedding` (b, d) and, where the encoder has them, `features`, float32. Encoders of
waveforms have neither `log_mel` nor `spectrogram`; `pcm16` is there when a Transform graph was given.

Weight standardisation is folded into the kernels, which are then stored in the type that they are used in. Only
variables are saved, not the Keras model around them: Keras would trace every layer once more and ask for our classes
when loading.

An export computes in float32, or in bfloat16 with float32 inputs and outputs (`compute_dtype`), whichever type the
encoder was trained in.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from models.compute_dtype import computing_in
from models.encoder import Encoder, EncoderRecord, built_encoder
from models.frontend import FrontendConfig, log_mel, standardise
from models.weights import weights_digest

METADATA_FILE = "hares_metadata.json"


def export_saved_model(
    encoder: Encoder,
    record: EncoderRecord,
    directory: str | os.PathLike[str],
    frontend_config: FrontendConfig,
    metadata: Mapping[str, Any],
    pcm16_to_log_mel: Callable[[tf.Tensor], tf.Tensor] | None = None,
    classifier: tf.Module | None = None,
    compute_dtype: str = "float32",
) -> dict[str, Any]:
    """Writes the SavedModel and, last, `hares_metadata.json` beside it.

    Args:
        encoder: the trained encoder; it is folded for the export and left as it is.
        record: the encoder's record.
        directory: where to write; any file system that TensorFlow knows.
        frontend_config: the front end it was trained with.
        metadata: what else to record (objective, steps, ...); values that JSON can hold.
        pcm16_to_log_mel: the Transform graph, (b,) string -> dense (b, t, f) log-mel, not standardised; for
            an encoder of waveforms -> (b, n). Where it holds tables or variables it must be a `tf.Module`
            (Keras layers are) that tracks them, so that they are saved too.
        classifier: (b, d) embedding -> (b, k) scores; see `Objective.classifier`.
        compute_dtype: "float32" or "bfloat16", the type of activations.

    Returns:
        All metadata, as `read_metadata` will.

    Raises:
        ValueError: `metadata` uses a name that the export writes itself.
    """
    own = _own_metadata(encoder, record, frontend_config)
    if clashes := sorted(own.keys() & metadata.keys()):
        raise ValueError(f"export: metadata {', '.join(clashes)} is written by the export itself; rename it")
    complete = {**own, "compute_dtype": compute_dtype, **metadata}
    text = json.dumps(complete, indent=2, sort_keys=True)

    folded = _in_dtype(encoder, record, frontend_config, compute_dtype).folded()
    module = tf.Module(name="hares_encoder")
    module.weights = folded.variables
    module.transform = pcm16_to_log_mel
    module.classifier = classifier
    signatures = _signatures(folded, record, frontend_config, text, pcm16_to_log_mel)
    if classifier is not None:
        signatures["classify"] = _traced(
            lambda embedding: {"scores": classifier(embedding)},
            tf.TensorSpec([None, record.embedding_size], tf.float32, name="embedding"),
        )
    tf.saved_model.save(module, os.fspath(directory), signatures=signatures)
    with tf.io.gfile.GFile(os.path.join(directory, METADATA_FILE), "w") as file:
        file.write(text)
    return complete


def read_metadata(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Metadata of an export, from the JSON file beside it.

    Raises:
        ValueError: the directory is no complete export.
    """
    path = os.path.join(directory, METADATA_FILE)
    if not tf.io.gfile.exists(path):
        raise ValueError(f"{directory}: no {METADATA_FILE}; this is not an encoder exported by HARES")
    with tf.io.gfile.GFile(path, "r") as file:
        metadata: dict[str, Any] = json.loads(file.read())
    return metadata


def _own_metadata(encoder: Encoder, record: EncoderRecord, config: FrontendConfig) -> dict[str, Any]:
    return {
        "encoder": record.name,
        "input_kind": record.input_kind,
        "embedding_size": record.embedding_size,
        "parameters": record.parameters,
        "weights_digest": weights_digest(encoder),
        "sample_rate": config.sample_rate,
        "hop_length": config.hop_length,
        "num_mel_bins": config.num_mel_bins,
        "frontend": dataclasses.asdict(config),
        "tensorflow_version": tf.__version__,
    }


def _in_dtype(encoder: Encoder, record: EncoderRecord, config: FrontendConfig, compute_dtype: str) -> Encoder:
    """The encoder itself where it computes in `compute_dtype`, else its twin that does, with the same weights."""
    if encoder.compute_dtype == compute_dtype:
        return encoder
    with computing_in(compute_dtype):
        twin = built_encoder(record, config, seed=0)
    # By order and not by name: Keras numbers the layers that a user's encoder leaves unnamed.
    for variable, trained in zip(twin.variables, encoder.variables, strict=True):
        variable.assign(trained)
    return twin


def _signatures(
    encoder: Encoder,
    record: EncoderRecord,
    config: FrontendConfig,
    metadata: str,
    pcm16_to_log_mel: Callable[[tf.Tensor], tf.Tensor] | None,
) -> dict[str, tf.types.experimental.GenericFunction]:
    def embed(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = encoder(inputs, training=False)
        return {name: tf.cast(value, tf.float32) for name, value in outputs.items()}

    def embed_spectrogram(spectrogram: tf.Tensor) -> dict[str, tf.Tensor]:
        return embed(spectrogram[..., tf.newaxis])

    def embed_log_mel(unstandardised: tf.Tensor) -> dict[str, tf.Tensor]:
        # Without this, a clip too short for one frame would come out as NaN. All that follows waits for it, so
        # that no operation further down can be the first to fail, with a message about its own shapes.
        fills_a_window = tf.debugging.assert_positive(
            tf.shape(unstandardised)[1], f"clips must fill one window of {config.window_length} samples"
        )
        with tf.control_dependencies([fills_a_window]):
            checked = tf.identity(unstandardised)
        return embed_spectrogram(standardise(checked))

    def embed_waveform(waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        return embed_log_mel(log_mel(waveform, config))

    on_waveforms = record.input_kind == "waveform"
    waveform = tf.TensorSpec([None, None], tf.float32, name="waveform")
    frames = [None, None, config.num_mel_bins]
    signatures = {
        "serving_default": _traced(embed if on_waveforms else embed_waveform, waveform),
        "metadata": tf.function(lambda: {"metadata": tf.constant(metadata)}).get_concrete_function(),
    }
    if not on_waveforms:
        signatures["log_mel"] = _traced(embed_log_mel, tf.TensorSpec(frames, tf.float32, name="log_mel"))
        signatures["spectrogram"] = _traced(
            embed_spectrogram, tf.TensorSpec(frames, tf.float32, name="spectrogram")
        )
    if pcm16_to_log_mel is not None:
        transform, embed_transformed = pcm16_to_log_mel, embed if on_waveforms else embed_log_mel
        signatures["pcm16"] = _traced(
            lambda pcm: embed_transformed(transform(pcm)), tf.TensorSpec([None], tf.string, name="pcm")
        )
    return signatures


def _traced(
    function: Callable[[tf.Tensor], dict[str, tf.Tensor]], spec: tf.TensorSpec
) -> tf.types.experimental.ConcreteFunction:
    return tf.function(function).get_concrete_function(spec)
