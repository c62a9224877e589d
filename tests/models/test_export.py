"""The export: what it holds, and that TensorFlow alone gets the embeddings that training code gets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.compute_dtype import computing_in
from models.encoder import Encoder, EncoderRecord, load_encoder
from models.encoders.sf_nfnet import SlowFastNFNet
from models.export import export_saved_model, read_metadata
from models.frontend import FrontendConfig, log_mel, pcm16_to_float, standardise
from models.weights import canonical_variables, load_weights, weights_digest

pytestmark = pytest.mark.slow

CONFIG = FrontendConfig()
RECORD = load_encoder("sf_nfnet_tiny")


class TransformWithState(tf.Module):
    """Stands for a Transform graph: its gain lives in a variable, its offset in a lookup table."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = tf.Variable(1.0)
        values = tf.lookup.KeyValueTensorInitializer(["offset"], [0.0])
        self.table = tf.lookup.StaticHashTable(values, default_value=9.0)

    def __call__(self, pcm: tf.Tensor) -> tf.Tensor:
        spectrogram = log_mel(pcm16_to_float(pcm), CONFIG)
        return spectrogram * self.gain + self.table.lookup(tf.constant("offset"))


class WaveformEncoder(Encoder):
    def __init__(self) -> None:
        super().__init__(name="toy")
        self.w = tf.Variable([[1.0, -1.0]], name="toy/w")
        self.built = True

    def call(
        self, inputs: tf.Tensor, training: bool = False, noise: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        return {"embedding": tf.reduce_mean(inputs, axis=1, keepdims=True) * self.w}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    encoder = RECORD.build(5)
    for name, variable in canonical_variables(encoder).items():
        if name.endswith("skip_gain"):
            variable.assign(0.7)
    return encoder


@pytest.fixture(scope="module")
def export(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("export") / "model"
    export_saved_model(encoder, RECORD, directory, CONFIG, {"objective": "simclr"}, TransformWithState())
    return directory


@pytest.fixture(scope="module")
def pcm() -> np.ndarray:
    """Three clips of 0.8 s, (b, n) int16."""
    return (np.random.default_rng(0).standard_normal((3, 12800)) * 3000).astype("<i2")


@pytest.fixture(scope="module")
def expected(encoder: Encoder, pcm: np.ndarray) -> dict[str, np.ndarray]:
    """What training code computes for `pcm`."""
    waveform = (pcm / 32768).astype(np.float32)
    return encoder(standardise(log_mel(waveform, CONFIG))[..., tf.newaxis])


def test_all_signatures_agree_with_training_code(
    export: Path, pcm: np.ndarray, expected: dict[str, np.ndarray]
) -> None:
    signatures = tf.saved_model.load(str(export)).signatures
    waveform = tf.constant((pcm / 32768).astype(np.float32))
    spectrogram = log_mel(waveform, CONFIG)
    inputs = {
        "serving_default": {"waveform": waveform},
        "log_mel": {"log_mel": spectrogram},
        "spectrogram": {"spectrogram": standardise(spectrogram)},
        "pcm16": {"pcm": tf.constant([clip.tobytes() for clip in pcm])},
    }
    assert set(signatures) == {*inputs, "metadata"}
    for name, arguments in inputs.items():
        outputs = signatures[name](**arguments)
        assert set(outputs) == {"embedding", "features"}, name
        for key, value in outputs.items():
            np.testing.assert_allclose(value, expected[key], atol=1e-5, err_msg=f"{name} {key}")


def test_a_process_with_only_tensorflow_gets_the_same_embedding(
    export: Path, pcm: np.ndarray, expected: dict[str, np.ndarray], tmp_path: Path
) -> None:
    np.save(tmp_path / "waveform.npy", (pcm / 32768).astype(np.float32))
    script = (
        "import sys, numpy as np, tensorflow as tf\n"
        "model = tf.saved_model.load(sys.argv[1])\n"
        "outputs = model.signatures['serving_default'](waveform=tf.constant(np.load('waveform.npy')))\n"
        "np.save('embedding.npy', outputs['embedding'])\n"
        "assert not {'models', 'hares', 'pipeline', 'tensorflow_transform'} & set(sys.modules)\n"
    )
    # -I keeps the working directory and PYTHONPATH off the import path.
    subprocess.run([sys.executable, "-I", "-c", script, str(export)], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "embedding.npy"), expected["embedding"], atol=1e-5)


def test_golden_embedding_through_the_export(
    golden_f0: SlowFastNFNet,
    sf_nfnet_golden: dict[str, np.ndarray],
    sf_nfnet_input: Callable[[str], np.ndarray],
    tmp_path: Path,
) -> None:
    export_saved_model(golden_f0, load_encoder("sf_nfnet_f0"), tmp_path, CONFIG, {})
    # The golden input is noise that stands for a standardised spectrogram.
    embed = tf.saved_model.load(str(tmp_path)).signatures["spectrogram"]
    spectrogram = sf_nfnet_input("2x300x80")[..., 0]
    outputs = embed(spectrogram=tf.constant(spectrogram))
    np.testing.assert_allclose(outputs["embedding"], sf_nfnet_golden["2x300x80/embedding"], atol=1e-5)
    assert outputs["features"].shape == (2, 1728)


def test_metadata_in_the_graph_and_beside_it_are_one(export: Path, encoder: Encoder) -> None:
    metadata = read_metadata(export)
    in_graph = tf.saved_model.load(str(export)).signatures["metadata"]()["metadata"].numpy()
    assert json.loads(in_graph) == metadata
    assert metadata["objective"] == "simclr"
    assert metadata["encoder"] == "sf_nfnet_tiny"
    assert metadata["embedding_size"] == 480
    assert metadata["sample_rate"] == 16000
    assert metadata["hop_length"] == 160
    assert metadata["weights_digest"] == weights_digest(encoder)
    assert FrontendConfig(**metadata["frontend"]) == CONFIG


@pytest.mark.parametrize("samples", [400, 15999, 80000])
def test_any_length_from_one_window_on(export: Path, samples: int) -> None:
    embed = tf.saved_model.load(str(export)).signatures["serving_default"]
    assert np.isfinite(embed(waveform=tf.zeros([1, samples]))["embedding"]).all()


def test_a_clip_shorter_than_a_window_is_refused(export: Path) -> None:
    embed = tf.saved_model.load(str(export)).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="fill one window of 400 samples"):
        embed(waveform=tf.zeros([1, 399]))


def test_the_trained_encoder_is_left_as_it_is(export: Path, encoder: Encoder) -> None:
    assert any(name.endswith("/gain") for name in canonical_variables(encoder))


def test_waveform_encoders_have_no_log_mel_signature(tmp_path: Path, pcm: np.ndarray) -> None:
    record = EncoderRecord("toy", "waveform", 2, 2, lambda seed: WaveformEncoder())
    export_saved_model(WaveformEncoder(), record, tmp_path, CONFIG, {}, pcm16_to_float)
    signatures = tf.saved_model.load(str(tmp_path)).signatures
    assert set(signatures) == {"serving_default", "pcm16", "metadata"}
    mean = (pcm / 32768).mean(axis=1, keepdims=True)
    outputs = signatures["pcm16"](pcm=tf.constant([clip.tobytes() for clip in pcm]))
    np.testing.assert_allclose(outputs["embedding"], np.concatenate([mean, -mean], 1), atol=1e-6)


def test_errors_name_the_cause(encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="metadata encoder is written by the export itself"):
        export_saved_model(encoder, RECORD, tmp_path, CONFIG, {"encoder": "mine"})
    with pytest.raises(ValueError, match=r"no hares_metadata\.json"):
        read_metadata(tmp_path)


def test_the_classifier_of_supervised_pretraining_has_a_signature(tmp_path: Path) -> None:
    """Paper, section 3: the AudioSet score of a supervised encoder comes from its own classifier."""
    from models.objective import load_objective
    from models.training.config import TrainingConfig

    record = load_encoder("sf_nfnet_tiny")
    encoder = record.build(0)
    encoder(tf.zeros((1, 98, 80, 1)))
    objective = load_objective("classification").build(TrainingConfig(), record, 527, (98, 80))
    objective.head.kernel.assign(tf.random.stateless_normal(objective.head.kernel.shape, [0, 1]))
    export_saved_model(
        encoder, record, tmp_path / "m", FrontendConfig(), {}, classifier=objective.classifier()
    )
    embedding = np.random.default_rng(0).standard_normal((2, record.embedding_size)).astype(np.float32)
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    scores = loaded.signatures["classify"](embedding=tf.constant(embedding))["scores"]
    expected = 1 / (1 + np.exp(-(embedding @ objective.head.kernel.numpy())))
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_bfloat16_is_another_export_of_the_same_weights(
    encoder: Encoder, export: Path, pcm: np.ndarray, expected: dict[str, np.ndarray], tmp_path: Path
) -> None:
    export_saved_model(encoder, RECORD, tmp_path, CONFIG, {}, compute_dtype="bfloat16")
    metadata, usual = read_metadata(tmp_path), read_metadata(export)
    assert (metadata["compute_dtype"], usual["compute_dtype"]) == ("bfloat16", "float32")
    assert metadata["weights_digest"] == usual["weights_digest"]
    loaded = tf.saved_model.load(str(tmp_path))
    kernels = [variable for variable in loaded.weights if variable.shape.rank == 4]
    assert {kernel.dtype for kernel in kernels} == {tf.bfloat16}  # or each call would convert them
    embed = loaded.signatures["serving_default"]
    found = embed(waveform=tf.constant((pcm / 32768).astype(np.float32)))["embedding"]
    assert found.dtype == tf.float32
    distance = np.linalg.norm(found - expected["embedding"]) / np.linalg.norm(expected["embedding"])
    assert 0 < distance < 0.03  # eight bits of mantissa, through some forty layers


def test_an_encoder_trained_in_bfloat16_is_exported_in_float32(
    encoder: Encoder, pcm: np.ndarray, expected: dict[str, np.ndarray], tmp_path: Path
) -> None:
    with computing_in("bfloat16"):
        trained = RECORD.build(0)
    load_weights(trained, {name: v.numpy() for name, v in canonical_variables(encoder).items()})
    export_saved_model(trained, RECORD, tmp_path, CONFIG, {})
    embed = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    found = embed(waveform=tf.constant((pcm / 32768).astype(np.float32)))["embedding"]
    np.testing.assert_allclose(found, expected["embedding"], atol=1e-5)
