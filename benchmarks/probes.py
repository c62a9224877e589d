"""Speed of a probe's training against TensorFlow's compiled graphs and Keras' `fit`, on the same batches.

    python -m benchmarks.probes [--whole | --steps N]

A linear probe of 35 classes on embeddings of 3456 numbers, batches of 64: Speech Commands v2 as the paper trains
it, 400,000 steps. The contenders take turns, so that a slow spell of the machine touches all alike; medians are
compared, of processor time and of wall time: on a machine that others use too, the latter favours who has more threads.

- TensorFlow's graph holds a chunk of steps, gathers in it, and updates the weights by its fused kernel of Adam; what it
  has learnt is compared with ours.
- Keras is compiled as users compile it (Adam under the same warm-up and cosine, sparse cross entropy) and gets the
  batches that ours draws: through tf.data from the same array (what its guide recommends), and from a generator of
  gathered batches.

`--whole` also trains all 400,000 steps, where otherwise the time is extrapolated from the median. `--steps` trains ours
and TensorFlow's graph so long, three seeds each in a process of its own, on embeddings whose classes overlap: time,
peak of memory, and the share of 5,000 test clips that each seed answers right.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from threadpoolctl import threadpool_limits

from hares.embedding.task_embeddings import TaskEmbeddings
from hares.probes._batches import TrainingRows
from hares.probes._layers import softmax_loss, softmax_probabilities, zero_layer
from hares.probes._standard import standardisation
from hares.probes._training import ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON, Network, learning_rate, train
from hares.protocol import ProbeSchedule
from hares.task import load_task

TASK = load_task("speech_commands_v2")
CLIPS, SIZE, CLASSES, BATCH = 20_000, 3_456, 35, 64
PAPER_STEPS = 400_000
STEPS, ROUNDS, SEEDS = 1_000, 5, 3


def embeddings() -> TaskEmbeddings:
    """Random embeddings of 20,000 training clips, one crop each."""
    random = np.random.default_rng(0)
    index = np.arange(CLIPS)
    return TaskEmbeddings(
        embeddings=random.standard_normal((CLIPS, SIZE), np.float32),
        clip_index=index,
        role=np.zeros(CLIPS, np.int8),
        partner=index,
        mix_weight=np.ones(CLIPS, np.float32),
        clip_ids=tuple(map(str, index)),
        splits=("train",) * CLIPS,
        groups=("",) * CLIPS,
        labels=tuple((int(label),) for label in random.integers(0, CLASSES, CLIPS)),
    )


def schedule(steps: int) -> ProbeSchedule:
    return ProbeSchedule(steps=steps, batch_size=BATCH, learning_rate=2e-4, warmup_steps=max(1, steps // 80))


def ours(rows: TrainingRows, seeds: int) -> Callable[[int], list[np.ndarray]]:
    network = Network(
        initial=lambda size, seed: zero_layer(size, CLASSES),
        loss=softmax_loss((CLASSES,)),
        probabilities=lambda logits: softmax_probabilities((CLASSES,), logits),
    )

    def run(steps: int) -> list[np.ndarray]:
        with threadpool_limits(1, user_api="blas"):  # as `hares.probes.load_probe` has it
            weights, _ = train(network, rows, schedule(steps), list(range(seeds)))
        return [of_seed[0] for of_seed in weights]

    return run


def tensorflow_graph(rows: TrainingRows, seeds: int) -> Callable[[int], list[np.ndarray]]:
    resident = tf.constant(all_rows(rows))
    weights = [[tf.Variable(value) for value in zero_layer(SIZE, CLASSES)] for _ in range(seeds)]
    moments = [[[tf.Variable(tf.zeros_like(v)) for _ in range(2)] for v in own] for own in weights]

    def step(places: tf.Tensor, targets: tf.Tensor, rates: tf.Tensor) -> None:
        rate, *powers = tf.unstack(rates)
        for seed, (own, own_moments) in enumerate(zip(weights, moments, strict=True)):
            inputs = tf.gather(resident, places[seed])
            with tf.GradientTape() as tape:
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                    labels=targets[seed, :, 0], logits=inputs @ own[0] + own[1]
                )
                loss = tf.reduce_mean(losses)
            gradients = tape.gradient(loss, own)
            for variable, (first, second), gradient in zip(own, own_moments, gradients, strict=True):
                tf.raw_ops.ResourceApplyAdam(
                    var=variable.handle, m=first.handle, v=second.handle, beta1_power=powers[0],
                    beta2_power=powers[1], lr=rate, beta1=ADAM_BETA1, beta2=ADAM_BETA2, epsilon=ADAM_EPSILON,
                    grad=gradient,
                )  # fmt: skip

    @tf.function(reduce_retracing=True)
    def optimise(places: tf.Tensor, targets: tf.Tensor, rates: tf.Tensor) -> None:
        for number in tf.range(tf.shape(targets)[0]):
            step(places[number], targets[number], rates[number])

    def run(steps: int) -> list[np.ndarray]:
        for variable in tf.nest.flatten([weights, moments]):
            variable.assign(tf.zeros_like(variable))
        for chunk in rows.chunks(schedule(steps), list(range(seeds))):
            counts = chunk.first + np.arange(len(chunk.targets))
            powers = [beta ** (counts + 1.0) for beta in (ADAM_BETA1, ADAM_BETA2)]
            rates = np.stack([learning_rate(counts, schedule(steps)), *powers], axis=-1).astype(np.float32)
            optimise(*map(tf.constant, (chunk.inputs, chunk.targets, rates)))
        return [of_seed[0].numpy() for of_seed in weights]

    return run


def all_rows(rows: TrainingRows) -> np.ndarray:
    return np.concatenate([block for _, block in rows.blocks()])


def keras_model() -> tf.keras.Model:
    model = tf.keras.Sequential(
        [tf.keras.layers.Dense(CLASSES, kernel_initializer="zeros", input_shape=(SIZE,))]
    )
    rate = tf.keras.optimizers.schedules.CosineDecay(
        0.0, PAPER_STEPS, warmup_target=2e-4, warmup_steps=PAPER_STEPS // 80
    )
    model.compile(
        tf.keras.optimizers.Adam(rate), tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return model


def batch_rows(rows: TrainingRows, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for chunk in rows.chunks(schedule(steps), [0]):
        yield from zip(chunk.inputs[:, 0], chunk.targets[:, 0, :, 0], strict=True)


def keras_tf_data(rows: TrainingRows) -> Callable[[int], None]:
    model, resident = keras_model(), tf.constant(all_rows(rows))

    def run(steps: int) -> None:
        drawn = list(batch_rows(rows, steps))
        indices, labels = (np.stack(part) for part in zip(*drawn, strict=True))
        data = tf.data.Dataset.from_tensor_slices((indices, labels))
        data = data.map(lambda index, label: (tf.gather(resident, index), label)).prefetch(tf.data.AUTOTUNE)
        model.fit(data, epochs=1, verbose=0)

    return run


def keras_generator(rows: TrainingRows) -> Callable[[int], None]:
    model, resident = keras_model(), all_rows(rows)

    def run(steps: int) -> None:
        batches = ((resident[index], label) for index, label in batch_rows(rows, steps))
        model.fit(batches, steps_per_epoch=steps, verbose=0)

    return run


def separable(data: TaskEmbeddings, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and labels of as many clips, a little nearer to their class's centre than to others."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, len(data.labels))
    centres = np.random.default_rng(99).standard_normal((CLASSES, SIZE)).astype(np.float32) * 0.05
    return centres[labels] + random.standard_normal((len(labels), SIZE), np.float32), labels


def one_process(name: str, steps: int) -> None:
    """Prints seconds, processor seconds, peak of memory and each seed's accuracy of one contender."""
    data = embeddings()
    inputs, labels = separable(data, 0)
    data = dataclasses.replace(data, embeddings=inputs, labels=tuple((int(label),) for label in labels))
    everything = np.arange(CLIPS)
    mean, deviation = standardisation(data.embeddings, everything)
    rows = TrainingRows(TASK, TASK.slots, data, everything, mean, deviation)
    run = {"ours": ours, "tensorflow": tensorflow_graph}[name](rows, SEEDS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter(), time.process_time()
    weights = run(steps)
    wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tested, truth = (part[:5_000] for part in separable(data, 1))
    answers = [np.argmax((tested - mean) / deviation @ w.reshape(SIZE, -1), axis=1) for w in weights]
    shares = ", ".join(f"{100 * np.mean(found == truth):.2f}" for found in answers)
    print(f"{name:<12}{steps:>8} steps {wall:.0f} s, {cpu:.0f} s of processor, right {shares}%")
    print(f"{'':<12}{(peak - before) / 1024:.0f} MB more than before, {peak / 1024:.0f} MB in all")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--whole", action="store_true", help="also train all 400,000 steps")
    parser.add_argument(
        "--steps", type=int, help="train ours and TensorFlow's so long, each in its own process"
    )
    parser.add_argument("--contender", choices=["ours", "tensorflow"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        one_process(arguments.contender, arguments.steps)
        return
    if arguments.steps:
        for name in ("ours", "tensorflow"):
            command = [sys.executable, "-m", "benchmarks.probes", "--steps", str(arguments.steps)]
            subprocess.run([*command, "--contender", name], check=True)
        return
    data = embeddings()
    everything = np.arange(CLIPS)
    rows = TrainingRows(TASK, TASK.slots, data, everything, *standardisation(data.embeddings, everything))
    contenders: dict[str, Callable[[int], object]] = {
        "ours, 1 seed": ours(rows, 1),
        "ours, 3 seeds": ours(rows, 3),
        "TensorFlow, 1 seed": tensorflow_graph(rows, 1),
        "TensorFlow, 3 seeds": tensorflow_graph(rows, 3),
        "Keras fit, tf.data": keras_tf_data(rows),
        "Keras fit, generator": keras_generator(rows),
    }
    for run in contenders.values():
        run(200)  # tracing and first touches are nobody's speed
    found, expected = (contenders[f"{name}, 3 seeds"](STEPS) for name in ("ours", "TensorFlow"))
    distance = np.linalg.norm(np.subtract(found, expected)) / np.linalg.norm(expected)
    print(f"weights after {STEPS} steps: ours differ from TensorFlow's by {distance:.1e} of their length")
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            began = time.perf_counter(), time.process_time()
            run(STEPS)
            seconds[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    print(f"{'ms a step':<24}{'processor':>10}{'range':>15}{'wall':>8}{'range':>15}{'400k steps':>13}")
    for name, times in seconds.items():
        line = f"{name:<24}"
        for width, values in ((9, [cpu for _, cpu in times]), (8, [wall for wall, _ in times])):
            middle, low, high = (1e3 * f(values) / STEPS for f in (statistics.median, min, max))
            line += f"{middle:>{width}.3f}{low:>8.2f}-{high:<6.2f}"
        print(f"{line}{middle * PAPER_STEPS / 6e4:>9.1f} min")
    if arguments.whole:
        began = time.perf_counter()
        contenders["ours, 1 seed"](PAPER_STEPS)
        print(f"all {PAPER_STEPS} steps, 1 seed: {(time.perf_counter() - began) / 60:.1f} min, measured")


if __name__ == "__main__":
    main()
