"""X-ARES: an encoder of any SPEC with the interface that its runner asks for.

    # my_encoder.py, for `python -m xares.run --... my_encoder.py src/tasks/*.py`
    from hares.exchange.xares import encoder_of

    def MyEncoder():
        return encoder_of("saved_model:W/pushed/1")

X-ARES wants embeddings in time (b, t, d). Ours are of whole clips: a window of one second around each half second, the
sound padded with zeros by half a window at both ends, as `models.hear` does. Its own trainer averages over time.

Shapes: `b` batch, `n` samples, `t` windows, `d` embedding.
"""

from __future__ import annotations

import numpy as np
import torch

from hares.adapters import EncoderOptions, FrozenEncoder, encode_crops, load_adapter
from hares.task import SAMPLE_RATE

WINDOW, HOP = SAMPLE_RATE, SAMPLE_RATE // 2


class HaresEncoder(torch.nn.Module):
    """An encoder of ours with X-ARES' interface.

    Attributes:
        sampling_rate: of the audio, in Hz.
        output_dim: d.
        hop_size_in_ms: between two embeddings.
    """

    def __init__(self, encoder: FrozenEncoder) -> None:
        super().__init__()
        self._encode = encode_crops(encoder)
        self.sampling_rate = SAMPLE_RATE
        self.hop_size_in_ms = 1000 * HOP // SAMPLE_RATE
        self.output_dim = self._encode(np.zeros((1, WINDOW), np.float32)).shape[1]

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Audio (b, n) or (n,) in [-1, 1] to embeddings (b, t, d), t = 1 + n // hop, on the audio's device."""
        waveforms = np.atleast_2d(audio.detach().cpu().numpy().astype(np.float32))
        padded = np.pad(waveforms, ((0, 0), (WINDOW // 2, WINDOW)))
        starts = range(0, (1 + waveforms.shape[1] // HOP) * HOP, HOP)
        found = [self._encode(np.ascontiguousarray(padded[:, start : start + WINDOW])) for start in starts]
        return torch.from_numpy(np.stack(found, axis=1)).to(audio.device)


def encoder_of(spec: str | FrozenEncoder, options: EncoderOptions | None = None) -> HaresEncoder:
    """The encoder of a SPEC, for X-ARES. Raises ValueError as `hares.adapters.load_adapter`."""
    return HaresEncoder(load_adapter(spec, options) if isinstance(spec, str) else spec)
