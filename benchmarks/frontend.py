"""Speed of the log-mel front end against librosa and scipy, one thread each.

    python -m benchmarks.frontend

The contenders take turns, so that a slow spell of the machine touches all of them alike; medians are compared.
All make the same 80 mel bins from the same 3 s clips (checked before timing). Ours is timed a clip at a time, as TF
Transform runs it and librosa works, and with all clips in one call, as an export does and scipy.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

# One thread for whichever numerical library the contenders use; read when they are imported.
os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"})

import librosa
import numpy as np
import scipy.fft
import scipy.signal
import tensorflow as tf

from models.frontend import FrontendConfig, log_mel, mel_matrix


def contenders(config: FrontendConfig, clips: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """Functions from nothing to (b, t, f), all for the same `clips` (b, n)."""
    whole = tf.function(lambda batch: log_mel(batch, config))
    singly = tf.function(lambda batch: tf.map_fn(lambda clip: log_mel(clip, config), batch))
    waveforms = tf.constant(clips)
    window = scipy.signal.get_window("hann", config.window_length).astype(np.float32)
    filters = mel_matrix(config)
    pad = (config.fft_length - config.window_length) // 2

    def clip_by_clip() -> np.ndarray:
        return singly(waveforms).numpy()

    def in_one_call() -> np.ndarray:
        return whole(waveforms).numpy()

    def with_librosa() -> np.ndarray:
        mels = [
            librosa.feature.melspectrogram(
                y=np.pad(clip, pad),
                sr=config.sample_rate,
                n_fft=config.fft_length,
                win_length=config.window_length,
                hop_length=config.hop_length,
                center=False,
                power=config.magnitude_power,
                n_mels=config.num_mel_bins,
                fmin=config.lower_edge_hertz,
                fmax=config.upper_edge_hertz,
                htk=True,
                norm=None,
            )
            for clip in clips
        ]
        return np.log(np.stack(mels) + config.log_floor).transpose(0, 2, 1)

    def with_scipy() -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(clips, config.window_length, axis=1)
        spectrum = scipy.fft.rfft(windows[:, :: config.hop_length] * window, config.fft_length, workers=1)
        return np.log(np.abs(spectrum) @ filters + config.log_floor)

    return {
        "clip by clip": clip_by_clip,
        "in one call": in_one_call,
        "librosa": with_librosa,
        "scipy": with_scipy,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=64, help="clips of 3 s in a batch")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contender")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    config = FrontendConfig()
    clips = np.random.default_rng(0).uniform(-0.5, 0.5, (arguments.clips, 3 * config.sample_rate))
    functions = contenders(config, clips.astype(np.float32))
    outputs = {name: function() for name, function in functions.items()}  # also warms up
    for name, output in outputs.items():
        np.testing.assert_allclose(output, outputs["clip by clip"], atol=1e-3, err_msg=name)

    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(arguments.rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)

    print(f"{'':14}{'clips/s':>10}{'time / clip by clip':>22}{'time / in one call':>22}")
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in middle.items():
        ratios = "".join(f"{median / middle[ours]:22.2f}" for ours in ("clip by clip", "in one call"))
        print(f"{name:14}{arguments.clips / median:10.0f}{ratios}")


if __name__ == "__main__":
    main()
