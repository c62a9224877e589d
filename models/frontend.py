"""Log-mel front end: the one function that Transform, training, serving and evaluation share.

Paper, section 3: log-mel spectrograms with 80 features, window 25 ms, stride 10 ms, waveforms at 16 kHz.

What the paper leaves open, and what we chose:

- Periodic Hann window, FFT of 512 (the window zero-padded at its end), frames without padding of the clip, so
  `n` samples give `1 + (n - 400) // 160` frames.
- Magnitudes, not powers, and `log(mel + 1e-3)`: the convention of the AudioSet models VGGish and YAMNet. The
  floor sits just above what 16-bit quantisation noise leaves in a band (about 3e-4), and adding it is smooth,
  where a maximum would leave flat patches.
- Mel filters from 60 to 7800 Hz on the HTK scale, triangles in Hz with a peak of one, as in
  `librosa.filters.mel(htk=True, norm=None)`. `tf.signal.linear_to_mel_weight_matrix` draws its triangles in
  mel and so differs a little; we keep the one that users can reproduce outside TensorFlow.
- Every crop is standardised by its own mean and standard deviation over time and frequency.

Shapes: `b` batch, `n` samples, `t` frames, `f` mel bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import tensorflow as tf

STANDARDISE_EPSILON = 1e-5


@dataclass(frozen=True)
class FrontendConfig:
    """Settings of the front end; the defaults are the paper's, or our choice where it has none.

    Attributes:
        sample_rate: samples a second.
        window_length: samples of an analysis window (25 ms).
        hop_length: samples between windows (10 ms).
        fft_length: samples of the FFT; the window is zero-padded at its end.
        num_mel_bins: f.
        lower_edge_hertz: where the first triangle starts.
        upper_edge_hertz: where the last triangle ends.
        magnitude_power: exponent of the magnitudes before the mel filters (1 magnitude, 2 power).
        log_floor: added to each mel band before the natural logarithm.

    Raises:
        ValueError: the lengths or band edges cannot work, or a filter would be empty.
    """

    sample_rate: int = 16000
    window_length: int = 400
    hop_length: int = 160
    fft_length: int = 512
    num_mel_bins: int = 80
    lower_edge_hertz: float = 60.0
    upper_edge_hertz: float = 7800.0
    magnitude_power: float = 1.0
    log_floor: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.window_length <= self.fft_length or self.hop_length <= 0:
            raise ValueError(
                f"front end: window_length {self.window_length} must be in 1..fft_length ({self.fft_length}) "
                f"and hop_length {self.hop_length} be positive"
            )
        if not 0 <= self.lower_edge_hertz < self.upper_edge_hertz <= self.sample_rate / 2:
            raise ValueError(
                f"front end: mel band {self.lower_edge_hertz}-{self.upper_edge_hertz} Hz must lie within "
                f"0-{self.sample_rate / 2} Hz, half the sample rate"
            )
        if self.magnitude_power <= 0 or self.log_floor <= 0:
            raise ValueError(
                f"front end: magnitude_power {self.magnitude_power} and log_floor {self.log_floor} "
                "must be positive"
            )
        empty = np.flatnonzero(mel_matrix(self).sum(axis=0) == 0)
        if empty.size:
            raise ValueError(
                f"front end: mel filters {empty.tolist()} hold no FFT bin; use fewer than "
                f"{self.num_mel_bins} mel bins or an fft_length above {self.fft_length}"
            )

    def num_frames(self, num_samples: int) -> int:
        """Frames that `num_samples` samples give; 0 where they do not fill one window."""
        return max(0, 1 + (num_samples - self.window_length) // self.hop_length)

    def num_samples(self, num_frames: int) -> int:
        """The fewest samples that give `num_frames` frames (at least one frame)."""
        return self.window_length + (num_frames - 1) * self.hop_length


def mel_matrix(config: FrontendConfig) -> np.ndarray:
    """Triangular HTK mel filters, (fft_length // 2 + 1, f) float32, each with a peak of one."""
    lowest, highest = (
        2595.0 * np.log10(1.0 + hertz / 700.0) for hertz in (config.lower_edge_hertz, config.upper_edge_hertz)
    )
    edges = 700.0 * (10.0 ** (np.linspace(lowest, highest, config.num_mel_bins + 2) / 2595.0) - 1.0)
    bins = np.linspace(0.0, config.sample_rate / 2, config.fft_length // 2 + 1)[:, np.newaxis]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def log_mel(waveform: tf.Tensor, config: FrontendConfig) -> tf.Tensor:
    """Natural logarithm of the mel spectrogram, not yet standardised.

    Only graph operations that run under `tf.function`, TF Transform and XLA are used.

    Args:
        waveform: (b, n) or (n,) float32 in [-1, 1].
        config: the settings.

    Returns:
        (b, t, f) or (t, f) float32 with t = 1 + (n - window_length) // hop_length; static where n is.

    Raises:
        ValueError: n is known to be shorter than one window.
    """
    waveform = tf.cast(waveform, tf.float32)
    samples = waveform.shape[-1]
    if samples is not None and samples < config.window_length:
        raise ValueError(
            f"log_mel: {samples} samples do not fill one window of {config.window_length}; "
            "drop or pad shorter clips"
        )
    magnitudes = _magnitudes(waveform, config)
    if config.magnitude_power != 1.0:
        magnitudes = tf.pow(magnitudes, config.magnitude_power)
    mel = tf.concat(
        [
            tf.tensordot(magnitudes[..., first : first + len(filters)], tf.constant(filters), axes=1)
            for first, filters in _mel_bands(config)
        ],
        axis=-1,
    )
    return tf.math.log(mel + config.log_floor)


def _magnitudes(waveform: tf.Tensor, config: FrontendConfig) -> tf.Tensor:
    """(..., n) to the magnitudes (..., t, fft_length // 2 + 1), in as few passes over the frames as there can be."""
    beyond = config.fft_length - config.window_length
    phase = 2.0 * np.pi * np.arange(config.window_length) / config.window_length  # periodic
    window = np.pad(0.5 - 0.5 * np.cos(phase), (0, beyond)).astype(np.float32)
    padded = tf.pad(waveform, [[0, 0]] * (waveform.shape.rank - 1) + [[0, beyond]])
    spectrum = tf.signal.rfft(tf.signal.frame(padded, config.fft_length, config.hop_length) * window)
    # `tf.abs` of a complex number guards against overflow, and took 1.6 times as long as these.
    real, imaginary = tf.math.real(spectrum), tf.math.imag(spectrum)
    return tf.sqrt(real * real + imaginary * imaginary)


def _mel_bands(config: FrontendConfig) -> list[tuple[int, np.ndarray]]:
    """The mel filters in three groups of neighbours: each group's first FFT bin, and its filters (bins, filters).

    Filters are narrow: most of the whole matrix is zeros, and most of a group's is not.
    """
    matrix = mel_matrix(config)
    edges = (0, config.num_mel_bins // 2, config.num_mel_bins * 4 // 5, config.num_mel_bins)
    groups = [matrix[:, low:high] for low, high in pairwise(edges) if high > low]
    spans = [np.flatnonzero(group.any(axis=1)) for group in groups]
    return [(int(span[0]), group[span[0] : span[-1] + 1]) for span, group in zip(spans, groups, strict=True)]


def standardise(spectrogram: tf.Tensor) -> tf.Tensor:
    """Subtracts each example's mean over time and frequency and divides by its standard deviation.

    Args:
        spectrogram: (b, t, f) log-mel of any float type.

    Returns:
        (b, t, f) float32. A constant crop, such as digital silence, gives zeros to rounding: the variance has
        `STANDARDISE_EPSILON` added.
    """
    spectrogram = tf.cast(spectrogram, tf.float32)
    mean, variance = tf.nn.moments(spectrogram, axes=[-2, -1], keepdims=True)
    return (spectrogram - mean) * tf.math.rsqrt(variance + STANDARDISE_EPSILON)


def pcm16_to_float(pcm: tf.Tensor) -> tf.Tensor:
    """Decodes 16-bit little-endian PCM in the graph.

    Args:
        pcm: (b,) or () string; the clips of one call are equally long.

    Returns:
        (b, n) or (n,) float32 in [-1, 1).
    """
    return tf.cast(tf.io.decode_raw(pcm, tf.int16, little_endian=True), tf.float32) / 32768.0
