"""The training loop: weights from records, resumable at every checkpoint and repeatable to the byte.

Paper, section 3 and appendix C; the settings are in `models/training/config.py`. The loop is our own because
Keras' saves neither random state nor the position in the data, and its preemption handler does nothing on
TPU or CPU. Here nothing random is kept at all: each batch, with all that is drawn for it, is a function of
(seed, step), so the step number is the whole position.

`train` turns on `tf.config.experimental.enable_op_determinism` for the process: two runs of one config on the
same kind and number of devices give the same bytes. From then on TensorFlow refuses random operations without
a seed in this process.

On several machines a SIGTERM is each process's own: those that did not get it stop at the next collective
operation with an error, and all go on from the chief's last checkpoint.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Protocol

import numpy as np
import tensorflow as tf

from models.compute_dtype import computing_in
from models.encoder import Encoder, EncoderRecord, built_for, load_encoder
from models.frontend import FrontendConfig
from models.objective import Objective, ObjectiveRecord, load_objective
from models.training.checkpoints import Checkpoints, restore_encoder
from models.training.config import TrainingConfig
from models.training.distribution import is_chief, make_strategy
from models.training.input_pipeline import InputSpec, clip_ids, make_dataset
from models.training.optimizers import WarmupCosine, build_optimizer
from models.training.records import Records, open_records
from models.training.step import StepLog, compile_steps, trainable_variables

_LOG = logging.getLogger(__name__)
# Settings that may change when a run goes on: they do not change its result.
FREE_SETTINGS = ("strategy", "steps_per_loop", "checkpoint_every_steps", "keep_checkpoints")
_RECORDS_FILE = "records.npz"  # beside the checkpoints: where each record lies
_NAMED_CLIPS = 32  # of a batch that broke, in the error's message; the log has them all


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a run stands: `step` of `steps` done; `loss` is the mean since the last report."""

    step: int
    steps: int
    loss: float
    clips_per_second: float
    eta_seconds: float


class Pictures(Protocol):
    """Pictures of what the encoder hears (`models.training.pictures`)."""

    def write(self, step: int) -> None:
        """Writes those of `step`."""


# From TensorBoard's folder, the objective, the batches' form and the front end.
PictureMaker = Callable[[str, Objective, InputSpec, FrontendConfig], Pictures]


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """A finished run.

    Attributes:
        encoder: with its final weights.
        objective: with its final weights.
        steps: updates made, those before a resume included.
        metrics: loss, gradient norm and the objective's metrics at the last update; empty where the run was
            already complete.
        loss_history: (step, mean loss since the last report) of this process.
    """

    encoder: Encoder
    objective: Objective
    steps: int
    metrics: dict[str, float]
    loss_history: tuple[tuple[int, float], ...]


class TrainingInterrupted(RuntimeError):
    """The process was asked to end (SIGTERM); the state is saved, and the same call goes on from it.

    Attributes:
        step: updates made.
        checkpoint: path of the checkpoint that holds them.
    """

    def __init__(self, step: int, checkpoint: str) -> None:
        super().__init__(
            f"training was interrupted after step {step}; run it again to go on from {checkpoint}"
        )
        self.step = step
        self.checkpoint = checkpoint


class NonFiniteLossError(RuntimeError):
    """The loss or its gradient is not a number, or infinite.

    Attributes:
        step: the update at which it was (counted from 0).
        clip_ids: the clips of that update's global batch, in its order.
        checkpoint: path of the last good checkpoint, or None where there is none.
    """

    def __init__(self, step: int, clip_ids: tuple[str, ...], checkpoint: str | None) -> None:
        good = (
            f"the last good checkpoint is {checkpoint}" if checkpoint else "there is no checkpoint before it"
        )
        super().__init__(
            f"training: the loss or its gradient is not finite at step {step}; {good}. Lower "
            "peak_learning_rate, lengthen warmup_steps, or use compute_dtype='float32'. Should a clip be to blame, "
            f"it is one of these {len(clip_ids)}: {', '.join(clip_ids[:_NAMED_CLIPS])}"
            + (
                f" and {len(clip_ids) - _NAMED_CLIPS} more, which the log names"
                if len(clip_ids) > _NAMED_CLIPS
                else ""
            )
        )
        self.step = step
        self.clip_ids = clip_ids
        self.checkpoint = checkpoint


def train(
    config: TrainingConfig,
    files: Sequence[str],
    num_classes: int,
    checkpoint_dir: str,
    log_dir: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    warm_start: str | None = None,
    frontend: FrontendConfig | None = None,
    pictures: PictureMaker | None = None,
) -> TrainingResult:
    """Pretrains an encoder, or goes on with the run that `checkpoint_dir` holds.

    Args:
        config: the settings.
        files: TFRecord files, uncompressed; see `models/training/input_pipeline.py` for what a record holds.
        num_classes: k; 0 where the data has no labels.
        checkpoint_dir: folder of this run's checkpoints.
        log_dir: folder of what TensorBoard shows: scalars after every `steps_per_loop` updates, and `pictures`. None
            writes none.
        progress: called after every `steps_per_loop` updates.
        warm_start: whose encoder this run starts from: see `models.training.checkpoints.read_encoder_weights`.
        frontend: what made the log-mels; it decides how many frames a crop has. None is the default one.
        pictures: makes what is written to `log_dir` at the start and with every checkpoint, `ViewPictures` as a rule:
            given and not imported, since pictures decide no weight (`hares.code_digest`). None makes none.

    Raises:
        ValueError: a setting, the data or a checkpoint cannot be used; the message says which and why.
        TrainingInterrupted: SIGTERM came; the state is saved.
        NonFiniteLossError: the loss or its gradient is not finite.
        tf.errors.InvalidArgumentError: a record is not what it should be; the message names the clip.
    """
    config.validate()
    encoder_record, objective_record = load_encoder(config.encoder), load_objective(config.objective)
    if not objective_record.trains(encoder_record):
        raise ValueError(
            f"training: objective={config.objective!r} takes {objective_record.takes} and "
            f"encoder={config.encoder!r} {encoder_record.input_kind}; choose two that agree"
        )
    tf.keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()
    strategy = make_strategy(config.strategy)
    spec = _input_spec(
        config,
        encoder_record,
        objective_record,
        open_records(files, tf.io.gfile.join(checkpoint_dir, _RECORDS_FILE)),
        num_classes,
        frontend or FrontendConfig(),
    )
    with strategy.scope(), computing_in(config.compute_dtype):
        encoder = built_for(encoder_record, spec.crop_shape, config.seed)
        objective = objective_record.build(config, encoder_record, num_classes, spec.crop_shape)
        optimizer = build_optimizer(config, trainable_variables(encoder, objective))
    spec = dataclasses.replace(
        spec,
        noise_size=objective_record.passes * encoder.noise_size,
        objective_noise_size=objective.noise_size,
    )
    checkpoints = Checkpoints(
        checkpoint_dir,
        config.keep_checkpoints,
        strategy,
        _deciding_settings(config, objective_record, spec, warm_start),
        {"encoder": encoder, "objective": objective, "optimizer": optimizer},
    )
    start = checkpoints.restore()
    if warm_start and start == 0:
        restore_encoder(encoder, warm_start)
    if start == 0:
        objective.begin(encoder)
    batches = _batches(strategy, spec, start)
    run_steps = compile_steps(strategy, encoder, objective, optimizer, objective_record.metrics, batches)
    log_dir = log_dir if is_chief(strategy) else None
    reporter = _Reporter(config, log_dir, progress)
    shown = pictures(log_dir, objective, spec, frontend or FrontendConfig()) if pictures and log_dir else None
    if shown:
        shown.write(start)
    with _Termination() as termination:
        step = start
        while step < config.steps:
            count = _loop_length(config, step)
            began = time.monotonic()
            log = run_steps(count)
            _require_finite(log, step, spec, checkpoints.latest)
            step += count
            reporter.report(step, log, time.monotonic() - began)
            if step % config.checkpoint_every_steps == 0 or step == config.steps or termination.requested:
                checkpoints.save(step)
                if shown:
                    shown.write(step)
            if termination.requested:
                break
    if termination.requested:  # after the last update as well: whoever asked waits for the process to end
        raise TrainingInterrupted(step, str(checkpoints.latest))
    return TrainingResult(encoder, objective, step, reporter.metrics, tuple(reporter.history))


def _input_spec(
    config: TrainingConfig,
    encoder: EncoderRecord,
    objective: ObjectiveRecord,
    records: Records,
    num_classes: int,
    frontend: FrontendConfig,
) -> InputSpec:
    samples = round(config.crop_seconds * frontend.sample_rate)
    crop = frontend.num_frames(samples) if encoder.input_kind == "log_mel" else samples
    if crop < 1:
        raise ValueError(
            f"training: crop_seconds={config.crop_seconds} is shorter than one analysis window; give at "
            f"least {frontend.window_length / frontend.sample_rate}"
        )
    return InputSpec(
        records=records,
        batch_size=config.batch_size,
        num_views=objective.num_views,
        mixes=objective.mixes,
        num_classes=num_classes,
        noise_size=0,  # known once encoder and objective are built
        input_kind=encoder.input_kind,
        crop_length=crop,
        mel_bins=frontend.num_mel_bins,
        mixing_alpha=config.mixing_alpha,
        mixing_beta=config.mixing_beta,
        seed=config.seed,
    )


def _deciding_settings(
    config: TrainingConfig, objective: ObjectiveRecord, spec: InputSpec, warm_start: str | None
) -> dict[str, object]:
    settings = dataclasses.asdict(config)
    for name in FREE_SETTINGS:
        del settings[name]
    return {
        **settings,
        "objective_settings": dataclasses.asdict(objective.own_settings(config)),
        "num_classes": spec.num_classes,
        "num_examples": len(spec.records),
        "crop_length": spec.crop_length,
        "warm_start": warm_start,
    }


def _batches(strategy: tf.distribute.Strategy, spec: InputSpec, start: int) -> Iterator[object]:
    def host_dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return make_dataset(
            spec,
            start_step=start,
            replicas=context.num_replicas_in_sync,
            host=context.input_pipeline_id,
            num_hosts=context.num_input_pipelines,
        )

    return iter(strategy.distribute_datasets_from_function(host_dataset))


def _loop_length(config: TrainingConfig, step: int) -> int:
    """Updates until the next report, checkpoint or the end, whichever comes first."""
    to_checkpoint = config.checkpoint_every_steps - step % config.checkpoint_every_steps
    return min(config.steps_per_loop, to_checkpoint, config.steps - step)


def _require_finite(log: StepLog, step: int, spec: InputSpec, checkpoint: str | None) -> None:
    bad = np.flatnonzero(~(np.isfinite(log.losses) & np.isfinite(log.gradient_norms)))
    if bad.size:
        at = step + int(bad[0])
        clips = clip_ids(spec, at)
        _LOG.error("the clips of step %d, whose loss or gradient is not finite: %s", at, ", ".join(clips))
        raise NonFiniteLossError(at, clips, checkpoint)


class _Termination:
    """Remembers a SIGTERM instead of dying of it; only the main thread may listen for signals."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> _Termination:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._request)
        return self

    def __exit__(self, *exception: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        _LOG.warning("SIGTERM: the state is saved after the updates that are under way")


class _Reporter:
    """Tells TensorBoard and the caller how a run goes."""

    def __init__(
        self,
        config: TrainingConfig,
        log_dir: str | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._config = config
        self._schedule = WarmupCosine(config.peak_learning_rate, config.warmup_steps, config.steps)
        self._writer = tf.summary.create_file_writer(log_dir) if log_dir else None
        self._progress = progress
        self.metrics: dict[str, float] = {}
        self.history: list[tuple[int, float]] = []

    def report(self, step: int, log: StepLog, seconds: float) -> None:
        """After the updates of `log`, which ended at `step` and took `seconds`."""
        rate = len(log.losses) / seconds
        loss = float(np.mean(log.losses))
        self.history.append((step, loss))
        self.metrics = {
            "loss": float(log.losses[-1]),
            "gradient_norm": float(log.gradient_norms[-1]),
            **log.metrics,
        }
        if self._writer:
            scalars = {
                **self.metrics,
                "loss": loss,
                "learning_rate": float(self._schedule(tf.constant(step - 1))),
                "clips_per_second": rate * self._config.batch_size,
            }
            if math.isfinite(log.waited_seconds):
                scalars["input_wait_share"] = log.waited_seconds / seconds
            with self._writer.as_default(step=step):
                for name, value in scalars.items():
                    tf.summary.scalar(name, value)
            self._writer.flush()
        if self._progress:
            left = (self._config.steps - step) / rate
            self._progress(Progress(step, self._config.steps, loss, rate * self._config.batch_size, left))
