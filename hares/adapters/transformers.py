"""`transformers:DIR`: an audio model in a local folder, as Hugging Face's `save_pretrained` writes it, on PyTorch.

Any model that `AutoModel` and `AutoFeatureExtractor` load: wav2vec 2.0, HuBERT, WavLM, AST, Whisper (its encoder), CLAP
(its audio half), ... A GPU is used where there is one; the feature extractor says the sample rate.

The embedding is the mean over time of the last hidden layer. `--output-name LAYER[:POOLING]` takes another: LAYER is a
number, 0 for what enters the first layer of the transformer, or `last`; POOLING is `mean`, `max` or `first` (a class
token). `--output-name pooled` is the model's own pooled output, where it has one. The report names the choice.
`--layers all` scores every layer, with the chosen pooling.

Of an extractor that pads every crop to one length (Whisper: 30 s) only the frames of the crop are pooled.

No code of the folder is executed: models with code of their own are refused, and weights are read as safetensors, or
with PyTorch's `weights_only`.

Shapes: `b` batch, `n` samples, `t` frames or tokens, `d` embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hares.adapters import EncoderOptions, FrozenEncoder, Layers, chosen_rate
from hares.adapters._arrays import as_array
from hares.code_digest import code_digest
from hares.digests import combined_digest, library_versions, tree_digest

POOLINGS = ("mean", "max", "first")
POOLED = "pooled"
LAST = "last"
_LAYERS = ("encoder_layers", "num_hidden_layers")  # what configurations call their number


def load(location: str, options: EncoderOptions) -> FrozenEncoder:
    """The encoder of a model's folder. Raises ValueError where there is none, or it is not one of audio."""
    import torch

    spec, folder = f"transformers:{location}", Path(location)
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"encoder {spec!r}: no config.json in {location or '.'}; give the folder that save_pretrained wrote, or "
            "download the model into one first"
        )
    layer, pooling = _choice(options.output, spec)
    extractor, model = _loaded(location, spec)
    rate = getattr(extractor, "sampling_rate", None)
    if not isinstance(rate, int):
        raise ValueError(
            f"encoder {spec!r}: its feature extractor has no sampling_rate: is it a model of audio?"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = _Network(torch, extractor, model.to(device).eval(), rate, device)
    numbers = next((n for name in _LAYERS if isinstance(n := getattr(model.config, name, None), int)), 0)
    names = (*(str(number) for number in range(numbers + 1)), LAST)
    files = tree_digest(folder)

    def encoder_of(layer: str, pooling: str) -> FrozenEncoder:
        return FrozenEncoder(
            spec=spec,
            name=folder.resolve().name,
            sample_rate=chosen_rate(spec, rate, options),
            embedding_size=None,
            digest=combined_digest(
                kind="transformers", code=code_digest(__name__), files=files, output=[layer, pooling],
                versions=library_versions("transformers"),
            ),
            embed=lambda waveforms: network.embed(waveforms, ((layer, pooling),))[0],
            output=layer if layer == POOLED else f"{layer}:{pooling}",
            outputs=(LAST, *names[:-1], POOLED),
            details={"model": type(model).__name__, "device": device.type},
        )  # fmt: skip

    choices = tuple((name, pooling) for name in names)
    if (layer, pooling) not in choices:
        choices = (*choices, (layer, pooling))
    layers = Layers(tuple(encoder_of(*choice) for choice in choices), lambda w: network.embed(w, choices))
    return replace(encoder_of(layer, pooling), layers=layers if numbers else None)


class _Network:
    """A model and its feature extractor: waveforms in, the embeddings of some of its layers out."""

    def __init__(self, torch: Any, extractor: Any, model: Any, rate: int, device: Any) -> None:
        self._torch, self._extractor, self._model = torch, extractor, model
        self._rate, self._device = rate, device

    def embed(self, waveforms: np.ndarray, choices: Sequence[tuple[str, str]]) -> list[np.ndarray]:
        """Of waveforms (b, n) the embeddings (b, d) of each choice of layer and pooling, from one forward pass."""
        with self._torch.inference_mode():
            features = self._extractor(list(waveforms), sampling_rate=self._rate, return_tensors="pt")
            values = features[self._extractor.model_input_names[0]].to(self._device)
            found = self._model(values, output_hidden_states=True, return_dict=True)
        share = _share(self._extractor, waveforms.shape[1])
        return [self._chosen(found, layer, pooling, share) for layer, pooling in choices]

    def _chosen(self, found: Any, layer: str, pooling: str, share: float) -> np.ndarray:
        if layer == POOLED:
            if getattr(found, "pooler_output", None) is None:
                raise ValueError(
                    f"{type(self._model).__name__} has no pooled output; choose a layer with --output-name"
                )
            return as_array(found.pooler_output)
        states = found.hidden_states
        if layer != LAST and int(layer) >= len(states):
            raise ValueError(f"there is no layer {layer}; --output-name may be 0 to {len(states) - 1}")
        hidden = as_array(found.last_hidden_state if layer == LAST else states[int(layer)])
        return _pooled(_over_time(hidden), pooling, share)


def _loaded(location: str, spec: str) -> tuple[Any, Any]:
    """The feature extractor, and the model or the part of it that hears."""
    from transformers import AutoFeatureExtractor, AutoModel

    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        extractor = AutoFeatureExtractor.from_pretrained(location, **local)
        model = AutoModel.from_pretrained(location, **local)
    except Exception as error:  # transformers raises what its parts raise
        first = (str(error).strip().splitlines() or ["no message"])[0]
        raise ValueError(
            f"encoder {spec!r}: it cannot be loaded ({type(error).__name__}: {first}). It needs config.json, "
            "preprocessor_config.json and the weights of a model that transformers itself defines"
        ) from error
    if hasattr(model, "audio_model"):
        return extractor, model.audio_model
    return extractor, model.get_encoder() if model.config.is_encoder_decoder else model


def _choice(wanted: str | None, spec: str) -> tuple[str, str]:
    """Layer and pooling of `LAYER[:POOLING]`."""
    layer, _, pooling = (wanted or LAST).partition(":")
    pooling = pooling or POOLINGS[0]
    if (layer not in (LAST, POOLED) and not layer.isdecimal()) or pooling not in POOLINGS:
        raise ValueError(
            f"encoder {spec!r}: --output-name is {wanted!r}; expected LAYER[:POOLING], a number or {LAST}, with one of "
            f"{', '.join(POOLINGS)}; or {POOLED}"
        )
    return layer, pooling


def _over_time(hidden: np.ndarray) -> np.ndarray:
    """(b, t, d) as it is; maps (b, d, ...), as CLAP's network has them, to (b, t, d)."""
    return hidden if hidden.ndim == 3 else hidden.reshape(*hidden.shape[:2], -1).transpose(0, 2, 1)


def _share(extractor: Any, samples: int) -> float:
    """What part of the input is the crop, where the extractor fills it up to a fixed length."""
    padded = getattr(extractor, "n_samples", None)  # Whisper's
    return 1.0 if padded is None else min(1.0, samples / padded)


def _pooled(hidden: np.ndarray, pooling: str, share: float) -> np.ndarray:
    """(b, t, d) to (b, d), over the first `share` of the frames."""
    if pooling == "first":
        return hidden[:, 0]
    frames = hidden[:, : max(1, math.ceil(share * hidden.shape[1]))]
    return np.asarray(frames.max(axis=1) if pooling == "max" else frames.mean(axis=1), np.float32)
