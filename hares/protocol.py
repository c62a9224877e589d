"""What the probes see of a clip, and how long they train (paper section 2.1 and appendix A).

Crops are cut from 16 kHz int16 waveforms and leave as float32 in [-1, 1). A clip of the training split
gives training crops, a clip of the test split evaluation crops, a clip of a fold both (it is trained on four
times and tested on once); the paper ignores validation sets, so their clips are not embedded at all.

What the paper leaves open, and our choice:

- A clip shorter than its crop is padded with zeros at the end, as Speech Commands is by custom.
- Consecutive subclips "covering the entire clip": when at least half a subclip remains, one more subclip
  ends where the clip ends (it overlaps its neighbour, as padding it with zeros would show the encoder sound
  that is not there); a shorter rest is dropped, as it would count as much as a full subclip.
- ESC-50's "augmented samples": a circular shift in time and a gain within 6 dB, both uniform. An encoder that
  standardises what it hears, as all of ours, takes notice of the shift alone.
- AudioSet's example mixing happens on waveforms, before the embedding: with a crop of another training clip,
  in a ratio from Beta(5, 2) as in appendix C; the targets are mixed in the same ratio.

Deviations, each recorded in the report by `ProtocolSettings.deviations`: the paper draws new crops at every
step; the encoder being frozen, we embed `crops_per_clip` crops of a clip once and draw from these. The
`quick` preset also takes fewer steps at a higher learning rate and fewer crops.

Shapes: `n` samples of a crop, `k` training crops of a clip, `m` evaluation crops of a clip.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from hares.task import SAMPLE_RATE, Split, Task

EQUALLY_SPACED_CROPS = 10  # AudioSet: "10 overlapped and equally spaced 3-second clips"
AUGMENTATION_GAIN_DB = 6.0
MIXING_BETA = (5.0, 2.0)  # appendix C
PAPER_LEARNING_RATE = 2e-4
PAPER_WARMUP_STEPS = 5_000
PAPER_AUGMENTED_EPOCHS = 10
PAPER_PENALTIES = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)

TRAIN_ROLE = 0
EVALUATION_ROLE = 1


@dataclass(frozen=True)
class ProbeSchedule:
    """Optimisation of one probe: Adam, linear warm-up from 0 to `learning_rate`, then a cosine to 0."""

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int


@dataclass(frozen=True)
class ProtocolSettings:
    """How closely a run follows the paper. The defaults are the paper's numbers.

    Attributes:
        name: preset the settings came from; printed with every score.
        seed: of crops, mixing, batches, initial weights and bootstrap resamples.
        crops_per_clip: random training crops embedded for a clip, where training crops are random.
        augmented_epochs: augmented copies of an ESC-50 clip.
        max_steps: upper bound of a probe's steps; None for the task's own number.
        max_passes: upper bound of how often a probe sees each training crop on average; None for no bound.
        batch_size: overrides the task's batch size; None for the task's own.
        learning_rate: peak of the schedule.
        penalties: values of the SVM's C that are tried on the first fold.
        bootstrap_resamples: of the confidence intervals.
        probe_seeds: probes trained side by side, which differ in their batches and initial weights; the score
            is the mean over them. An SVM has no batches and is fitted once.
        memory_limit_mb: embeddings of a task above this size are kept in a temporary file and streamed to the
            probe; the numbers are the same to the last digit.
    """

    name: str = "paper"
    seed: int = 0
    crops_per_clip: int = 10
    augmented_epochs: int = PAPER_AUGMENTED_EPOCHS
    max_steps: int | None = None
    max_passes: int | None = None
    batch_size: int | None = None
    learning_rate: float = PAPER_LEARNING_RATE
    penalties: tuple[float, ...] = PAPER_PENALTIES
    bootstrap_resamples: int = 1_000
    probe_seeds: int = 3
    memory_limit_mb: float = 32.0

    def __post_init__(self) -> None:
        steps = ("max_steps", "max_passes", "batch_size", "probe_seeds")
        for name in ("crops_per_clip", "augmented_epochs", *steps, "bootstrap_resamples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"protocol {self.name!r}: {name} is {value}; it must be at least 1")
        if not self.memory_limit_mb > 0:
            raise ValueError(
                f"protocol {self.name!r}: memory_limit_mb is {self.memory_limit_mb}; it must be above 0"
            )
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"protocol {self.name!r}: seed is {self.seed}; it must be from 0 to 2^31 - 1")
        if not self.learning_rate > 0 or not self.penalties or min(self.penalties) <= 0:
            raise ValueError(
                f"protocol {self.name!r}: learning_rate {self.learning_rate} and every one of penalties "
                f"{self.penalties} must be above 0"
            )

    def schedule(self, task: Task, training_crops: int | None = None) -> ProbeSchedule:
        """The probe's optimisation for `task`; the warm-up shrinks in proportion to the steps.

        Args:
            task: the protocol's record.
            training_crops: crops the probe trains on, which `max_passes` counts; None leaves it out.

        Raises:
            ValueError: the task's probe is not trained in steps (the SVM).
        """
        if task.steps is None or task.batch_size is None:
            raise ValueError(f"{task.name}: a probe of kind {task.probe!r} has no steps and no batches")
        batch_size = self.batch_size or task.batch_size
        steps = task.steps if self.max_steps is None else min(task.steps, self.max_steps)
        if self.max_passes is not None and training_crops is not None:
            steps = min(steps, max(1, math.ceil(self.max_passes * training_crops / batch_size)))
        return ProbeSchedule(
            steps=steps,
            batch_size=batch_size,
            learning_rate=self.learning_rate,
            warmup_steps=max(1, round(PAPER_WARMUP_STEPS * steps / task.steps)),
        )

    def deviations(self, task: Task) -> tuple[str, ...]:
        """Where these settings leave the paper's protocol for `task`, one sentence each."""
        return tuple(self._crop_deviations(task) + self._training_deviations(task))

    def _crop_deviations(self, task: Task) -> list[str]:
        if task.augmented:
            kind = "a circular time shift and a gain; the paper does not say which augmentation it uses"
            changed = self.augmented_epochs != PAPER_AUGMENTED_EPOCHS
            paper = f" (paper: {PAPER_AUGMENTED_EPOCHS})" if changed else ""
            return [f"{self.augmented_epochs} augmented copies of a clip{paper}: {kind}"]
        if task.train_crop is None:
            return []
        drawn = "mixed random" if task.mixed else "random"
        return [
            f"{self.crops_per_clip} {drawn} training crops of a clip, embedded once "
            "(paper: new crops at every step)"
        ]

    def _training_deviations(self, task: Task) -> list[str]:
        if task.steps is None:
            changed = self.penalties != PAPER_PENALTIES
            return (
                [f"C from {_listed(self.penalties)} (paper: {_listed(PAPER_PENALTIES)})"] if changed else []
            )
        schedule = self.schedule(task)
        found = (
            ("steps", schedule.steps, task.steps),
            ("batch size", schedule.batch_size, task.batch_size),
            ("peak learning rate", schedule.learning_rate, PAPER_LEARNING_RATE),
            ("warm-up steps", schedule.warmup_steps, PAPER_WARMUP_STEPS),
        )
        passes = (
            []
            if self.max_passes is None
            else [f"at most {self.max_passes} passes over the training crops (paper: no such bound)"]
        )
        return passes + [
            f"{what} {ours:g} (paper: {paper:g})" for what, ours, paper in found if _differs(ours, paper)
        ]


def protocol_names() -> tuple[str, ...]:
    """Names of the presets."""
    return ("paper", "quick")


def load_protocol(name: str) -> ProtocolSettings:
    """A preset: `paper`, or `quick` for minutes on two cores, whose scores say so in their deviations.

    Raises:
        ValueError: no preset has this name; the message lists those there are.
    """
    if name == "paper":
        return ProtocolSettings()
    if name == "quick":
        return ProtocolSettings(
            name="quick",
            crops_per_clip=3,
            augmented_epochs=3,
            max_steps=2_000,
            max_passes=200,
            learning_rate=2e-3,
            probe_seeds=1,
        )
    raise ValueError(f"unknown protocol {name!r}; there are {', '.join(protocol_names())}")


def roles(split: Split) -> tuple[int, ...]:
    """Which crops a clip of `split` gives: `TRAIN_ROLE`, `EVALUATION_ROLE`, both, or none (validation)."""
    if split == "train":
        return (TRAIN_ROLE,)
    if split == "test":
        return (EVALUATION_ROLE,)
    return () if split == "validation" else (TRAIN_ROLE, EVALUATION_ROLE)


def generator(settings: ProtocolSettings, task: Task, clip_id: str, purpose: str) -> np.random.Generator:
    """Random numbers that are a pure function of the seed, the task, the clip and what they are for."""
    key = hashlib.blake2b(
        "\0".join((str(settings.seed), task.name, clip_id, purpose)).encode(), digest_size=16
    )
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key.digest(), "little")))


def training_crops(task: Task, waveform: np.ndarray, clip_id: str, settings: ProtocolSettings) -> np.ndarray:
    """The crops of a clip that probes train on, before any mixing.

    Args:
        task: the protocol's record.
        waveform: (samples,) int16 at 16 kHz.
        clip_id: makes the draw the clip's own.
        settings: seed and number of crops.

    Returns:
        (k, n) float32. k is 1 where every draw would be the same: the whole clip, or one no longer than a
        crop (unless crops are mixed, and so differ by their partners).

    Raises:
        ValueError: the waveform is not one-dimensional int16 with at least one sample.
    """
    samples = _nominal_length(task, _samples(task, waveform, clip_id))
    if task.augmented:
        return _augmented(samples, generator(settings, task, clip_id, "augment"), settings.augmented_epochs)
    if task.train_crop is None:
        return samples[np.newaxis]
    length = _crop_length(task.train_crop)
    if samples.size <= length:
        return np.tile(_fit(samples, length), (settings.crops_per_clip if task.mixed else 1, 1))
    last = samples.size - length
    starts = generator(settings, task, clip_id, "crop").integers(0, last + 1, settings.crops_per_clip)
    return _cut(samples, starts, length)


def evaluation_crops(task: Task, waveform: np.ndarray, clip_id: str = "") -> np.ndarray:
    """The subclips over which a test clip's scores are averaged.

    Args:
        task: the protocol's record.
        waveform: (samples,) int16 at 16 kHz.
        clip_id: for error messages.

    Returns:
        (m, n) float32. Ten equally spaced crops of a clip no longer than one are the same, and given once.

    Raises:
        ValueError: the waveform is not one-dimensional int16 with at least one sample.
    """
    samples = _nominal_length(task, _samples(task, waveform, clip_id))
    if task.evaluation == "whole" or task.evaluation_crop is None:
        return samples[np.newaxis]
    length = _crop_length(task.evaluation_crop)
    if samples.size <= length:
        return _fit(samples, length)[np.newaxis]
    last = samples.size - length
    if task.evaluation == "equally_spaced":
        starts = np.rint(np.linspace(0, last, EQUALLY_SPACED_CROPS)).astype(np.int64)
    else:
        starts = np.arange(0, last + 1, length)
        rest = samples.size - (int(starts[-1]) + length)
        if 2 * rest >= length:
            starts = np.append(starts, last)
    return _cut(samples, starts, length)


def mixing_plan(
    task: Task, clip_ids: list[str], position: int, settings: ProtocolSettings
) -> tuple[np.ndarray, np.ndarray]:
    """With which neighbours, and how much, the crops of one clip are mixed.

    Args:
        task: the protocol's record.
        clip_ids: the clips at hand, from which partners are drawn.
        position: which of them is mixed.
        settings: seed and number of crops.

    Returns:
        (k,) int64 positions of the partners, never `position` unless it is alone, and (k,) float32 weights
        of the clip itself, from Beta(5, 2); a clip alone is left as it is, with weight 1.
    """
    if len(clip_ids) == 1:
        alone = np.zeros(settings.crops_per_clip, np.int64)
        return alone, np.ones(settings.crops_per_clip, np.float32)
    random = generator(settings, task, clip_ids[position], "mix")
    others = random.integers(1, len(clip_ids), settings.crops_per_clip)
    weights = random.beta(*MIXING_BETA, size=settings.crops_per_clip).astype(np.float32)
    return (position + others) % len(clip_ids), weights


def _samples(task: Task, waveform: np.ndarray, clip_id: str) -> np.ndarray:
    if waveform.ndim != 1 or waveform.dtype != np.int16 or waveform.size == 0:
        raise ValueError(
            f"{task.name}: clip {clip_id!r} is {waveform.dtype} of shape {waveform.shape}; crops are cut "
            "from int16 (samples,) at 16 kHz. Was it read with hares.decoding.decode?"
        )
    return waveform.astype(np.float32) / np.float32(32768)


def _crop_length(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def _nominal_length(task: Task, samples: np.ndarray) -> np.ndarray:
    return samples if task.clip_seconds is None else _fit(samples, _crop_length(task.clip_seconds))


def _fit(samples: np.ndarray, length: int) -> np.ndarray:
    """`samples` cut, or padded with zeros at the end, to `length`."""
    kept = samples[:length]
    return np.pad(kept, (0, length - kept.size))


def _cut(samples: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    return np.stack([samples[start : start + length] for start in starts])


def _augmented(samples: np.ndarray, random: np.random.Generator, copies: int) -> np.ndarray:
    shifts = random.integers(0, samples.size, copies)
    decibels = random.uniform(-AUGMENTATION_GAIN_DB, AUGMENTATION_GAIN_DB, copies)
    gains = np.power(10.0, decibels / 20.0).astype(np.float32)
    return np.stack([np.roll(samples, shift) for shift in shifts]) * gains[:, np.newaxis]


def _differs(ours: float, paper: float | None) -> bool:
    return paper is None or not math.isclose(ours, paper)


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
