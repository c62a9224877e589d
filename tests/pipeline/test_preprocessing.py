"""What the export reads of PCM through a Transform graph is what the encoder was trained on."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import tensorflow as tf

from models.frontend import FrontendConfig
from pipeline.preprocessing import Pcm16ToLogMel, Pcm16ToWaveform, preprocessing_fn

pytestmark = pytest.mark.slow

SAMPLES = np.array([[0, 16384, -32768, 1], [32767, -1, 256, -256]], "<i2")


def transform_layer(input_kind, frontend):
    """Stands in for the saved Transform graph: the same function, not yet saved."""

    def layer(features):
        filled = {name: tf.constant([b""]) for name in ("clip_id", "label", "group")}
        config = {"frontend": vars(frontend), "input_kind": input_kind}
        return preprocessing_fn({**filled, **features}, config)

    return layer


def test_pcm_to_waveform_is_a_fraction_of_full_scale():
    pcm = tf.constant([row.tobytes() for row in SAMPLES])
    waveform = Pcm16ToWaveform(transform_layer("waveform", FrontendConfig()))(pcm).numpy()
    assert waveform.dtype == np.float32
    np.testing.assert_array_equal(waveform, SAMPLES / 32768)


def test_pcm_to_log_mel_is_librosas_within_float16():
    frontend = FrontendConfig()
    noise = np.random.default_rng(0).standard_normal((2, 16000))
    samples = (noise * 3000).astype("<i2")
    pcm = tf.constant([row.tobytes() for row in samples])
    found = Pcm16ToLogMel(transform_layer("log_mel", frontend), frontend.num_mel_bins)(pcm).numpy()
    # The window is shorter than the FFT and librosa centres it.
    pad = (frontend.fft_length - frontend.window_length) // 2
    mel = librosa.feature.melspectrogram(
        y=np.pad(samples[1] / 32768.0, pad), sr=frontend.sample_rate, n_fft=frontend.fft_length,
        win_length=frontend.window_length, hop_length=frontend.hop_length, window="hann", center=False,
        power=1.0, n_mels=80, fmin=60.0, fmax=7800.0, htk=True, norm=None,
    )  # fmt: skip
    assert found.shape == (2, 98, 80)
    np.testing.assert_allclose(found[1], np.log(mel + 1e-3).T, atol=2e-3)


def test_an_unknown_frontend_setting_is_refused():
    with pytest.raises(TypeError, match="num_mel_bin"):
        preprocessing_fn(
            {name: tf.constant([b""]) for name in ("clip_id", "label", "group", "waveform")},
            {"frontend": {"num_mel_bin": 80}, "input_kind": "log_mel"},
        )
