"""Run as a program: compares one replica with two logical CPU replicas and prints the figures as JSON."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from models.objective import Replicas, load_objective
from models.training import loop
from models.training.config import TrainingConfig
from models.training.distribution import make_strategy
from models.training.step import replica_gradients

CLIPS = 8
KIT = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("training_kit.py"))))


def batch(views):
    rng = np.random.default_rng(0)

    def normal(*shape):
        return tf.constant(rng.normal(size=shape), tf.float32)

    return {
        "clips": normal(CLIPS, views, 20, 16),
        "labels": tf.constant(rng.integers(0, 2, (CLIPS, 3)), tf.float32),
        "noise": tf.constant(rng.uniform(size=(CLIPS, views, 2)), tf.float32),
        "partners": normal(CLIPS, views, 20, 16),
        "partner_labels": tf.constant(rng.integers(0, 2, (CLIPS, views, 3)), tf.float32),
        "ratio": tf.constant(rng.beta(5, 2, (CLIPS, views)), tf.float32),
    }


def loss_and_gradients(name, strategy):
    config = TrainingConfig(objective=name, projector_sizes=(12, 12), projection_size=6)
    record = load_objective(name)
    whole = batch(record.num_views)
    with strategy.scope():
        encoder = KIT.RECORD.build(3)
        encoder(tf.zeros([1, 20, 16, 1]))
        objective = record.build(config, KIT.RECORD, 3)
        if name == "classification":  # off its zeros, where the encoder gets no gradient
            objective.head.kernel.assign(tf.reshape(tf.linspace(-1.0, 1.0, 30), [10, 3]))
    share = CLIPS // strategy.num_replicas_in_sync

    def rows(context):
        first = context.replica_id_in_sync_group * share
        return {key: value[first : first + share] for key, value in whole.items()}

    shares = strategy.experimental_distribute_values_from_function(rows)
    sum_ = tf.distribute.ReduceOp.SUM

    @tf.function
    def run(shares):
        loss, metrics, gradients = strategy.run(
            lambda part: replica_gradients(encoder, objective, part), args=(shares,)
        )
        first = [strategy.experimental_local_results(g)[0] for g in gradients]
        return strategy.reduce(sum_, loss, None), {
            key: strategy.reduce(sum_, value, None) for key, value in metrics.items()
        }, first  # fmt: skip

    loss, metrics, gradients = run(shares)
    return float(loss), {k: float(v) for k, v in metrics.items()}, [g.numpy() for g in gradients]


def compare(name):
    single, double = (loss_and_gradients(name, make_strategy(s)) for s in ("single", "mirrored"))
    largest = max(np.abs(g).max() for g in single[2])
    return {
        "loss": abs(single[0] - double[0]),
        "metrics": max((abs(single[1][key] - double[1][key]) for key in single[1]), default=0.0),
        "gradient": max(float(np.abs(a - b).max()) for a, b in zip(single[2], double[2], strict=True)),
        "largest_gradient": float(largest),
    }


def train_losses(folder, strategy):
    config = TrainingConfig(
        encoder="toy", steps=6, batch_size=8, warmup_steps=1, crop_seconds=0.2, projector_sizes=(12,),
        projection_size=6, steps_per_loop=1, strategy=strategy,
    )  # fmt: skip
    files = sorted(str(p) for p in Path(folder).glob("*.tfrecord"))
    result = loop.train(config, files, 4, f"{folder}/{strategy}")
    return [loss for _, loss in result.loss_history]


def main(folder):
    tf.config.threading.set_intra_op_parallelism_threads(1)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    figures = {name: compare(name) for name in ("simclr", "classification")}
    gather = Replicas.gather

    def stopped_gather(self, rows):
        return tf.stop_gradient(gather(self, rows))

    Replicas.gather = stopped_gather
    stopped_double = loss_and_gradients("simclr", make_strategy("mirrored"))
    Replicas.gather = gather
    whole = loss_and_gradients("simclr", make_strategy("single"))
    figures["simclr_stopped"] = {
        "loss": abs(whole[0] - stopped_double[0]),
        "gradient": max(float(np.abs(a - b).max()) for a, b in zip(whole[2], stopped_double[2], strict=True)),
    }
    loop.load_encoder = lambda name: KIT.RECORD
    figures["train"] = {name: train_losses(folder, name) for name in ("single", "mirrored")}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1])
