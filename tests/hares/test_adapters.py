"""All kinds of adapters: the list of them, the floor, how crops reach an encoder, and no output guessed."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import soxr
import tensorflow as tf

from hares.adapters import FrozenEncoder, adapter_kinds, encode_crops, load_adapter
from hares.adapters._arrays import EMBEDDING_NAMES, choose_output
from kits.three_features import WAVES
from models.frontend import FrontendConfig, log_mel

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "spec,message",
    [
        (
            "wav2vec:large",
            "no kind is called 'wav2vec'; a spec is KIND:LOCATION with one of hear, hub, jax, keras, log_mel",
        ),
        ("saved_model:/nowhere", "no saved_model.pb in /nowhere"),
        ("hub:/nowhere", "no saved_model.pb in /nowhere"),
        ("tflite:/nowhere", "no file '/nowhere'"),
        ("hear:no_such_module_anywhere", "cannot be imported"),
        ("python:math", "give python:MODULE:FACTORY"),
        ("python:math:pi", "has no function 'pi'"),
        ("python:hares.task:task_names", "gave a tuple without sample_rate"),
        ("log_mel:x", "log_mel has no location"),
    ],
)
def test_specs_that_name_nothing(spec, message):
    with pytest.raises(ValueError, match=message):
        load_adapter(spec)


def test_kinds_are_the_modules():
    assert adapter_kinds() == (
        *(
            "hear",
            "hub",
            "jax",
            "keras",
            "log_mel",
            "mteb",
            "onnx",
            "python",
            "run",
            "saved_model",
            "tflite",
            "torch",
        ),
        "transformers",
    )


def test_log_mel_is_the_front_end_of_the_models():
    from hares.adapters import log_mel as floor

    ours = log_mel(tf.constant(WAVES), FrontendConfig()).numpy()
    # Near the floor of 1e-3, rounding of float32 spectra shows; ours here are computed in float64.
    np.testing.assert_allclose(np.stack([floor.log_mel(w) for w in WAVES]), ours, atol=1e-2)
    mel = librosa.feature.melspectrogram(
        y=WAVES[0], sr=16_000, n_fft=512, win_length=400, hop_length=160, center=False, power=1.0, n_mels=80,
        fmin=60, fmax=7800, htk=True, norm=None, pad_mode="constant",
    )  # fmt: skip
    # librosa centres the window in its FFT frame, and so shifts it by 56 samples: noise's statistics agree.
    expected = np.concatenate([np.log(mel + 1e-3).mean(1), np.log(mel + 1e-3).std(1)])
    assert np.corrcoef(floor.embed(WAVES[:1])[0], expected)[0, 1] > 0.995


def recorder(rate: int, samples: int | None):
    seen = []

    def embed(waveforms):
        seen.append(waveforms)
        return waveforms[:, :2]

    return seen, FrozenEncoder("x", "x", rate, None, "", embed, input_samples=samples)


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_crops_reach_an_encoder_at_its_own_rate(rate):
    seen, encoder = recorder(rate, None)
    encode_crops(encoder)(WAVES)
    assert seen[0].shape == (4, rate) and seen[0].dtype == np.float32
    alone = soxr.resample(WAVES[1], 16_000, rate, quality="HQ")
    np.testing.assert_allclose(seen[0][1, : alone.size], alone[:rate], atol=1e-6)


@pytest.mark.parametrize(
    "length,starts",
    [(20_000, [0]), (16_000, [0]), (8_000, [0, 8_000]), (6_000, [0, 6_000, 10_000]), (7_000, [0, 7_000])],
)
def test_fixed_lengths(length, starts):
    seen, encoder = recorder(16_000, length)
    result = encode_crops(encoder)(WAVES)
    padded = np.pad(WAVES, ((0, 0), (0, max(0, length - 16_000))))
    expected = [padded[:, s : s + length] for s in starts]
    np.testing.assert_array_equal(np.stack(seen), np.stack(expected))
    np.testing.assert_allclose(result, np.mean([window[:, :2] for window in expected], axis=0), atol=1e-7)


def shapes(*names: str) -> dict[str, np.ndarray]:
    return {name: np.zeros((4, number + 2)) for number, name in enumerate(names)}


@pytest.mark.parametrize("name", EMBEDDING_NAMES)
def test_a_name_of_an_embedding_is_a_choice(name):
    assert choose_output(shapes("a", name, "z"), None, "x") == name
    assert choose_output(shapes("a", name, "z"), "z", "x") == "z"


@pytest.mark.parametrize(
    "outputs,name",
    [
        (("output_0", "output_1", "output_2"), None),
        (("output_0", "scores"), None),
        (("0", "1"), None),
        (("pooled_output", "default"), None),
        (("a", "b"), "c"),
        (("only",), "other"),
    ],
)
def test_no_output_is_guessed(outputs, name):
    with pytest.raises(ValueError, match=rf"{outputs[0]} \(4, 2\).*Choose one with --output-name"):
        choose_output(shapes(*outputs), name, "x")


def test_an_only_output_and_the_embedding_among_others_are_no_guess():
    assert choose_output(shapes("output_0"), None, "x") == "output_0"
    assert choose_output(shapes("embedding", "pooled_output"), None, "x") == "embedding"
