"""Cost of every encoder against ResNet-50: a training step, an embedding, and the peak memory of each.

    python -m benchmarks.encoders [--encoders sf_nfnet_f0,nfnet_f0] [--batch 8] [--seconds 3] [--rounds 5]

Each encoder has a process of its own for training and one for embedding, whose peak resident memory (TensorFlow
itself included; its line comes first) the kernel reports when it ends. ResNet-50 has such processes throughout,
and the two take turns, a call each, so that a slow spell of the machine touches both alike; medians and their
ratio are printed. Without `--encoders`, all full-size encoders are measured.

A training step is what the training loop does with one batch beside the objective: forward with drops, gradients
of all variables, Adam. An embedding is that of the folded encoder, as it is exported. Inputs are noise.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from models.encoder import encoder_names, load_encoder
from models.frontend import FrontendConfig

REFERENCE = "resnet50"
NOTHING = "-"  # a process that has imported what all others import, and computes nothing
MODES = ("train", "embed")


@dataclass(frozen=True)
class Setting:
    """What is measured: clips in a batch, seconds of a clip, turns."""

    batch: int
    seconds: float
    rounds: int


@dataclass(frozen=True)
class Cost:
    """Of one encoder in one mode: seconds of each turn, and the reference's in the same turns."""

    seconds: list[float]
    reference_seconds: list[float]
    peak_mib: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def ratio(self) -> float:
        return self.median / statistics.median(self.reference_seconds)


class Worker:
    """A process that makes one encoder ready, and then times a call whenever it is asked.

    Raises:
        RuntimeError: it ended early.
    """

    def __init__(self, encoder: str, mode: str, setting: Setting) -> None:
        command = [sys.executable, "-m", "benchmarks.encoders", "--worker", encoder, "--mode", mode]
        command += ["--batch", str(setting.batch), "--seconds", str(setting.seconds)]
        self._name = f"{encoder} ({mode})"
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def turn(self) -> float:
        """Seconds of one call."""
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return float(self._answer())

    def end(self) -> float:
        """Ends the process; its peak resident memory in MiB."""
        self._process.stdin.close()
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if self._process.returncode:
            raise RuntimeError(f"{self._name} ended with {self._process.returncode}")
        return usage.ru_maxrss / 1024

    def _answer(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name} ended with {self._process.wait()} before it answered")
        return line


def prepared(name: str, mode: str, setting: Setting) -> Callable[[], None]:
    """One call of encoder `name`, compiled and run once."""
    if name == NOTHING:
        return lambda: None
    record, config = load_encoder(name), FrontendConfig()
    samples = round(setting.seconds * config.sample_rate)
    shape = [setting.batch, samples]
    if record.input_kind == "log_mel":
        shape = [setting.batch, config.num_frames(samples), record.mel_bins, 1]
    x = tf.random.stateless_normal(shape, seed=[1, 2])
    encoder = record.build(0)
    encoder(x[:1])
    if mode == "embed":
        frozen = encoder.folded()
        embed = tf.function(lambda inputs: frozen(inputs)["embedding"])
        call = lambda: embed(x).numpy()  # noqa: E731
    else:
        optimizer = tf.keras.optimizers.legacy.Adam(1e-5, epsilon=1e-8)
        noise = tf.random.stateless_uniform([setting.batch, encoder.noise_size], seed=[3, 4])

        @tf.function
        def step() -> tf.Tensor:
            with tf.GradientTape() as tape:
                embedding = encoder(x, training=True, noise=noise)["embedding"]
                loss = tf.reduce_mean(tf.square(embedding))
            gradients = tape.gradient(loss, encoder.trainable_variables)
            optimizer.apply_gradients(zip(gradients, encoder.trainable_variables, strict=True))
            return loss

        call = lambda: step().numpy()  # noqa: E731
    call()
    return call


def work(name: str, mode: str, setting: Setting) -> None:
    """The worker's side: a line when ready, and then a line of seconds for each line read."""
    call = prepared(name, mode, setting)
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        call()
        print(time.perf_counter() - began, flush=True)


def measure(names: list[str], mode: str, setting: Setting) -> dict[str, Cost]:
    """The cost of each encoder in one mode, in turns with the reference."""
    reference = Worker(REFERENCE, mode, setting)
    costs = {}
    for name in [NOTHING, *names]:
        worker = Worker(name, mode, setting)
        turns = [(worker.turn(), reference.turn()) for _ in range(setting.rounds)]
        own, others = zip(*turns, strict=True)
        costs[name] = Cost(list(own), list(others), worker.end())
        print(f"{mode} {name}: {costs[name].median:.2f} s", file=sys.stderr, flush=True)
    reference.end()
    return costs


def table(names: list[str], train: dict[str, Cost], embed: dict[str, Cost]) -> str:
    """Markdown, a line an encoder."""
    lines = [
        f"| encoder | parameters | train step, s | x {REFERENCE} | peak, MiB "
        f"| embedding, s | x {REFERENCE} | peak, MiB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        f"| (TensorFlow alone) | | | | {train[NOTHING].peak_mib:.0f} | | | {embed[NOTHING].peak_mib:.0f} |",
    ]
    for name in names:
        cells = [f"| {name} | {load_encoder(name).parameters:,}"]
        for cost in (train[name], embed[name]):
            cells.append(f"{cost.median:.3f} | {cost.ratio:.2f} | {cost.peak_mib:.0f}")
        lines.append(" | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoders", help="comma-separated; all full-size ones where not given")
    parser.add_argument("--batch", type=int, default=8, help="clips in a batch")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a clip")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each encoder")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--mode", choices=MODES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    setting = Setting(arguments.batch, arguments.seconds, arguments.rounds)
    if arguments.worker:
        work(arguments.worker, arguments.mode, setting)
        return
    names = [name for name in encoder_names() if not name.endswith("_tiny")]
    if arguments.encoders:
        names = arguments.encoders.split(",")
        for name in names:
            load_encoder(name)  # an unknown name fails here, before anything is measured
    train, embed = (measure(names, mode, setting) for mode in MODES)
    print(f"{setting.batch} clips of {setting.seconds:g} s, medians of {setting.rounds} turns\n")
    print(table(names, train, embed))


if __name__ == "__main__":
    main()
