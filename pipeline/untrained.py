"""`untrained:NAME`: an encoder of ours or of a plugin with fresh weights, for `hares evaluate`.

Its score shows what the architecture is worth without training: the floor of every pretrained score, and a check that a
new encoder works in the benchmark before hours are spent on it. It uses the pipeline's front end.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from hares.adapters import EncoderOptions, FrozenEncoder, chosen_rate
from hares.code_digest import code_digest
from hares.digests import combined_digest, library_versions
from hares.plugin import Plugin
from models.encoder import encoder_module_name, load_encoder
from models.frontend import FrontendConfig, log_mel, standardise
from models.loaded_plugins import PREFIX
from models.weights import weights_digest

KIND = "untrained"


def load_untrained(
    spec: str, options: EncoderOptions, seed: int, plugins: tuple[Plugin, ...]
) -> FrozenEncoder:
    """The encoder of `untrained:NAME`.

    Args:
        spec: the text `untrained:NAME`.
        options: the sample rate may be given, the output may not.
        seed: decides the weights.
        plugins: those that are loaded; their code is part of the digest.

    Raises:
        ValueError: no encoder has this name, or an option does not fit.
    """
    _, _, name = spec.partition(":")
    record = load_encoder(name)
    frontend = FrontendConfig()
    if options.output is not None:
        raise ValueError(f"encoder {spec!r}: it has one embedding. Leave --output-name out")
    encoder = record.build(seed)

    @tf.function(reduce_retracing=True)
    def embedding(waveforms: tf.Tensor) -> tf.Tensor:
        inputs = waveforms
        if record.input_kind == "log_mel":
            inputs = standardise(log_mel(waveforms, frontend))[..., tf.newaxis]
        return tf.cast(encoder(inputs, training=False)["embedding"], tf.float32)

    def embed(waveforms: np.ndarray) -> np.ndarray:
        return embedding(tf.constant(waveforms, tf.float32)).numpy()

    embed(
        np.zeros((1, frontend.sample_rate), np.float32)
    )  # makes the weights, whose digest is asked for below
    module = encoder_module_name(name)
    ours = () if module.startswith(PREFIX) else (module,)
    return FrozenEncoder(
        spec=spec,
        name=f"{name}, untrained",
        sample_rate=chosen_rate(spec, frontend.sample_rate, options),
        embedding_size=record.embedding_size,
        digest=combined_digest(
            kind=KIND,
            weights=weights_digest(encoder),
            code=code_digest(
                __name__, *ours, plugins=[(Path(plugin.path), plugin.digest) for plugin in plugins]
            ),
            versions=library_versions(),
        ),
        embed=embed,
        details={
            "parameters": record.parameters,
            "seed": seed,
            "plugins": [{"path": plugin.path, "digest": plugin.digest} for plugin in plugins],
        },
    )
