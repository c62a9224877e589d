"""Run as a program: compares one replica with several and prints the figures as JSON.

replica_figures.py FOLDER mirrored COUNT OBJECTIVE ...       logical CPU devices of this process
replica_figures.py FOLDER multi_worker COUNT OBJECTIVE ...   processes, of which `TF_CONFIG` says which this is
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from kits import training_kit as KIT
from models.encoder import load_encoder
from models.objective import Replicas, load_objective
from models.training import loop
from models.training.config import TrainingConfig
from models.training.distribution import make_strategy
from models.training.step import replica_gradients, trainable_variables

CLIPS = 8
SETTINGS = {
    "byola": {"queue_size": 12, "hidden_size": 8, "projection_size": 6, "decay": 0.5},
    "cola": {"projection_size": 6},
    "clmr": {"projection_size": 6, "noise": 0.5, "temperature": 0.1},
    "cpc": {"steps": 3},
    "simclr": {"projector_sizes": (12, 12), "projection_size": 6},
    "wav2vec2": {"projection_size": 6, "mask_length": 3, "negatives": 5},
}
CROPS = {"log_mel": (20, 16), "waveform": (800,), "frames": (4800,)}
FRAME_ENCODERS = {"causal": "bidir_cpc_tiny", "masked": "wav2vec2_tiny"}


def crop_of(record):
    return CROPS["frames" if record.frames else record.input_kind]


def batch(record, objective, seed):
    rng = np.random.default_rng(seed)
    views, crop = record.num_views, crop_of(record)

    def normal(*shape):
        return tf.constant(rng.normal(size=shape), tf.float32)

    def uniform(*shape):
        return tf.constant(rng.uniform(size=shape), tf.float32)

    return {
        "clips": normal(CLIPS, views, *crop),
        "labels": tf.constant(rng.integers(0, 2, (CLIPS, 3)), tf.float32),
        "noise": uniform(CLIPS, views, 2 * record.passes),
        "objective_noise": uniform(CLIPS, views, objective.noise_size),
        "partners": normal(CLIPS, views, *crop),
        "partner_labels": tf.constant(rng.integers(0, 2, (CLIPS, views, 3)), tf.float32),
        "ratio": tf.constant(rng.beta(5, 2, (CLIPS, views)), tf.float32),
    }


def built(name, strategy, **settings):
    config = TrainingConfig(
        objective=name, crop_seconds=0.05,
        objective_settings={**SETTINGS.get(name, {}), **settings},
    )  # fmt: skip
    record = load_objective(name)
    kind = KIT.RECORD if record.input_kind == "log_mel" else KIT.WAVE_RECORD
    if record.frames:
        kind = load_encoder(FRAME_ENCODERS[record.frames])
    crop = crop_of(record)
    with strategy.scope():
        encoder = kind.build(3)
        encoder(tf.zeros([1, *crop, 1] if len(crop) == 2 else [1, *crop]))
        objective = record.build(config, kind, 3, crop)
        if name == "classification":  # off its zeros, where the encoder gets no gradient
            objective.head.kernel.assign(tf.reshape(tf.linspace(-1.0, 1.0, 30), [10, 3]))
        if name == "cola":
            objective.bilinear.assign(tf.reshape(tf.linspace(-1.0, 1.0, 36), [6, 6]))
        if name == "cpc":
            for predictor in (*objective.forward, *objective.backward):
                predictor.assign(tf.eye(32))
    objective.begin(encoder)
    return record, encoder, objective


def loss_and_gradients(name, strategy):
    """Loss, metrics, gradients, and each replica's state: of the second update where there is state."""
    record, encoder, objective = built(name, strategy)
    weights = trainable_variables(encoder, objective)
    known = {id(variable) for variable in weights}
    state = [variable for variable in objective.variables if id(variable) not in known]
    share = CLIPS // strategy.num_replicas_in_sync
    sum_ = tf.distribute.ReduceOp.SUM

    def update(part):
        loss, metrics, gradients = replica_gradients(encoder, objective, part)
        for variable, gradient in zip(weights, gradients, strict=True):
            variable.assign_sub(0.1 * gradient)
        objective.after_update(encoder)
        return loss, metrics, gradients

    @tf.function
    def run(shares):
        loss, metrics, gradients = strategy.run(update, args=(shares,))
        first = [strategy.experimental_local_results(g)[0] for g in gradients]
        return strategy.reduce(sum_, loss, None), {
            key: strategy.reduce(sum_, value, None) for key, value in metrics.items()
        }, first  # fmt: skip

    for seed in range(2 if state else 1):
        whole = batch(record, objective, seed)

        def rows(context, whole=whole):
            first = context.replica_id_in_sync_group * share
            return {key: value[first : first + share] for key, value in whole.items()}

        loss, metrics, gradients = run(strategy.experimental_distribute_values_from_function(rows))
    copies = [[copy.numpy() for copy in strategy.experimental_local_results(value)] for value in state]
    return float(loss), {k: float(v) for k, v in metrics.items()}, [g.numpy() for g in gradients], copies


def compared(one, many):
    """The largest differences of loss, metrics, gradients, and state: from one replica, and between copies."""
    copies = [(a[0], copy) for a, b in zip(one[3], many[3], strict=True) for copy in b]
    return {
        "loss": abs(one[0] - many[0]),
        "metrics": max((abs(one[1][key] - many[1][key]) for key in one[1]), default=0.0),
        "gradient": max(float(np.abs(a - b).max()) for a, b in zip(one[2], many[2], strict=True)),
        "largest_gradient": float(max(np.abs(gradient).max() for gradient in one[2])),
        "state": max((float(np.abs(a - b).max()) for a, b in copies), default=0.0),
        "between_copies": max((float(np.abs(v[0] - c).max()) for v in many[3] for c in v), default=0.0),
        "states": len(one[3]),
    }


def figures_of(strategy, objectives):
    """Of each objective, one replica against `strategy`; and of SimCLR with each of two mistakes in `Replicas`."""
    one, found = make_strategy("single"), {}
    for name in objectives:
        found[name] = compared(loss_and_gradients(name, one), loss_and_gradients(name, strategy))
    right = Replicas.gather, Replicas.sum
    whole = loss_and_gradients("simclr", one)
    Replicas.gather = lambda self, rows: tf.stop_gradient(right[0](self, rows))
    found["simclr, gather stopped"] = compared(whole, loss_and_gradients("simclr", strategy))
    Replicas.gather, Replicas.sum = right[0], lambda self, value: right[1](self, value) / self.count
    found["simclr, gradients averaged"] = compared(whole, loss_and_gradients("simclr", strategy))
    Replicas.gather, Replicas.sum = right
    return found


def train_losses(folder, strategy, objective="simclr"):
    config = TrainingConfig(
        encoder="toy", objective=objective, objective_settings=SETTINGS.get(objective, {}),
        peak_learning_rate=1e-2 if objective == "byola" else 2e-4,  # its target must move to matter
        steps=6, batch_size=8, warmup_steps=1, crop_seconds=0.2, steps_per_loop=1, strategy=strategy,
    )  # fmt: skip
    files = sorted(str(p) for p in Path(folder).glob("*.tfrecord"))
    loop.load_encoder = lambda name: KIT.RECORD
    result = loop.train(config, files, 4, f"{folder}/{objective}-{strategy}")
    return [loss for _, loss in result.loss_history]


def main(folder, kind, replicas, *objectives):
    tf.config.threading.set_intra_op_parallelism_threads(1)
    if kind == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        devices = [tf.config.LogicalDeviceConfiguration()] * int(replicas)
        tf.config.set_logical_device_configuration(cpu, devices)
    strategy = make_strategy(kind)
    assert strategy.num_replicas_in_sync == int(replicas)
    figures = figures_of(strategy, objectives)
    figures["replicas"] = int(replicas)
    figures["train"] = {kind: train_losses(folder, kind)}
    if kind == "mirrored":
        figures["train"]["single"] = train_losses(folder, "single")
    if kind == "mirrored" and "byola" in objectives:
        figures["train with state"] = [train_losses(folder, name, "byola") for name in (kind, "single")]
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
