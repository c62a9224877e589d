"""What training and the export cost: update, loop, input pipeline, plain forward and exports, in one run.

    python -m benchmarks.train [--encoder sf_nfnet_f0] [--rounds 7]

Spectrograms of 300 x 80, eight at a time (SimCLR: two views of four clips). The contenders take turns, so that a slow
spell of the machine touches all alike; medians are compared. The plain forward is the network in a graph as it is
published: kernels standardised in every call, and everything computed in front of a strided convolution, also what it
then steps over. Beside it stands our network, which leaves the latter out in training too. The exports are loaded from
disk as users load them. The loop is the product's own (`models.training.step`), on its own input pipeline; the bare
update is the same mathematics in a `tf.function` on one fixed batch. Weights are random, with every residual branch
open.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from benchmarks.input_pipeline import CLIP_FRAMES, write_records
from models.compute_dtype import computing_in
from models.encoder import Encoder, load_encoder
from models.encoders._normalizer_free import Block
from models.export import export_saved_model
from models.frontend import FrontendConfig
from models.objective import Objective, load_objective
from models.training.config import TrainingConfig
from models.training.input_pipeline import InputSpec, make_dataset
from models.training.optimizers import build_optimizer
from models.training.records import open_records
from models.training.step import compile_steps, replica_gradients, trainable_variables

FRAMES, MEL_BINS, CLIPS, VIEWS = 300, 80, 4, 2
DTYPES = ("float32", "bfloat16")
RECORDS, INPUT_BATCHES, LOOP_STEPS = 64, 50, 2
Contender = Callable[[], float]  # seconds of one call's work


def input_spec(file: str, encoder: Encoder) -> InputSpec:
    return InputSpec(
        records=open_records([file]),
        batch_size=CLIPS,
        num_views=VIEWS,
        mixes=True,
        num_classes=0,
        noise_size=encoder.noise_size,
        input_kind="log_mel",
        crop_length=FRAMES,
        mel_bins=MEL_BINS,
        mixing_alpha=5.0,
        mixing_beta=2.0,
        seed=0,
    )


def timed(call: Callable[[], Any]) -> Contender:
    def run() -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    return run


def opened(encoder: Encoder) -> Encoder:
    """Residual branches start closed, and a graph of constants would leave them out altogether."""
    for variable in encoder.variables:
        if variable.name.endswith("skip_gain:0"):
            variable.assign(0.7)
    return encoder


@contextlib.contextmanager
def strides_as_published(encoder: Encoder) -> Iterator[None]:
    """Inside, the strides of normaliser-free blocks are where table 5 has them; outside, where they cost least.

    What is traced inside stays as it was traced.
    """
    blocks = [module for module in encoder.submodules if isinstance(module, Block)]
    ours = [(block.conv0.stride, block.conv1.stride) for block in blocks]
    for block in blocks:
        block.conv0.stride, block.conv1.stride = (1, 1), block.config.stride
    try:
        yield
    finally:
        for block, strides in zip(blocks, ours, strict=True):
            block.conv0.stride, block.conv1.stride = strides


class Trained:
    """An encoder, SimCLR and Adam in one number type."""

    def __init__(self, name: str, compute_dtype: str) -> None:
        record = load_encoder(name)
        self.config = TrainingConfig(encoder=name, batch_size=CLIPS, peak_learning_rate=1e-6)
        simclr = load_objective("simclr")
        self.metrics = simclr.metrics
        with computing_in(compute_dtype):
            self.encoder = record.build(0)
            self.encoder(tf.zeros([1, FRAMES, MEL_BINS, 1]))
            self.objective: Objective = simclr.build(self.config, record, 0, (FRAMES, MEL_BINS))
            self.optimizer = build_optimizer(self.config, trainable_variables(self.encoder, self.objective))
        opened(self.encoder)

    def bare_update(self, batch: Any) -> Contender:
        variables = trainable_variables(self.encoder, self.objective)

        @tf.function
        def update() -> tf.Tensor:
            loss, _, gradients = replica_gradients(self.encoder, self.objective, batch)
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return loss + 0.0 * tf.linalg.global_norm(gradients)

        return timed(lambda: update().numpy())

    def loop(self, batches: Iterator[Any]) -> Contender:
        steps = compile_steps(
            tf.distribute.get_strategy(), self.encoder, self.objective, self.optimizer, self.metrics, batches
        )

        def run() -> float:
            return timed(lambda: steps(LOOP_STEPS))() / LOOP_STEPS

        return run


def forward(encoder: Encoder, spectrograms: tf.Tensor) -> Contender:
    """The encoder in a graph, traced here and now."""
    spec = tf.TensorSpec(spectrograms.shape, spectrograms.dtype)
    embed = tf.function(lambda x: encoder(x[..., tf.newaxis], training=False)["embedding"])
    traced = embed.get_concrete_function(spec)
    return timed(lambda: traced(spectrograms).numpy())


def contenders(name: str, folder: Path) -> dict[str, Contender]:
    """Every contender by its name; the first is what forwards are compared with."""
    found: dict[str, Contender] = {}
    spectrograms = tf.random.stateless_normal([CLIPS * VIEWS, FRAMES, MEL_BINS], [0, 1])
    file = write_records(folder / "clips.tfrecord", 0, RECORDS, CLIP_FRAMES)
    trained = {dtype: Trained(name, dtype) for dtype in DTYPES}
    for dtype, part in trained.items():
        with strides_as_published(part.encoder):
            found[f"plain forward, {dtype}"] = forward(part.encoder, spectrograms)
    for dtype, part in trained.items():
        found[f"our forward, {dtype}"] = forward(part.encoder, spectrograms)
    for dtype in DTYPES:
        directory = folder / dtype
        encoder = trained["float32"].encoder
        export_saved_model(encoder, load_encoder(name), directory, FrontendConfig(), {}, compute_dtype=dtype)
        embed = tf.saved_model.load(str(directory)).signatures["spectrogram"]
        found[f"export, {dtype}"] = timed(lambda f=embed: f(spectrogram=spectrograms)["embedding"].numpy())
    spec = input_spec(file, trained["float32"].encoder)
    for dtype, part in trained.items():
        found[f"update, {dtype}"] = part.bare_update(next(iter(make_dataset(spec))))
    found["update in the loop, float32"] = trained["float32"].loop(iter(make_dataset(spec)))
    batches = iter(make_dataset(spec))
    found["input pipeline"] = lambda: (
        timed(lambda: [next(batches) for _ in range(INPUT_BATCHES)])() / INPUT_BATCHES
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="sf_nfnet_f0", help="one that takes log-mels")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contender")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = contenders(arguments.encoder, Path(folder))
        for run in found.values():
            run()  # tracing and first touches are nobody's speed
        seconds: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(arguments.rounds):
            for name, run in found.items():
                seconds[name].append(run())
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"{'':30}{'ms':>9}{'range':>18}{'/ plain float32':>18}")
    for name, times in seconds.items():
        extent = f"{1e3 * min(times):.1f}-{1e3 * max(times):.1f}"
        print(
            f"{name:30}{1e3 * middle[name]:>9.1f}{extent:>18}{middle[name] / middle['plain forward, float32']:>18.2f}"
        )
    update = middle["update, float32"]
    print(
        f"the loop adds {100 * (middle['update in the loop, float32'] / update - 1):+.1f}% to a bare update"
    )
    print(
        f"the input pipeline is {update / middle['input pipeline']:.0f} times as fast as the update consumes"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the whole run, which holds both networks and both exports: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
