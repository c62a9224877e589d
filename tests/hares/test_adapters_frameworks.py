"""One network with weights from a seed, in every library: its embeddings are those that numpy computes.

A convolution of 16 filters over windows of 400 samples, ReLU, the mean over time, and a linear layer to 8 numbers.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import hares
from hares.adapters import EncoderOptions, encode_crops, load_adapter
from hares.preflight import check_encoder, synthetic_crops
from hares.protocol import ProtocolSettings

pytestmark = pytest.mark.slow

if importlib.util.find_spec("tensorflow") is None:  # the backend that Keras takes by itself
    os.environ.setdefault("KERAS_BACKEND", "jax")

WINDOW, HOP = 400, 160
_RANDOM = np.random.default_rng(0)
FILTERS = (_RANDOM.standard_normal((WINDOW, 16)) / 20).astype(np.float32)
LINEAR = (_RANDOM.standard_normal((16, 8)) / 4).astype(np.float32)
WAVES = synthetic_crops(1.0)
SOURCE = f"""
import numpy as np
random = np.random.default_rng(0)
FILTERS = (random.standard_normal(({WINDOW}, 16)) / 20).astype(np.float32)
LINEAR = (random.standard_normal((16, 8)) / 4).astype(np.float32)
"""


def embedding(waveforms: np.ndarray) -> np.ndarray:
    frames = np.lib.stride_tricks.sliding_window_view(waveforms, WINDOW, axis=1)[:, ::HOP]
    return np.maximum(frames @ FILTERS, 0).mean(axis=1) @ LINEAR


TORCH = f"""{SOURCE}
import torch
class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.filters = torch.nn.Conv1d(1, 16, {WINDOW}, stride={HOP}, bias=False)
        self.dropout = torch.nn.Dropout(0.5)  # off, as the adapter calls eval()
        self.linear = torch.nn.Linear(16, 8, bias=False)
        self.filters.weight.data = torch.from_numpy(FILTERS.T[:, None].copy())
        self.linear.weight.data = torch.from_numpy(LINEAR.T.copy())
    def forward(self, waveforms):
        hidden = torch.relu(self.filters(waveforms[:, None])).mean(-1)
        return self.linear(self.dropout(hidden))
def build():
    return Network().train()
def two():
    network = Network()
    class Two(torch.nn.Module):
        sample_rate = 16_000
        def __init__(self):
            super().__init__()
            self.network = network
        def forward(self, waveforms):
            return {{"logits": self.network(waveforms)[:, :2], "hidden": self.network(waveforms)}}
    return Two()
"""
JAX = f"""{SOURCE}
import jax
def build():
    filters, linear = jax.numpy.asarray(FILTERS), jax.numpy.asarray(LINEAR)
    def encode(waveforms):
        hidden = jax.lax.conv_general_dilated(
            waveforms[:, None], filters.T[:, None], ({HOP},), "VALID", precision=jax.lax.Precision.HIGHEST)
        return jax.nn.relu(hidden).mean(-1) @ linear
    return encode
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with modules that are imported anew in each test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in ("in_torch", "in_jax"):
        sys.modules.pop(name, None)
    (tmp_path / "in_torch.py").write_text(TORCH)
    (tmp_path / "in_jax.py").write_text(JAX)
    return tmp_path


def torch_module(_: Path) -> str:
    pytest.importorskip("torch")
    return "torch:in_torch:build"


def torch_exported(folder: Path) -> str:
    torch = pytest.importorskip("torch")
    import in_torch

    sizes = ({0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("samples", min=2 * WINDOW)},)
    program = torch.export.export(
        in_torch.build().eval(), (torch.zeros(2, 16_000),), dynamic_shapes=sizes, strict=False
    )
    torch.export.save(program, "network.pt2")
    return "torch:network.pt2"


def torch_of_fixed_shape(_: Path) -> str:
    torch = pytest.importorskip("torch")
    import in_torch

    torch.export.save(torch.export.export(in_torch.build().eval(), (torch.zeros(1, 16_000),)), "fixed.pt2")
    return "torch:fixed.pt2"


def torch_script(_: Path) -> str:
    torch = pytest.importorskip("torch")
    import in_torch

    torch.jit.trace(in_torch.build().eval(), torch.zeros(2, 16_000)).save("network.pt")
    return "torch:network.pt"


def jax_function(_: Path) -> str:
    pytest.importorskip("jax")
    return "jax:in_jax:build"


def onnx_graph(_: Path) -> str:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    node = helper.make_node
    weights = {"filters": FILTERS.T[:, None], "linear": LINEAR, "one": np.array([1]), "two": np.array([2])}
    graph = helper.make_graph(
        [
            node("Unsqueeze", ["sound", "one"], ["channel"]),
            node("Conv", ["channel", "filters"], ["heard"], strides=[HOP]),
            node("Relu", ["heard"], ["positive"]),
            node("ReduceMean", ["positive", "two"], ["mean"], keepdims=0),
            node("MatMul", ["mean", "linear"], ["hidden"]),
        ],
        "network",
        [helper.make_tensor_value_info("sound", onnx.TensorProto.FLOAT, ["b", "n"])],
        [helper.make_tensor_value_info("hidden", onnx.TensorProto.FLOAT, ["b", 8])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, "network.onnx")
    return "onnx:network.onnx"


def keras_model(_: Path) -> str:
    keras = pytest.importorskip("keras")
    sound = keras.Input((None,))
    channel = keras.layers.Reshape((-1, 1))(sound)
    heard = keras.layers.Conv1D(16, WINDOW, strides=HOP, activation="relu", use_bias=False)(channel)
    hidden = keras.layers.Dense(8, use_bias=False)(keras.layers.GlobalAveragePooling1D()(heard))
    model = keras.Model(sound, hidden)
    model.set_weights([FILTERS[:, None], LINEAR])
    model.save("network.keras")
    return "keras:network.keras"


def tflite_file(_: Path) -> str:
    tf = pytest.importorskip("tensorflow")

    @tf.function(input_signature=[tf.TensorSpec([1, None], tf.float32)])
    def network(sound):
        heard = tf.nn.conv1d(sound[:, :, tf.newaxis], FILTERS[:, None], HOP, "VALID")
        return tf.reduce_mean(tf.nn.relu(heard), axis=1) @ LINEAR

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    Path("network.tflite").write_bytes(converter.convert())
    return "tflite:network.tflite"


KINDS = [
    torch_module,
    torch_exported,
    torch_of_fixed_shape,
    torch_script,
    jax_function,
    onnx_graph,
    keras_model,
    tflite_file,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_its_embeddings_are_those_of_numpy_and_it_can_be_scored(kind, folder: Path) -> None:
    spec = kind(folder)
    encoder = load_adapter(spec)
    seconds = (1.0,) if encoder.input_samples else (1.0, 2.5)
    for length in seconds:
        waves = synthetic_crops(length)
        found = encode_crops(encoder)(waves)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, embedding(waves), atol=1e-5)
    assert encoder.rate_assumed and encoder.sample_rate == 16_000
    checks, size = check_encoder(encoder, seconds, float(np.finfo(np.float32).max))
    assert size == 8 and all(check.passed for check in checks)
    assert load_adapter(spec).digest == encoder.digest


@pytest.fixture(scope="module")
def scores_of_numpy() -> dict[str, tuple]:
    return {}


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind is not torch_of_fixed_shape], ids=lambda k: k.__name__
)
def test_its_scores_are_those_of_numpy(
    kind, folder: Path, corpus: Path, scores_of_numpy: dict[str, tuple]
) -> None:
    """Embeddings that differ in the last bits give the same answers: equal scores and chance, on the same clips."""
    protocol = ProtocolSettings(
        name="quick",
        max_steps=60,
        learning_rate=2e-3,
        bootstrap_resamples=20,
        probe_seeds=1,
        augmented_epochs=2,
    )

    def scores(encoder) -> dict[str, tuple]:
        found = hares.evaluate(encoder, corpus, protocol=protocol)
        return {one.task: (one.score, one.chance, one.clips) for one in found.tasks}

    if not scores_of_numpy:
        scores_of_numpy.update(scores(embedding))
    assert set(scores_of_numpy) == {"esc50", "speech_commands_v2"}
    assert scores(kind(folder)) == scores_of_numpy


def test_other_weights_are_another_encoder(folder: Path) -> None:
    pytest.importorskip("torch")
    before = load_adapter("torch:in_torch:build").digest
    sys.modules.pop("in_torch")
    (folder / "in_torch.py").write_text(TORCH.replace("default_rng(0)", "default_rng(1)"))
    assert load_adapter("torch:in_torch:build").digest != before


def test_of_several_outputs_one_is_chosen_by_name(folder: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"several outputs: logits .*hidden .*--output-name"):
        load_adapter("torch:in_torch:two")
    encoder = load_adapter("torch:in_torch:two", EncoderOptions(output="hidden"))
    assert encoder.output == "hidden" and encoder.outputs == ("logits", "hidden") and not encoder.rate_assumed
    np.testing.assert_allclose(encoder.embed(WAVES), embedding(WAVES), atol=1e-5)


BROKEN = [
    ("torch", "torch:network.pt2", "archive of torch.export"),
    ("torch", "torch:network.pt", "archive of TorchScript"),
    ("torch", "torch:nowhere.pt", "no such file"),
    ("torch", "torch:in_torch:nobody", "no function 'nobody'"),
    ("jax", "jax:in_jax:nobody", "no function 'nobody'"),
    ("onnxruntime", "onnx:network.onnx", "a model that onnxruntime"),
    ("onnxruntime", "onnx:nowhere.onnx", "no file"),
    ("keras", "keras:network.keras", "a .keras file"),
    ("transformers", "transformers:.", "no config.json"),
]


@pytest.mark.parametrize(("library", "spec", "message"), BROKEN, ids=[spec for _, spec, _ in BROKEN])
def test_what_is_none_is_refused(library: str, spec: str, message: str, folder: Path) -> None:
    pytest.importorskip(library)
    for ending in ("pt2", "pt", "onnx", "keras"):
        (folder / f"network.{ending}").write_bytes(b"not a model of any kind")
    with pytest.raises(ValueError, match=message):
        load_adapter(spec)


@pytest.fixture
def wav2vec(folder: Path):
    """A small wav2vec 2.0 with random weights, saved as Hugging Face saves it."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, conv_dim=[16] * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
    )  # fmt: skip
    model = transformers.Wav2Vec2Model(config).eval()
    model.save_pretrained("model")
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained("model")
    return model


def test_transformers_layers_and_poolings(wav2vec) -> None:
    import torch

    normalised = (WAVES - WAVES.mean(1, keepdims=True)) / np.sqrt(WAVES.var(1, keepdims=True) + 1e-7)
    with torch.no_grad():
        states = wav2vec(torch.from_numpy(normalised), output_hidden_states=True).hidden_states
    expected = {
        None: states[-1].mean(1), "last": states[-1].mean(1), "0": states[0].mean(1), "1:max": states[1].amax(1),
        "2:first": states[2][:, 0],
    }  # fmt: skip
    digests = set()
    for output, value in expected.items():
        encoder = load_adapter("transformers:model", EncoderOptions(output=output))
        np.testing.assert_allclose(encode_crops(encoder)(WAVES), value.numpy(), atol=1e-5)
        digests.add(encoder.digest)
    assert len(digests) == 4  # without a choice it is the last layer, and the report says so
    encoder = load_adapter("transformers:model")
    assert encoder.output == "last:mean" and encoder.outputs == ("last", "0", "1", "2", "pooled")
    assert (
        encoder.sample_rate == 16_000
        and not encoder.rate_assumed
        and encoder.details["model"] == "Wav2Vec2Model"
    )
    for wrong in ("third", "1:median", "-1"):
        with pytest.raises(ValueError, match=r"expected LAYER\[:POOLING\]"):
            load_adapter("transformers:model", EncoderOptions(output=wrong))


def test_transformers_hear_through_whispers_encoder(folder: Path) -> None:
    """Of the 30 s to which every crop is filled up, only the crop's own frames count."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=32, vocab_size=100, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    model = transformers.WhisperModel(config).eval()
    model.save_pretrained("whisper")
    extractor = transformers.WhisperFeatureExtractor()
    extractor.save_pretrained("whisper")
    with torch.no_grad():
        features = extractor(list(WAVES), sampling_rate=16_000, return_tensors="pt").input_features
        frames = model.encoder(features).last_hidden_state[:, :50]  # 1 s at 20 ms
    found = encode_crops(load_adapter("transformers:whisper"))(WAVES)
    np.testing.assert_allclose(found, frames.mean(1).numpy(), atol=1e-5)


def test_code_in_a_folder_of_transformers_is_refused(wav2vec, folder: Path) -> None:
    config = (folder / "model/config.json").read_text()
    (folder / "model/own.py").write_text("raise SystemExit('executed')")
    changed = config.replace("{", '{"auto_map": {"AutoModel": "own.Model", "AutoConfig": "own.Config"},', 1)
    (folder / "model/config.json").write_text(
        changed.replace('"model_type": "wav2vec2"', '"model_type": "own"')
    )
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_adapter("transformers:model")


def test_all_layers_of_transformers_come_from_one_forward_pass(
    wav2vec, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    encoder = load_adapter("transformers:model")
    passes: list[int] = []
    forward = transformers.Wav2Vec2Model.forward
    monkeypatch.setattr(
        transformers.Wav2Vec2Model,
        "forward",
        lambda self, *a, **k: passes.append(1) or forward(self, *a, **k),
    )
    found = encoder.layers.embed(WAVES)
    assert len(passes) == 1
    assert [one.output for one in encoder.layers.encoders] == ["0:mean", "1:mean", "2:mean", "last:mean"]
    for one, embedded in zip(encoder.layers.encoders, found, strict=True):
        alone = load_adapter("transformers:model", EncoderOptions(output=one.output))
        np.testing.assert_array_equal(alone.embed(WAVES), embedded)
        assert alone.digest == one.digest, "so that its cached embeddings are the same"
    pooled = load_adapter("transformers:model", EncoderOptions(output="last:first"))
    assert {one.output for one in pooled.layers.encoders} == {"0:first", "1:first", "2:first", "last:first"}
