"""wav2vec 2.0 Base in the format of Hugging Face's transformers: `model.safetensors` or `pytorch_model.bin`.

Baevski et al., "wav2vec 2.0: a framework for self-supervised learning of speech representations". Pretrained and
fine-tuned checkpoints are read alike; their quantiser and heads are left out. The encoder's
variables have the names of that state, and its tensors with their axes in reverse order.

Weight normalisation has two spellings, of older and newer versions of PyTorch; both are read.
"""

from __future__ import annotations

import numpy as np

from models.frontend import FrontendConfig
from models.import_weights import Arrays, PublishedSource
from models.published._torch_names import without

PREFIX = "wav2vec2."
NOT_THE_ENCODER = ("quantizer", "project_hid", "project_q", "lm_head", "dropout_features")
OLD_SPELLINGS = {
    "conv.weight_g": "conv.parametrizations.weight.original0",
    "conv.weight_v": "conv.parametrizations.weight.original1",
}


def convert(tensors: Arrays) -> dict[str, np.ndarray]:
    """Hugging Face's state, with or without the prefix of its models with heads."""
    arrays = {}
    for name, tensor in without(tensors, NOT_THE_ENCODER).items():
        name = name.removeprefix(PREFIX)
        for old, new in OLD_SPELLINGS.items():
            name = name.replace(old, new)
        arrays[name] = np.transpose(tensor)
    return arrays


SOURCE = PublishedSource(
    name="wav2vec2",
    encoders=("wav2vec2",),
    citation="Baevski et al., wav2vec 2.0 Base; huggingface.co/facebook/wav2vec2-base",
    frontend=FrontendConfig(),
    convert=convert,
)
