"""What an encoder is, and how one is found by name.

One encoder family is one module in `models/encoders/`; it exposes `ENCODERS`, a mapping of encoder names to
`EncoderRecord`. The module of an encoder is the one whose name is the longest prefix of the encoder's name
(`sf_nfnet` holds `sf_nfnet_f0` and `sf_nfnet_tiny`), so adding an encoder touches no other file. An encoder may also
stand in a file of the user's own, loaded as a plugin (`models/plugin.py`).

Shapes: `b` batch, `t` frames, `f` mel bins, `n` samples, `d` embedding.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from models.frontend import FrontendConfig
from models.loaded_plugins import plugin_module_with_encoder, plugin_modules


class Encoder(tf.keras.Model):
    """Base of all encoders.

    `encoder(inputs, training=False, noise=None)` returns a dict with at least `"embedding"`: (b, d) float32.
    Inputs are standardised log-mel (b, t, f, 1), or waveforms (b, n), as the record says.

    Attributes:
        noise_size: uniform numbers in [0, 1) that one example needs in training (stochastic depth and the
            like). In training the caller passes `noise` (b, noise_size), so that what is drawn is a pure
            function of (seed, step, example), whatever the number of replicas. 0: none are needed.
    """

    noise_size: int = 0

    def folded(self) -> Encoder:
        """The same function for inference, with weight reparametrisations folded into constants."""
        return self


@dataclass(frozen=True)
class EncoderRecord:
    """One encoder: what goes in, what comes out, and the function that builds it.

    Attributes:
        name: the name a config uses.
        input_kind: "log_mel" (b, t, f, 1) or "waveform" (b, n).
        embedding_size: d.
        parameters: trainable parameters without any head, stated so that a test can hold them.
        build: makes the encoder with fresh weights from a seed.
        batch_normalised: whether batch normalisation in training lets a clip see its neighbours in the batch. Where
            it is False, a clip's embedding depends on that clip alone, in training too.
        mel_bins: mel bins that `parameters` is counted at. It matters only where the shapes of weights depend on
            their number, which such an encoder takes from its first input.
        frames: what can be learnt from its single frames, beside its embedding: "causal" where it has
            `latents(inputs)` and `contexts(latents)`, forward and backward; "masked" where it has `latents`,
            `normalised(latents)` and `contextualise(normalised, training, noise, mask)`; else "".
        latent_size: channels of its latent frames; 0 without them.
    """

    name: str
    input_kind: Literal["log_mel", "waveform"]
    embedding_size: int
    parameters: int
    build: Callable[[int], Encoder]
    batch_normalised: bool = False
    mel_bins: int = 80
    frames: Literal["", "causal", "masked"] = ""
    latent_size: int = 0


def _module_names() -> list[str]:
    package = importlib.import_module("models.encoders")
    return [info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_")]


def encoder_module_name(name: str) -> str:
    """Import path of the module that defines encoder `name`.

    Raises:
        ValueError: no module defines it; the message lists the encoders there are.
    """
    own = plugin_module_with_encoder(name)
    if own is not None:
        return own
    prefixes = [m for m in _module_names() if name == m or name.startswith(f"{m}_")]
    if prefixes:
        return f"models.encoders.{max(prefixes, key=len)}"
    raise ValueError(f"unknown encoder {name!r}; there are {', '.join(encoder_names())}")


def encoder_names() -> tuple[str, ...]:
    """Names of all encoders, plugins' included, sorted. Imports every encoder module."""
    modules = [importlib.import_module(f"models.encoders.{m}") for m in _module_names()]
    modules += plugin_modules()
    return tuple(sorted(name for module in modules for name in getattr(module, "ENCODERS", {})))


def load_encoder(name: str) -> EncoderRecord:
    """The record of encoder `name`. Raises ValueError as `encoder_module_name` does."""
    records: dict[str, EncoderRecord] = importlib.import_module(encoder_module_name(name)).ENCODERS
    if name not in records:
        raise ValueError(f"unknown encoder {name!r}; there are {', '.join(encoder_names())}")
    return records[name]


def built_encoder(record: EncoderRecord, frontend: FrontendConfig, seed: int) -> Encoder:
    """An encoder with fresh weights, its variables made, as Keras does at the first call."""
    second = frontend.sample_rate
    log_mel = (frontend.num_frames(second), frontend.num_mel_bins)
    return built_for(record, log_mel if record.input_kind == "log_mel" else (second,), seed)


def built_for(record: EncoderRecord, crop_shape: tuple[int, ...], seed: int) -> Encoder:
    """As `built_encoder`, called with a crop of this shape: (t, f) of a log-mel, (n,) of a waveform."""
    encoder = record.build(seed)
    channel = (1,) if record.input_kind == "log_mel" else ()
    encoder(tf.zeros((1, *crop_shape, *channel)), training=False)
    return encoder
