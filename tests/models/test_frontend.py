"""The front end against librosa, and its behaviour in graphs and at the edges."""

from __future__ import annotations

import dataclasses

import librosa
import numpy as np
import pytest
import soundfile
import tensorflow as tf

from models.frontend import FrontendConfig, log_mel, mel_matrix, pcm16_to_float, standardise

CONFIG = FrontendConfig()


def librosa_log_mel(waveform: np.ndarray, config: FrontendConfig) -> np.ndarray:
    # librosa centres the 400-sample window in its 512-sample frame; padding lines the windows up.
    pad = (config.fft_length - config.window_length) // 2
    mel = librosa.feature.melspectrogram(
        y=np.pad(waveform, pad).astype(np.float64),
        sr=config.sample_rate,
        n_fft=config.fft_length,
        win_length=config.window_length,
        hop_length=config.hop_length,
        window="hann",
        center=False,
        power=config.magnitude_power,
        n_mels=config.num_mel_bins,
        fmin=config.lower_edge_hertz,
        fmax=config.upper_edge_hertz,
        htk=True,
        norm=None,
    )
    return np.log(mel + config.log_floor).T


@pytest.mark.parametrize(
    "changes",
    [{}, {"num_mel_bins": 64, "magnitude_power": 2.0}, {"num_mel_bins": 128, "fft_length": 1024}],
    ids=["default", "power64", "mels128"],
)
@pytest.mark.parametrize("samples", [400, 15999, 16000, 48000])
def test_log_mel_equals_librosa(changes: dict, samples: int) -> None:
    config = dataclasses.replace(CONFIG, **changes)
    noise = np.random.default_rng(samples).standard_normal(samples)
    waveform = (0.1 * noise).astype(np.float32)
    ours = log_mel(waveform[np.newaxis], config)
    assert ours.shape == (1, 1 + (samples - 400) // 160, config.num_mel_bins)
    np.testing.assert_allclose(ours[0], librosa_log_mel(waveform, config), atol=1e-4)


def test_log_mel_equals_librosa_on_a_recording(shared_corpus) -> None:
    path = sorted((shared_corpus / "esc50" / "audio").glob("*.wav"))[0]
    pcm, rate = soundfile.read(path, dtype="int16")
    waveform = librosa.resample(pcm / 32768.0, orig_sr=rate, target_sr=16000).astype(np.float32)
    np.testing.assert_allclose(log_mel(waveform, CONFIG), librosa_log_mel(waveform, CONFIG), atol=1e-4)


def test_mel_filters_equal_librosa() -> None:
    theirs = librosa.filters.mel(sr=16000, n_fft=512, n_mels=80, fmin=60, fmax=7800, htk=True, norm=None)
    np.testing.assert_allclose(mel_matrix(CONFIG), theirs.T, atol=1e-6)


def test_one_clip_and_a_batch_agree_in_eager_and_graph() -> None:
    waveform = np.random.default_rng(0).uniform(-1, 1, (3, 4000)).astype(np.float32)
    dynamic = tf.function(lambda x: log_mel(x, CONFIG), input_signature=[tf.TensorSpec([None, None])])
    batch = log_mel(waveform, CONFIG)
    np.testing.assert_allclose(dynamic(waveform), batch, atol=1e-5)
    np.testing.assert_allclose(log_mel(waveform[1], CONFIG), batch[1], atol=1e-5)


def test_static_shapes_are_kept_and_dynamic_ones_allowed() -> None:
    spec = tf.function(lambda x: log_mel(x, CONFIG)).get_concrete_function(tf.TensorSpec([None, 48000]))
    assert spec.output_shapes.as_list() == [None, 298, 80]
    assert CONFIG.num_frames(48000) == 298
    assert CONFIG.num_frames(CONFIG.num_samples(298)) == 298
    assert CONFIG.num_frames(399) == 0


def test_standardise_gives_zero_mean_and_unit_deviation_per_example() -> None:
    rng = np.random.default_rng(1)
    scale = np.array([0.3, 2.0])[:, None, None]
    x = (rng.standard_normal((2, 50, 80)) * scale - 5).astype(np.float16)
    y = standardise(x).numpy()
    np.testing.assert_allclose(y.mean(axis=(1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(y.std(axis=(1, 2)), 1, atol=1e-3)


def test_silence_is_finite_and_small() -> None:
    y = standardise(log_mel(np.zeros((1, 16000), np.float32), CONFIG)).numpy()
    assert np.abs(y).max() < 1e-2


def test_pcm_is_little_endian_and_reaches_minus_one() -> None:
    pcm = np.array([[-32768, 0, 16384, 32767]], "<i2")
    np.testing.assert_array_equal(
        pcm16_to_float([clip.tobytes() for clip in pcm]), [[-1.0, 0.0, 0.5, 32767 / 32768]]
    )


def test_errors_name_the_cause() -> None:
    with pytest.raises(ValueError, match="399 samples do not fill one window of 400"):
        log_mel(np.zeros((1, 399), np.float32), CONFIG)
    with pytest.raises(ValueError, match="half the sample rate"):
        FrontendConfig(upper_edge_hertz=9000)
    with pytest.raises(ValueError, match="hold no FFT bin"):
        FrontendConfig(num_mel_bins=200)
    with pytest.raises(ValueError, match="window_length 800"):
        FrontendConfig(window_length=800)
    with pytest.raises(ValueError, match="log_floor 0"):
        FrontendConfig(log_floor=0)
