"""PANNs' CNN14 at 16 kHz, trained on AudioSet's labels: `Cnn14_16k_mAP=0.438.pth`.

Kong et al., "PANNs: large-scale pretrained audio neural networks for audio pattern recognition".

Its front end: windows of 512 samples, a hop of 160, powers, 64 bands from 50 to 8000 Hz, decibels. Its first
normalisation, of each band by running statistics, expects decibels, and our encoders are fed log-mels that are
standardised clip by clip. So a standardised clip is taken to have the mean and deviation that those statistics tell
of AudioSet, and the statistics are carried over to that scale. What differs from PANNs' own front end, and so moves
scores, is in `docs/published_weights.md`.
"""

from __future__ import annotations

import numpy as np

from models.frontend import FrontendConfig
from models.import_weights import Arrays, PublishedSource
from models.published._torch_names import to_canonical, without

FRONTEND = FrontendConfig(
    window_length=512,
    hop_length=160,
    fft_length=512,
    num_mel_bins=64,
    lower_edge_hertz=50.0,
    upper_edge_hertz=8000.0,
    magnitude_power=2.0,
    log_floor=1e-10,
)
NOT_THE_ENCODER = ("spectrogram_extractor", "logmel_extractor", "fc_audioset")
MEAN, VARIANCE = "bn0/moving_mean", "bn0/moving_variance"


def convert(tensors: Arrays) -> dict[str, np.ndarray]:
    """PANNs' state, its first statistics for standardised clips."""
    arrays = to_canonical(without(tensors, NOT_THE_ENCODER))
    if {MEAN, VARIANCE} <= arrays.keys():
        arrays[MEAN], arrays[VARIANCE] = standardised_statistics(arrays[MEAN], arrays[VARIANCE])
    return arrays


def standardised_statistics(mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Statistics of the bands (f,) after the mean and deviation over all bands are taken off.

    With x = deviation * z + centre, (x - mean) / sqrt(variance) is the same function of z.
    """
    centre = mean.mean()
    whole = variance.mean() + mean.var()  # within the bands, and between them
    return (mean - centre) / np.sqrt(whole), variance / whole


SOURCE = PublishedSource(
    name="panns",
    encoders=("cnn14",),
    citation="Kong et al., PANNs, Cnn14_16k trained on AudioSet; zenodo.org/record/3987831",
    frontend=FRONTEND,
    convert=convert,
)
