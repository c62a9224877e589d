"""ViT against the reference outputs of timm's network, and what those cannot show."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.encoder import load_encoder
from models.encoders import vit
from models.encoders._plain_layers import Dense
from models.weights import load_weights

CASE = "2x304x80"


def our_name(torch_name: str) -> str:
    *module, leaf = torch_name.split(".")
    if not module:
        return leaf
    leaves = ("gamma", "beta") if module[-1].startswith("norm") else ("w", "b")
    return f"{'/'.join(module)}/{leaves[leaf == 'bias']}"


def our_layout(weight: np.ndarray) -> np.ndarray:
    """Patches are flattened time outer, frequency inner, in both."""
    if weight.ndim == 4:
        return weight.reshape(len(weight), -1).T
    return weight.T if weight.ndim == 2 else weight


@pytest.fixture(scope="module")
def golden(torch_golden):
    return torch_golden("vit_base")


@pytest.fixture(scope="module")
def base(golden) -> vit.ViT:
    encoder = load_encoder("vit_base").build(0)
    assert len(golden.weights) == 149
    load_weights(encoder, {our_name(name): our_layout(w) for name, w in golden.weights.items()})
    return encoder


@pytest.fixture(scope="module")
def tiny() -> vit.ViT:
    return load_encoder("vit_tiny").build(3)


def test_embedding_and_every_module_equal_golden(
    base: vit.ViT, golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, np.ndarray] = {}
    for layer in (Dense, vit.Attention, vit.Block):
        original = layer.__call__

        def call(self, *args, original=original, **kwargs):
            output = original(self, *args, **kwargs)
            seen[self.name] = output.numpy()
            return output

        monkeypatch.setattr(layer, "__call__", call)
    x = golden.draw_input(CASE)[..., np.newaxis]
    embedding = base(x)["embedding"]
    np.testing.assert_allclose(embedding, golden.values[f"{CASE}/embedding"], rtol=0, atol=1e-5)
    seen["patch_embed"] = seen["patch_embed/proj"]
    seen["norm_pre"] = base.tokens(tf.constant(x)).numpy()
    seen["norm"] = base.norm(tf.constant(seen["blocks/11"])).numpy()
    for name, expected in golden.stats(CASE).items():
        value = seen[name.replace(".", "/")]
        got = [value.mean(dtype=np.float64), value.std(dtype=np.float64), *value[0].ravel()[:6]]
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5, err_msg=name)


def test_gradient_norms_equal_golden(base: vit.ViT, golden) -> None:
    assert str(golden.values["grad_norm/case"]) == CASE
    variables = {v.name.removesuffix(":0"): v for v in base.trainable_variables}
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(base(golden.draw_input(CASE)[..., np.newaxis])["embedding"] ** 2)
    np.testing.assert_allclose(loss, golden.values["grad_norm/loss"], rtol=1e-4)
    norms = {name: tf.norm(gradient) for name, gradient in tape.gradient(loss, variables).items()}
    names, values = golden.values["grad_norm/names"].tolist(), golden.values["grad_norm/values"]
    assert set(norms) == {our_name(name) for name in names}
    for name, value in zip(names, values, strict=True):
        np.testing.assert_allclose(norms[our_name(name)], value, rtol=1e-3, err_msg=name)


def test_positions_of_the_table_s_own_size_are_the_table(tiny: vit.ViT) -> None:
    np.testing.assert_allclose(tiny.position_table(19, 5), tiny.pos_embed, atol=1e-7)


@pytest.mark.parametrize(("rows", "columns"), [(6, 4), (32, 8), (19, 4), (1, 1)])
def test_positions_of_other_sizes_are_linear_between_cells(tiny: vit.ViT, rows: int, columns: int) -> None:
    table = tiny.pos_embed.numpy().reshape(19, 5, -1)
    for axis, wanted in ((0, rows), (1, columns)):
        stored = table.shape[axis]
        places = (np.arange(wanted) + 0.5) / wanted
        cells = (np.arange(stored) + 0.5) / stored
        table = np.apply_along_axis(lambda v, p=places, c=cells: np.interp(p, c, v), axis, table)
    got = tiny.position_table(rows, columns)
    np.testing.assert_allclose(got[0], table.reshape(rows * columns, -1), atol=1e-6)


def test_sizes_are_filled_up_to_whole_patches_with_zeros(tiny: vit.ViT) -> None:
    x = tf.random.stateless_normal([2, 298, 72, 1], seed=[1, 2])
    expected = tiny(tf.pad(x, [[0, 0], [0, 6], [0, 8], [0, 0]]))["embedding"]
    np.testing.assert_allclose(tiny(x)["embedding"], expected, atol=1e-5)
    free = tf.function(tiny, input_signature=[tf.TensorSpec([None, None, None, 1])])
    np.testing.assert_allclose(free(x)["embedding"], expected, atol=1e-5)


def test_the_order_of_frames_counts(tiny: vit.ViT) -> None:
    x = tf.random.stateless_normal([1, 96, 80, 1], seed=[1, 2])
    swapped = tf.concat([x[:, 48:], x[:, :48]], axis=1)  # whole patches change places
    assert np.abs(tiny(x)["embedding"] - tiny(swapped)["embedding"]).max() > 1e-4
