"""A picture of a clip: its log-mel spectrogram as a small PNG, for the report's worst mistakes.

25 ms windows, at most 300 columns, 64 mel bins up to 8 kHz, 80 dB below the loudest cell. It shows a person
what was heard; no encoder sees it (their front end is `models/frontend.py`).
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from hares.task import SAMPLE_RATE

WINDOW = 400
FFT_LENGTH = 1_024
MEL_BINS = 64
MOST_COLUMNS = 300
RANGE_DB = 80.0
SHADES = 24  # a telling picture in a third of the bytes
_STOPS = np.array([[0, 0, 4], [65, 15, 110], [160, 45, 95], [230, 95, 40], [250, 190, 70], [252, 255, 200]])


def spectrogram_png(waveform: np.ndarray) -> bytes:
    """The picture of a clip: (n,) int16 at 16 kHz to a PNG of 64 rows, low frequencies at the bottom."""
    samples = np.pad(waveform.astype(np.float32) / 32768, (0, max(0, WINDOW - waveform.size)))
    hop = max(160, -(-(samples.size - WINDOW) // (MOST_COLUMNS - 1)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), FFT_LENGTH)) ** 2
    decibels = 10 * np.log10(np.maximum(power @ _mel_filters(), 1e-10))
    level = np.clip((decibels - decibels.max()) / RANGE_DB + 1, 0, 1).T[::-1]
    picture = Image.fromarray((level * (SHADES - 1)).round().astype(np.uint8))
    places = np.linspace(0, len(_STOPS) - 1, SHADES)
    colours = np.stack([np.interp(places, np.arange(len(_STOPS)), _STOPS[:, c]) for c in range(3)], axis=-1)
    picture.putpalette(colours.round().astype(np.uint8).ravel().tolist())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _mel_filters() -> np.ndarray:
    """Triangles (FFT_LENGTH // 2 + 1, MEL_BINS) on the HTK mel scale, 0 to 8 kHz, each with a peak of one."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, MEL_BINS + 2) / 2595) - 1)
    bins = np.linspace(0, SAMPLE_RATE / 2, FFT_LENGTH // 2 + 1)[:, np.newaxis]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))
