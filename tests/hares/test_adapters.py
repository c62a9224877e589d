"""Adapters on small models made here: every kind gives the embeddings that numpy computes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import soxr
import tensorflow as tf

from hares.adapters import EncoderOptions, FrozenEncoder, adapter_kinds, encode_crops, load_adapter
from hares.adapters._arrays import EMBEDDING_NAMES, choose_output
from hares.preflight import synthetic_crops
from models.encoder import load_encoder as build_encoder
from models.export import export_saved_model
from models.frontend import FrontendConfig, log_mel

pytestmark = pytest.mark.slow

WAVES = synthetic_crops(1.0)


def features(waveforms: np.ndarray) -> np.ndarray:
    """Three numbers a waveform, which every model below computes too."""
    return np.stack(
        [waveforms.mean(1), np.abs(waveforms).mean(1), np.square(waveforms).mean(1)], axis=1
    ).astype(np.float32)


def tf_features(waveforms):
    parts = [tf.reduce_mean(f(waveforms), axis=-1) for f in (tf.identity, tf.abs, tf.square)]
    return tf.stack(parts, axis=-1)


class Features(tf.Module):
    """A model that can be saved with any input and output form."""

    def __init__(self, function, spec):
        super().__init__()
        self.call = tf.function(function, input_signature=spec)

    def save(self, folder: Path) -> str:
        tf.saved_model.save(self, str(folder), signatures={"serving_default": self.call})
        return str(folder)


def saved(folder: Path, function, shape, dtype=tf.float32) -> str:
    return Features(function, [tf.TensorSpec(shape, dtype, name="sound")]).save(folder)


def callable_module(folder: Path, function, *spec) -> str:
    module = tf.Module()
    module.__call__ = tf.function(function, input_signature=spec)
    tf.saved_model.save(module, str(folder))
    return str(folder)


@pytest.mark.parametrize(
    "shape,output",
    [
        ([None, None], lambda x: {"embedding": tf_features(x), "scores": x}),
        ([None, None], lambda x: {"anything": tf_features(x)}),
        ([None, 16000], lambda x: {"embedding": tf_features(x)}),
        ([1, None], lambda x: {"embedding": tf_features(x)}),
        ([None], lambda x: {"embedding": tf_features(x)}),
        ([None, None], lambda x: {"embedding": tf.stack([tf_features(x)] * 4, axis=1)}),
    ],
    ids=["named", "only-output", "fixed-length", "batch-of-one", "one-waveform", "over-time"],
)
def test_saved_model(tmp_path, shape, output):
    encoder = load_adapter(f"saved_model:{saved(tmp_path / 'm', output, shape)}")
    assert encoder.sample_rate == 16_000
    assert encoder.input_samples == (16_000 if shape[-1] == 16_000 else None)
    np.testing.assert_allclose(encode_crops(encoder)(WAVES), features(WAVES), atol=1e-6)


def test_saved_model_output_is_chosen_by_name(tmp_path):
    path = saved(tmp_path, lambda x: {"a": tf_features(x), "b": 2 * tf_features(x)}, [None, None])
    with pytest.raises(ValueError, match=r"a \(None, 3\), b \(None, 3\)\. Choose one with --output-name"):
        load_adapter(f"saved_model:{path}")
    encoder = load_adapter(f"saved_model:{path}", EncoderOptions(output="b"))
    np.testing.assert_allclose(encoder.embed(WAVES), 2 * features(WAVES), atol=1e-6)
    assert (encoder.output, encoder.outputs) == ("b", ("a", "b"))
    assert encoder.digest != load_adapter(f"saved_model:{path}", EncoderOptions(output="a")).digest


def with_signatures(folder: Path, **functions) -> str:
    """A SavedModel with a signature of waveforms for each function."""
    spec = tf.TensorSpec([None, None], tf.float32, name="sound")
    module = tf.Module()
    module.calls = {
        name: tf.function(function, input_signature=[spec]) for name, function in functions.items()
    }
    tf.saved_model.save(module, str(folder), signatures=module.calls)
    return str(folder)


def test_saved_model_whose_other_signature_gives_something_else(tmp_path):
    """Class scores by default, and the embedding in a signature of its own."""
    path = with_signatures(
        tmp_path,
        serving_default=lambda x: {"output_0": x[:, :5]},
        embed=lambda x: {"output_0": tf_features(x)},
    )
    with pytest.raises(ValueError, match=r"output_0 .*, embed:output_0 .*--output-name"):
        load_adapter(f"saved_model:{path}")
    encoder = load_adapter(f"saved_model:{path}", EncoderOptions(output="embed:output_0"))
    np.testing.assert_allclose(encoder.embed(WAVES), features(WAVES), atol=1e-6)
    assert encoder.output == "embed:output_0"
    default = load_adapter(f"saved_model:{path}", EncoderOptions(output="output_0"))
    assert default.embed(WAVES).shape == (4, 5) and default.digest != encoder.digest


def test_saved_model_with_a_second_name_for_its_signature(tmp_path):
    """Keras exports `serve` beside `serving_default`; they are the same."""
    same = {name: lambda x: {"output_0": tf_features(x)} for name in ("serve", "serving_default")}
    encoder = load_adapter(f"saved_model:{with_signatures(tmp_path / 'same', **same)}")
    assert (encoder.output, encoder.outputs) == ("output_0", ("output_0",))
    only = with_signatures(tmp_path / "only", basic=lambda x: {"features": tf_features(x)})
    np.testing.assert_allclose(load_adapter(f"saved_model:{only}").embed(WAVES), features(WAVES), atol=1e-6)
    two = with_signatures(tmp_path / "two", a=lambda x: {"y": x[:, :5]}, b=lambda x: {"y": tf_features(x)})
    with pytest.raises(ValueError, match=r"a:y .*, b:y .*--output-name"):
        load_adapter(f"saved_model:{two}")


def test_saved_model_with_time_as_its_last_axis(tmp_path):
    def call(x):
        return {"embedding": tf.signal.frame(x, 400, 400)[:, :, :7] * tf.ones([7])}

    def transposed(x):
        return {"embedding": tf.transpose(call(x)["embedding"], [0, 2, 1])}

    assert load_adapter(f"saved_model:{saved(tmp_path / 'a', call, [None, None])}").embed(WAVES).shape == (
        4,
        7,
    )
    with pytest.raises(ValueError, match="time as its last axis"):
        load_adapter(f"saved_model:{saved(tmp_path / 'b', transposed, [None, None])}")


@pytest.fixture(scope="module")
def export(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("export") / "model"
    record = build_encoder("sf_nfnet_tiny")
    export_saved_model(record.build(0), record, folder, FrontendConfig(), {"objective": "none"})
    return str(folder)


def test_our_export_says_its_rate_and_size(export):
    encoder = load_adapter(f"saved_model:{export}")
    assert (encoder.name, encoder.sample_rate) == ("sf_nfnet_tiny", 16_000)
    embedded = encode_crops(encoder)(WAVES)
    assert embedded.shape == (4, encoder.embedding_size)
    direct = tf.saved_model.load(export).signatures["serving_default"](waveform=tf.constant(WAVES))
    np.testing.assert_array_equal(embedded, direct["embedding"].numpy())


def test_our_export_and_a_contradicting_sample_rate(export):
    with pytest.raises(ValueError, match=r"--sample-rate is 48000, but the encoder declares 16000 Hz"):
        load_adapter(f"saved_model:{export}", EncoderOptions(sample_rate=48_000))


def test_run_takes_the_latest_pushed_model_else_the_latest_trained(tmp_path, export):
    def put(folder: str, complete: bool = True) -> Path:
        path = tmp_path / folder
        path.parent.mkdir(parents=True, exist_ok=True)
        if complete:
            path.symlink_to(export)
        else:
            path.mkdir()
        return path

    with pytest.raises(ValueError, match="no model in"):
        load_adapter(f"run:{tmp_path}")
    put("artifacts/trainer/model/9/Format-Serving")
    latest = put("artifacts/trainer/model/10/Format-Serving")
    put("artifacts/trainer/model/11/Format-Serving", complete=False)
    trained = load_adapter(f"run:{tmp_path}")
    assert trained.details["model"] == str(latest) and trained.details["state"] == "trained"
    pushed = put("pushed/3")
    assert load_adapter(f"run:{tmp_path}").details["model"] == str(pushed)
    assert load_adapter(f"run:{tmp_path}").digest == load_adapter(f"saved_model:{export}").digest


def test_hub_yamnet_like(tmp_path):
    """One waveform in; scores, embeddings and spectrogram out, in time."""

    def call(wave):
        embeddings = tf.stack([tf_features(wave), 3 * tf_features(wave)])
        return tf.zeros([2, 521]), embeddings, tf.zeros([96, 64])

    path = callable_module(tmp_path, call, tf.TensorSpec([None], tf.float32))
    encoder = load_adapter(f"hub:{path}")
    np.testing.assert_allclose(encode_crops(encoder)(WAVES), 2 * features(WAVES), atol=1e-6)
    assert (encoder.output, encoder.outputs) == ("1", ("0", "1", "2"))
    assert load_adapter(f"hub:{path}", EncoderOptions(output="0")).embed(WAVES).shape == (4, 521)


@pytest.mark.parametrize(
    "shape,outputs",
    [
        ([None], lambda f: (f, f)),
        ([None], lambda f: (f, f, f, f)),
        ([None], lambda f: (f, f, f[0])),
        ([None, None], lambda f: (f, f, f)),
        ([None, None], lambda f: {"x": f, "y": f}),
    ],
    ids=["two", "four", "a-vector", "batches", "names"],
)
def test_hub_outputs_of_no_known_form_are_not_guessed(tmp_path, shape, outputs):
    def call(waves):
        return outputs(tf_features(waves) if len(shape) == 2 else tf_features(waves)[tf.newaxis])

    path = callable_module(tmp_path, call, tf.TensorSpec(shape, tf.float32))
    with pytest.raises(ValueError, match=r"several outputs: .*--output-name"):
        load_adapter(f"hub:{path}")


def test_hub_module_of_two_waveforms(tmp_path):
    spec = [tf.TensorSpec([None, None], tf.float32, name=name) for name in ("left", "right")]
    path = callable_module(tmp_path, lambda left, right: tf_features(left + right), *spec)
    with pytest.raises(ValueError, match=r"several float tensors, left .*, right "):
        load_adapter(f"hub:{path}")


def test_hub_trill_like(tmp_path):
    """A batch and its sample rate in, a dictionary out."""

    def call(samples, sample_rate):
        scale = tf.cast(sample_rate, tf.float32) / 16_000
        return {"embedding": scale * tf_features(samples)[:, tf.newaxis], "layer19": samples}

    specs = tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([], tf.int32, name="sample_rate")
    path = callable_module(tmp_path, call, *specs)
    np.testing.assert_allclose(load_adapter(f"hub:{path}").embed(WAVES), features(WAVES), atol=1e-6)
    doubled = load_adapter(f"hub:{path}", EncoderOptions(sample_rate=32_000))
    np.testing.assert_allclose(doubled.embed(WAVES), 2 * features(WAVES), atol=1e-6)


def tflite_file(path: Path, function, shape) -> str:
    concrete = tf.function(
        function, input_signature=[tf.TensorSpec(shape, tf.float32)]
    ).get_concrete_function()
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert())
    return str(path)


@pytest.mark.parametrize("shape", [[1, 16_000], [16_000], [1, None]], ids=["batch-of-one", "flat", "free"])
def test_tflite(tmp_path, shape):
    encoder = load_adapter(f"tflite:{tflite_file(tmp_path / 'm.tflite', tf_features, shape)}")
    assert encoder.input_samples == (None if shape[-1] is None else 16_000)
    np.testing.assert_allclose(encode_crops(encoder)(WAVES), features(WAVES), atol=1e-6)


def test_tflite_tensor_inside_the_graph(tmp_path):
    """A classifier: its embedding is what its last layer takes."""
    weights = tf.constant(np.random.default_rng(0).standard_normal((3, 5)), tf.float32)
    path = tflite_file(tmp_path / "m.tflite", lambda x: tf.nn.sigmoid(tf_features(x) @ weights), [1, 16_000])
    inside = tf.lite.Interpreter(path)
    inside.allocate_tensors()
    names = [t["name"] for t in inside.get_tensor_details() if list(t["shape"]) == [1, 3]]
    encoder = load_adapter(f"tflite:{path}", EncoderOptions(output=names[-1]))
    np.testing.assert_allclose(encoder.embed(WAVES), features(WAVES), atol=1e-6)
    with pytest.raises(ValueError, match="no tensors 'nothing'; the outputs are"):
        load_adapter(f"tflite:{path}", EncoderOptions(output="nothing"))
    assert encoder.output == names[-1] and len(encoder.outputs) == 1


def test_tflite_with_two_outputs(tmp_path):
    path = tflite_file(tmp_path / "m.tflite", lambda x: (tf_features(x), 2 * x), [1, 16_000])
    with pytest.raises(ValueError, match=r"several outputs; .*--output-name NAME or NUMBER"):
        load_adapter(f"tflite:{path}")
    inside = tf.lite.Interpreter(path)
    number = next(t["index"] for t in inside.get_output_details() if list(t["shape"]) == [1, 3])
    encoder = load_adapter(f"tflite:{path}", EncoderOptions(output=str(number)))
    np.testing.assert_allclose(encoder.embed(WAVES), features(WAVES), atol=1e-6)


HEAR_MODULE = """
import numpy as np
class Model:
    sample_rate, scene_embedding_size, scale = 16000, 3, 1.0
def load_model(path=""):
    model = Model()
    if path:
        model.scale = float(open(path).read())
    return model
def get_scene_embeddings(audio, model):
    assert isinstance(audio, np.ndarray)
    return model.scale * np.stack([audio.mean(1), np.abs(audio).mean(1), (audio ** 2).mean(1)], 1)
"""


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    """Writes a module into the current folder, under a name no other test has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    written = []

    def write(source: str, name: str = "") -> str:
        name = name or f"user_{tmp_path.name.replace('-', '_')}"
        sys.modules.pop(name, None)
        (tmp_path / f"{name}.py").write_text(source)
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


def test_hear_module_in_the_current_folder(user_module, tmp_path):
    name = user_module(HEAR_MODULE)
    (tmp_path / "weights.txt").write_text("2.5")
    plain, weighted = load_adapter(f"hear:{name}"), load_adapter(f"hear:{name}:weights.txt")
    assert (plain.embedding_size, plain.sample_rate) == (3, 16_000)
    np.testing.assert_allclose(plain.embed(WAVES), features(WAVES), atol=1e-6)
    np.testing.assert_allclose(weighted.embed(WAVES), 2.5 * features(WAVES), atol=1e-6)
    assert plain.digest != weighted.digest


@pytest.mark.parametrize(
    "source,message",
    [
        ("load_model = print", "has no function get_scene_embeddings"),
        (HEAR_MODULE.replace("3, 1.0", "3.0, 1.0"), "scene_embedding_size is 3.0; HEAR 2021 asks for"),
        (HEAR_MODULE.replace("16000, 3", "None, 3"), "sample_rate is None; HEAR 2021 asks for"),
        ("raise ImportError('no torch here')", "cannot be imported .*no torch here"),
        (HEAR_MODULE.replace("model = Model()", "1 / 0"), "load_model failed .ZeroDivisionError"),
    ],
)
def test_hear_modules_that_are_none(user_module, source, message):
    with pytest.raises(ValueError, match=message):
        load_adapter(f"hear:{user_module(source)}")


PYTHON_MODULE = """
import numpy as np
class Encoder:
    sample_rate, embedding_size, digest = 16000, 3, "weights 1"
    def __call__(self, x):
        assert x.dtype == np.float32
        return np.stack([x.mean(1), np.abs(x).mean(1), (x ** 2).mean(1)], 1)
"""


def test_python_factory_and_its_digest(user_module):
    first = load_adapter(f"python:{user_module(PYTHON_MODULE)}:Encoder")
    np.testing.assert_allclose(first.embed(WAVES), features(WAVES), atol=1e-6)
    again = load_adapter(f"python:{user_module(PYTHON_MODULE)}:Encoder")
    weights = load_adapter(f"python:{user_module(PYTHON_MODULE.replace('weights 1', 'weights 2'))}:Encoder")
    assert again.digest == first.digest != weights.digest


def test_python_digest_covers_what_the_module_imports(user_module):
    user_module("SCALE = 1", "user_scale")
    source = "from user_scale import SCALE\n" + PYTHON_MODULE
    before = load_adapter(f"python:{user_module(source)}:Encoder").digest
    user_module("SCALE = 2", "user_scale")
    assert load_adapter(f"python:{user_module(source)}:Encoder").digest != before


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


def test_saved_model_that_takes_no_waveform(tmp_path):
    path = saved(tmp_path, lambda x: {"embedding": x[:, 0, :, 0]}, [None, 96, 64, 1])
    with pytest.raises(
        ValueError, match=r"takes sound float32\(None, 96, 64, 1\); expected one float waveform"
    ):
        load_adapter(f"saved_model:{path}")


def test_damaged_weights_are_no_crash(tmp_path, export):
    shutil.copytree(export, tmp_path / "m")
    weights = tmp_path / "m/variables/variables.data-00000-of-00001"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"cannot be loaded .* Is it complete and undamaged"):
        load_adapter(f"saved_model:{tmp_path / 'm'}")


def test_tflite_file_that_is_none(tmp_path):
    (tmp_path / "m.tflite").write_bytes(b"not a flatbuffer")
    with pytest.raises(ValueError, match="not a model that TensorFlow Lite"):
        load_adapter(f"tflite:{tmp_path / 'm.tflite'}")


def test_kinds_are_the_modules():
    assert adapter_kinds() == (
        *(
            "hear",
            "hub",
            "jax",
            "keras",
            "log_mel",
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
