"""`log_mel`: the floor. Mean and standard deviation over time of each log-mel band, 160 numbers and no weights.

What an encoder scores above this, it has learned. The bands are those of the project's front end (16 kHz, window
25 ms, hop 10 ms, FFT 512, 80 triangles of peak one from 60 to 7800 Hz on the HTK scale, log of the magnitude plus
1e-3), computed with numpy so that the benchmark stands without the models; not standardised, since loudness is
part of a floor.
"""

from __future__ import annotations

import functools

import numpy as np

from hares.adapters import EncoderOptions, FrozenEncoder, chosen_rate
from hares.code_digest import code_digest
from hares.task import SAMPLE_RATE

WINDOW, HOP, FFT = 400, 160, 512
BANDS = 80
LOWEST_HERTZ, HIGHEST_HERTZ = 60.0, 7800.0
FLOOR = 1e-3


def load(location: str, options: EncoderOptions) -> FrozenEncoder:
    """The floor. Raises ValueError where it is given a location or another sample rate."""
    if location:
        raise ValueError(f"encoder 'log_mel:{location}': log_mel has no location; give log_mel alone")
    if options.output is not None:
        raise ValueError("encoder 'log_mel': it has one output. Leave --output-name out")
    return FrozenEncoder(
        spec="log_mel",
        name="log_mel",
        sample_rate=chosen_rate("log_mel", SAMPLE_RATE, options),
        embedding_size=2 * BANDS,
        digest=code_digest(__name__),
        embed=embed,
    )


def embed(waveforms: np.ndarray) -> np.ndarray:
    """(b, n) float32 at 16 kHz, n >= 400, to (b, 160) float32: the means of the bands, then the deviations."""
    return np.stack([_statistics(log_mel(waveform)) for waveform in waveforms])


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """(n,) float32 to (t, 80) float32, t = 1 + (n - 400) // 160; frames are not padded."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    magnitudes = np.abs(np.fft.rfft(frames * hann, FFT))
    return np.log(magnitudes @ _filters() + FLOOR).astype(np.float32)


def _statistics(spectrogram: np.ndarray) -> np.ndarray:
    return np.concatenate([spectrogram.mean(axis=0), spectrogram.std(axis=0)])


@functools.cache
def _filters() -> np.ndarray:
    """(257, 80): triangles in Hz between edges that are equally spaced on the HTK mel scale."""
    lowest, highest = (2595.0 * np.log10(1.0 + hertz / 700.0) for hertz in (LOWEST_HERTZ, HIGHEST_HERTZ))
    edges = 700.0 * (10.0 ** (np.linspace(lowest, highest, BANDS + 2) / 2595.0) - 1.0)
    hertz = np.linspace(0.0, SAMPLE_RATE / 2, FFT // 2 + 1)[:, np.newaxis]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling))
