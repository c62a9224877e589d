"""Run as a program: compares one replica with several and prints the figures as JSON.

replica_figures.py FOLDER mirrored COUNT       logical CPU devices of this process
replica_figures.py FOLDER multi_worker COUNT   processes, of which `TF_CONFIG` says which this is
"""

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
        objective = record.build(config, KIT.RECORD, 3, (20, 16))
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


def compared(one, many):
    """The largest differences of loss, metrics and gradients."""
    return {
        "loss": abs(one[0] - many[0]),
        "metrics": max((abs(one[1][key] - many[1][key]) for key in one[1]), default=0.0),
        "gradient": max(float(np.abs(a - b).max()) for a, b in zip(one[2], many[2], strict=True)),
        "largest_gradient": float(max(np.abs(gradient).max() for gradient in one[2])),
    }


def figures_of(strategy):
    """Of each objective, one replica against `strategy`; and of SimCLR with each of two mistakes in `Replicas`."""
    one, found = make_strategy("single"), {}
    for name in ("simclr", "classification"):
        found[name] = compared(loss_and_gradients(name, one), loss_and_gradients(name, strategy))
    right = Replicas.gather, Replicas.sum
    whole = loss_and_gradients("simclr", one)
    Replicas.gather = lambda self, rows: tf.stop_gradient(right[0](self, rows))
    found["simclr, gather stopped"] = compared(whole, loss_and_gradients("simclr", strategy))
    Replicas.gather, Replicas.sum = right[0], lambda self, value: right[1](self, value) / self.count
    found["simclr, gradients averaged"] = compared(whole, loss_and_gradients("simclr", strategy))
    Replicas.gather, Replicas.sum = right
    return found


def train_losses(folder, strategy):
    config = TrainingConfig(
        encoder="toy", steps=6, batch_size=8, warmup_steps=1, crop_seconds=0.2, projector_sizes=(12,),
        projection_size=6, steps_per_loop=1, strategy=strategy,
    )  # fmt: skip
    files = sorted(str(p) for p in Path(folder).glob("*.tfrecord"))
    loop.load_encoder = lambda name: KIT.RECORD
    result = loop.train(config, files, 4, f"{folder}/{strategy}")
    return [loss for _, loss in result.loss_history]


def main(folder, kind, replicas):
    tf.config.threading.set_intra_op_parallelism_threads(1)
    if kind == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        devices = [tf.config.LogicalDeviceConfiguration()] * int(replicas)
        tf.config.set_logical_device_configuration(cpu, devices)
    strategy = make_strategy(kind)
    assert strategy.num_replicas_in_sync == int(replicas)
    figures = figures_of(strategy)
    figures["train"] = {kind: train_losses(folder, kind)}
    if kind == "mirrored":
        figures["train"]["single"] = train_losses(folder, "single")
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
