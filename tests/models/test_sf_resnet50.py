"""Slowfast ResNet-50 against the reference outputs of the authors' network, and what those cannot show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from models.encoder import load_encoder
from models.encoders._slowfast_resnet import R50, slow_frames
from models.encoders.sf_resnet50 import Bottleneck, Fusion, InstanceNorm, LayerNorm, SlowFastResNet, Stem
from models.weights import canonical_variables, load_weights

CASES = ["2x400x128", "1x300x80"]
BATCH_NORM_LEAVES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def pathway(torch_module: str) -> str:
    return "fast" if "pathway1" in torch_module else "slow"


def block_name(torch_module: str) -> str:
    """`s3.pathway0_res1` is `slow/block4`."""
    stage, place = torch_module.split(".")
    index = sum(R50.depths[: int(stage[1]) - 2]) + int(place.split("res")[1])
    return f"{pathway(place)}/block{index}"


def our_name(torch_name: str) -> str:
    *module, leaf = torch_name.split(".")
    if module[0].endswith("_fuse"):
        base, is_norm = f"fusion{int(module[0][1]) - 1}", module[1] == "bn"
    elif module[0] == "s1":
        base, is_norm = f"{pathway(module[1])}/stem", module[2] == "bn"
    else:
        place, is_norm = module[-1], module[-1].endswith("_bn")
        part = place.removesuffix("_bn")
        inner = "shortcut" if part == "branch1" else f"conv_{part}"
        base = f"{block_name('.'.join(module[:2]))}/{inner}"
    return f"{base}/norm/{BATCH_NORM_LEAVES[leaf]}" if is_norm else f"{base}/w"


@pytest.fixture(scope="module")
def golden(torch_golden):
    return torch_golden("sf_resnet50")


@pytest.fixture(scope="module")
def r50(golden) -> SlowFastResNet:
    encoder = load_encoder("sf_resnet50_bn").build(0)
    arrays = {
        our_name(name): w.transpose(2, 3, 1, 0) if w.ndim == 4 else w for name, w in golden.weights.items()
    }
    assert len(arrays) == len(golden.weights) == 550
    load_weights(encoder, arrays)
    return encoder


@pytest.mark.parametrize("case", CASES)
def test_embedding_and_every_module_equal_golden(
    r50: SlowFastResNet,
    golden,
    case: str,
    stats_of_map: Callable[[np.ndarray], np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, np.ndarray] = {}
    for layer in (Stem, Fusion, Bottleneck):
        original = layer.__call__

        def call(self, *args, original=original, **kwargs):
            output = original(self, *args, **kwargs)
            seen[self.name] = output.numpy()
            return output

        monkeypatch.setattr(layer, "__call__", call)
    embedding = r50(golden.draw_input(case)[..., np.newaxis])["embedding"]
    np.testing.assert_allclose(embedding, golden.values[f"{case}/embedding"], rtol=0, atol=1e-5)

    def ours(name: str) -> np.ndarray:
        stage, place = name.split(".")
        if stage == "s1":
            return seen[f"{pathway(place)}/stem"]
        if stage.endswith("_fuse"):
            before = ours(f"{stage.removesuffix('_fuse')}.{place}")
            return (
                np.concatenate([before, seen[f"fusion{int(stage[1]) - 1}"]], axis=-1)
                if "0" in place
                else before
            )
        if "res" in place:
            return seen[block_name(name)]
        return seen[block_name(f"{name}_res{R50.depths[int(stage[1]) - 2] - 1}")]

    stored = golden.stats(case)
    assert len(stored) == 19
    for name, expected in stored.items():
        value = ours(name)
        b, c, t, f = golden.values[f"{case}/shape/{name}"]
        assert value.shape == (b, t, f, c), name
        np.testing.assert_allclose(stats_of_map(value), expected, rtol=1e-4, atol=1e-5, err_msg=name)


def test_gradient_norms_equal_golden(r50: SlowFastResNet, golden) -> None:
    variables = {v.name.removesuffix(":0"): v for v in r50.trainable_variables}
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(r50(golden.draw_input(CASES[0])[..., np.newaxis])["embedding"] ** 2)
    np.testing.assert_allclose(loss, golden.values["grad_norm/loss"], rtol=1e-4)
    norms = {name: tf.norm(gradient) for name, gradient in tape.gradient(loss, variables).items()}
    expected = dict(
        zip(golden.values["grad_norm/names"].tolist(), golden.values["grad_norm/values"], strict=True)
    )
    assert set(norms) == {our_name(name) for name in expected}
    for name, value in expected.items():
        np.testing.assert_allclose(norms[our_name(name)], value, rtol=1e-3, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_slow_frames_equal_golden(golden, case: str) -> None:
    frames = int(case.split("x")[1])
    picked = slow_frames(tf.reshape(tf.range(frames), [1, frames, 1, 1]), 4)
    np.testing.assert_array_equal(tf.reshape(picked, [-1]), golden.values[f"{case}/slow_index"])


@pytest.mark.parametrize(
    ("frames", "expected"), [(1, [0]), (4, [0]), (7, [0]), (8, [0, 7]), (13, [0, 6, 12])]
)
def test_slow_frames_of_short_clips(frames: int, expected: list[int]) -> None:
    picked = slow_frames(tf.reshape(tf.range(frames), [1, frames, 1, 1]), 4)
    assert tf.reshape(picked, [-1]).numpy().tolist() == expected


@pytest.mark.parametrize("name", ["sf_resnet50_bn_tiny", "sf_nf_resnet50_tiny"])
def test_every_length_has_an_embedding(name: str) -> None:
    """Lengths of all remainders, where the fast map is as long as the slow one and where it is longer."""
    encoder = load_encoder(name).build(0)
    for frames in [1, 3, *range(49, 66)]:
        embedding = encoder(tf.random.stateless_normal([1, frames, 64, 1], seed=[frames, 0]))["embedding"]
        assert embedding.shape == (1, 320)
        assert np.isfinite(embedding).all()


@pytest.mark.parametrize("kind", [LayerNorm, InstanceNorm])
def test_normalisers_equal_numpy(kind: type) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 2.0, (2, 5, 4, 3)).astype(np.float32)
    layer = kind("norm", 3, 1.0)
    gamma, beta = rng.normal(size=(2, 3)).astype(np.float32)
    load_weights(layer, {"norm/gamma": gamma, "norm/beta": beta})
    axes = (1, 2, 3) if kind is LayerNorm else (1, 2)
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    expected = (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    np.testing.assert_allclose(layer(tf.constant(x)), expected, atol=1e-5)


def test_a_block_starts_as_its_shortcut() -> None:
    for normaliser in ("bn", "ln", "in", "none"):
        encoder = load_encoder(f"sf_resnet50_{normaliser}_tiny").build(0)
        block = next(m for m in encoder.submodules if m.name == "slow/block3")  # its shortcut is the identity
        x = tf.nn.relu(tf.random.stateless_normal([1, 6, 4, 128], seed=[1, 1]))
        np.testing.assert_array_equal(block(x, training=False), x)


def test_only_the_normaliser_tells_the_variants_apart() -> None:
    bn, ln, none = (
        canonical_variables(load_encoder(f"sf_resnet50_{n}_tiny").build(1)) for n in ("bn", "ln", "none")
    )
    kernels = {name for name in bn if name.endswith("/w")}
    for other in (ln, none):
        assert {name for name in other if name.endswith("/w")} == kernels
        for name in kernels:
            if not (other is none and name.endswith("conv_c/w")):
                np.testing.assert_array_equal(bn[name], other[name], err_msg=name)
