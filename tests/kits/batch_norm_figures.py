"""Run as a program: batch normalisation on one replica and on two logical devices; prints the figures as JSON.

batch_norm_figures.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from kits import training_kit as KIT
from models.encoders._batch_norm import BatchNorm
from models.training import loop
from models.training.config import TrainingConfig
from models.training.distribution import make_strategy
from models.weights import canonical_variables

SHAPE = (8, 5, 4, 3)
X = np.random.default_rng(0).normal(2.0, 3.0, SHAPE).astype(np.float32)
WEIGHTS = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)


def layer_figures(strategy):
    """Outputs, gradients and moving statistics of one layer after one training step on the global batch X."""
    with strategy.scope():
        layer = BatchNorm("norm", 3, momentum=0.9, epsilon=1e-5)
        layer.gamma.assign([1.0, 0.5, 2.0])
    rows = SHAPE[0] // strategy.num_replicas_in_sync

    def share(values):
        def own(context):
            first = context.replica_id_in_sync_group * rows
            return tf.constant(values[first : first + rows])

        return strategy.experimental_distribute_values_from_function(own)

    def step(x, weights):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(weights * y**3)
        of_x, of_gamma, of_beta = tape.gradient(loss, [x, layer.gamma, layer.beta])
        return y, of_x, of_gamma, of_beta

    run = tf.function(lambda x, weights: strategy.run(step, args=(x, weights)))
    results = [strategy.experimental_local_results(r) for r in run(share(X), share(WEIGHTS))]
    rowwise = {name: np.concatenate(results[i]) for i, name in enumerate(("output", "gradient"))}
    summed = {
        name: np.sum(results[i], axis=0) for i, name in ((2, "gradient of gamma"), (3, "gradient of beta"))
    }
    moving = {name: getattr(layer, name).numpy() for name in ("moving_mean", "moving_variance")}
    return {name: value.tolist() for name, value in {**rowwise, **summed, **moving}.items()}


def run_figures(folder, strategy):
    """Losses of a run, its moving statistics, and those that its checkpoint holds."""
    config = TrainingConfig(
        encoder="sf_resnet50_bn_tiny", objective="classification", steps=4, batch_size=4, warmup_steps=1,
        peak_learning_rate=1e-3, crop_seconds=0.3, steps_per_loop=1, strategy=strategy,
    )  # fmt: skip
    files = sorted(str(p) for p in Path(folder).glob("*.tfrecord"))
    result = loop.train(config, files, 4, f"{folder}/{strategy}")
    name = "slow/block4/conv_b/norm/moving_variance"
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(f"{folder}/{strategy}"))
    saved = [k for k in reader.get_variable_to_shape_map() if "moving_variance" in k and "OPTIMIZER" not in k]
    moving = canonical_variables(result.encoder)[name].numpy()
    return {
        "losses": [loss for _, loss in result.loss_history],
        "moving": moving.tolist(),
        "saved": len(saved),
        "is saved": any(np.array_equal(reader.get_tensor(k), moving) for k in saved),
    }


def main(folder):
    tf.config.threading.set_intra_op_parallelism_threads(1)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    KIT.write_random_clips(Path(folder))
    tf.config.experimental.enable_op_determinism()
    figures = {}
    for name in ("single", "mirrored"):
        figures[name] = {**layer_figures(make_strategy(name)), **run_figures(folder, name)}
    assert make_strategy("mirrored").num_replicas_in_sync == 2
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
