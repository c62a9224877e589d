"""SavedModels in every form, our own exports, and `run:`: each gives the embeddings that numpy computes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from hares.adapters import EncoderOptions, encode_crops, load_adapter
from kits.three_features import WAVES, features, tf_features
from models.encoder import load_encoder as build_encoder
from models.export import export_saved_model
from models.frontend import FrontendConfig

pytestmark = pytest.mark.slow


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
