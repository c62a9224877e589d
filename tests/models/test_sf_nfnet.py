"""The Slowfast NFNet against the authors' network (golden file), and what the golden file cannot show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from models.encoder import load_encoder
from models.encoders import sf_nfnet
from models.encoders._normalizer_free import Block
from models.encoders.sf_nfnet import Fusion, SlowFastNFNet, pathway_blocks
from models.weights import canonical_variables, load_weights

pytestmark = pytest.mark.slow

CASES = ["2x300x80", "1x400x128"]
GoldenInput = Callable[[str], np.ndarray]


@pytest.fixture(scope="module")
def tiny() -> SlowFastNFNet:
    """The small network with skip gains off zero, so that every part of it counts."""
    encoder = load_encoder("sf_nfnet_tiny").build(3)
    for name, variable in canonical_variables(encoder).items():
        if name.endswith("skip_gain"):
            variable.assign(0.7)
    return encoder


def tiny_input(batch: int, frames: int, bins: int) -> tf.Tensor:
    return tf.random.stateless_normal([batch, frames, bins, 1], seed=[frames, bins])


def test_parameter_count_is_that_of_the_authors_network(golden_f0: SlowFastNFNet) -> None:
    assert sum(int(tf.size(v)) for v in golden_f0.trainable_variables) == 62_970_654
    assert not golden_f0.non_trainable_variables


@pytest.mark.parametrize("case", CASES)
def test_embedding_and_every_module_equal_golden(
    golden_f0: SlowFastNFNet,
    sf_nfnet_golden: dict[str, np.ndarray],
    sf_nfnet_input: GoldenInput,
    case: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, np.ndarray] = {}

    def record_outputs(cls: type) -> None:
        original = cls.__call__

        def call(self: tf.keras.layers.Layer, *args: tf.Tensor) -> tf.Tensor:
            output = original(self, *args)
            seen[self.name] = output.numpy()
            return output

        monkeypatch.setattr(cls, "__call__", call)

    record_outputs(Block)
    record_outputs(Fusion)
    outputs = golden_f0(sf_nfnet_input(case))

    assert outputs["embedding"].shape[1] == 3456
    assert outputs["features"].shape[1] == 1728
    np.testing.assert_allclose(outputs["embedding"], sf_nfnet_golden[f"{case}/embedding"], atol=1e-5)
    names = {"fusion0": "fuse_fast2_slow"} | {f"fusion{i}": f"fuse_fast2_slow_{i}" for i in (1, 2, 3)}
    stored = [name for name in sf_nfnet_golden if name.startswith(f"{case}/stats/")]
    assert len(stored) == len(seen) == 28
    for name, value in seen.items():
        stats = [value.mean(), value.std(), *value[0].ravel()[:6]]
        np.testing.assert_allclose(
            stats,
            sf_nfnet_golden[f"{case}/stats/{names.get(name, name)}"],
            rtol=1e-4,
            atol=1e-5,
            err_msg=name,
        )


def test_gradient_norms_equal_golden(
    golden_f0: SlowFastNFNet, sf_nfnet_golden: dict[str, np.ndarray], sf_nfnet_input: GoldenInput
) -> None:
    variables = canonical_variables(golden_f0)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(golden_f0(sf_nfnet_input(CASES[0]))["embedding"] ** 2)
    norms = {name: tf.norm(gradient) for name, gradient in tape.gradient(loss, variables).items()}
    assert set(norms) == set(sf_nfnet_golden["grad_norm/names"].tolist())
    for name, expected in zip(
        sf_nfnet_golden["grad_norm/names"], sf_nfnet_golden["grad_norm/values"], strict=True
    ):
        np.testing.assert_allclose(norms[name], expected, rtol=1e-3, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_folding_keeps_the_function(golden_f0: SlowFastNFNet, sf_nfnet_input: GoldenInput, case: str) -> None:
    folded = golden_f0.folded()
    assert not any(name.endswith("/gain") for name in canonical_variables(folded))
    x = sf_nfnet_input(case)
    expected, got = golden_f0(x), folded(x)
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], rtol=0, atol=1e-6, err_msg=name)


def test_beta_follows_the_expected_variance() -> None:
    # The sequence that the reference outputs' notes give for NFNet-F0, rounded as there.
    expected = [1, 0.98058, 0.98058, 0.96225, 0.98058, 0.96225]
    expected += [0.94491, 0.92848, 0.91287, 0.89803, 0.98058, 0.96225]
    for pathway in (sf_nfnet.F0.slow, sf_nfnet.F0.fast):
        blocks = [block for stage in pathway_blocks(sf_nfnet.F0, pathway) for block in stage]
        np.testing.assert_allclose([block.beta for block in blocks], expected, atol=1e-5)
        np.testing.assert_allclose([block.drop_rate for block in blocks], 0.1 * np.arange(12) / 12)


@pytest.mark.parametrize("seconds", [1, 3, 5])
@pytest.mark.parametrize("bins", [64, 80, 128])
def test_any_length_and_number_of_mel_bins(tiny: SlowFastNFNet, seconds: int, bins: int) -> None:
    outputs = tiny(tiny_input(1, 100 * seconds - 2, bins))
    assert outputs["embedding"].shape == (1, 480)
    assert outputs["features"].shape == (1, 240)
    assert np.isfinite(outputs["embedding"]).all()


def test_one_frame_is_enough(tiny: SlowFastNFNet) -> None:
    assert np.isfinite(tiny(tiny_input(1, 1, 80))["embedding"]).all()


def test_every_variable_gets_a_gradient(tiny: SlowFastNFNet) -> None:
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tiny(tiny_input(2, 98, 80))["embedding"] ** 2)
    gradients = tape.gradient(loss, tiny.trainable_variables)
    silent = [
        variable.name
        for variable, gradient in zip(tiny.trainable_variables, gradients, strict=True)
        if gradient is None or not np.any(gradient.numpy()) or not np.isfinite(gradient.numpy()).all()
    ]
    assert silent == []


def test_without_drops_training_equals_inference(tiny: SlowFastNFNet) -> None:
    x = tiny_input(2, 98, 80)
    kept = tiny(x, training=True, noise=tf.zeros([2, tiny.noise_size]))["embedding"]
    np.testing.assert_allclose(kept, tiny(x)["embedding"], atol=1e-6)


def test_a_drop_is_per_example_and_unscaled(tiny: SlowFastNFNet) -> None:
    """Dropping a block equals a zero skip gain; the other examples of the batch are untouched."""
    assert tiny.noise_size == 8  # the first block of each pathway is never dropped
    x = tiny_input(2, 98, 80)
    columns = defaultdict(list)
    for i, name in enumerate([f"{path}/block{b}" for path in ("fast", "slow") for b in range(1, 5)]):
        columns[name].append(i)
    for name, column in columns.items():
        noise = np.zeros((2, 8), np.float32)
        noise[1, column] = 0.999
        dropped = tiny(x, training=True, noise=tf.constant(noise))["embedding"]
        skip_gain = canonical_variables(tiny)[f"{name}/skip_gain"]
        skip_gain.assign(0.0)
        without = tiny(x)["embedding"]
        skip_gain.assign(0.7)
        np.testing.assert_allclose(dropped[0], tiny(x)["embedding"][0], atol=1e-6)
        np.testing.assert_allclose(dropped[1], without[1], atol=1e-6)
        assert np.abs(dropped[1] - tiny(x)["embedding"][1]).max() > 1e-4


def test_the_rate_is_where_dropping_starts(tiny: SlowFastNFNet) -> None:
    x = tiny_input(1, 98, 80)
    rate = 0.1 * 4 / 5  # the last block of the fast pathway, column 3
    noise = np.zeros((1, 8), np.float32)
    for value, drops in ((1 - rate - 1e-3, False), (1 - rate + 1e-3, True)):
        noise[0, 3] = value
        difference = tiny(x, training=True, noise=tf.constant(noise))["embedding"] - tiny(x)["embedding"]
        assert (np.abs(difference).max() > 1e-4) == drops


def test_training_without_noise_is_refused(tiny: SlowFastNFNet) -> None:
    with pytest.raises(ValueError, match=r"noise \(b, 8\).*got none"):
        tiny(tiny_input(1, 98, 80), training=True)
    with pytest.raises(ValueError, match=r"noise \(b, 8\)"):
        tiny(tiny_input(1, 98, 80), training=True, noise=tf.zeros([1, 7]))


def test_input_without_channel_is_refused(tiny: SlowFastNFNet) -> None:
    with pytest.raises(ValueError, match="add a channel axis"):
        tiny(tf.zeros([1, 98, 80]))


def test_initial_weights_depend_on_the_seed_and_the_name_alone() -> None:
    build = load_encoder("sf_nfnet_tiny").build
    one, same, other = (canonical_variables(build(seed)) for seed in (1, 1, 2))
    for name, variable in one.items():
        np.testing.assert_array_equal(variable, same[name])
        leaf = name.rsplit("/", 1)[-1]
        if leaf == "w":
            assert not np.array_equal(variable, other[name]), name
        else:
            assert np.all(variable.numpy() == (1.0 if leaf == "gain" else 0.0)), name
    w = one["slow/block2/conv2/w"].numpy()
    assert w.std() == pytest.approx(1 / np.sqrt(w.shape[2]), rel=0.05)


def test_bfloat16_stays_near_float32_and_keeps_float32_weights(tiny: SlowFastNFNet) -> None:
    policy = tf.keras.mixed_precision.Policy("mixed_bfloat16")
    half = SlowFastNFNet(sf_nfnet.TINY, seed=3, dtype=policy)
    load_weights(half, canonical_variables(tiny))
    assert {v.dtype for v in half.variables} == {tf.float32}
    x = tiny_input(2, 98, 80)
    expected, got = tiny(x)["embedding"], half(x)["embedding"]
    assert got.dtype == tf.float32
    assert np.linalg.norm(got - expected) < 0.02 * np.linalg.norm(expected)
    assert half.folded().dtype_policy.name == "mixed_bfloat16"
