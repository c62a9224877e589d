"""Settings of one pretraining run.

Paper, section 3 (batch sizes, steps, learning rate 2e-4, crops) and appendix C (warm-up, cosine, mixing ratio). The
defaults are the paper's SimCLR run of SF NFNet-F0; its classification runs take
`objective="classification", batch_size=1024, steps=100_000`.

The paper contradicts itself on the peak learning rate: section 3 says 2e-4, appendix C 1e-4. The default is that of
section 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OPTIMIZERS = ("adam", "lamb")
STRATEGIES = ("auto", "tpu", "mirrored", "multi_worker", "single")
COMPUTE_DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class TrainingConfig:
    """What to pretrain, for how long, on what; `validate` says whether it can work.

    Attributes:
        encoder: name in `models/encoders/`.
        objective: name of a module in `models/objectives/`.
        steps: updates in all.
        batch_size: clips of one update, over all replicas together (the global batch).
        peak_learning_rate: reached after `warmup_steps`, then cosine to 0 at `steps`.
        warmup_steps: linear from 0; at most `steps`.
        optimizer: "adam", or "lamb" for large batches.
        crop_seconds: length of a random training crop.
        mixing_alpha, mixing_beta: the example mixing ratio is drawn from Beta(alpha, beta).
        seed: decides weights, order, crops, mixing and encoder noise.
        strategy: "auto" takes the best that is available; see `models/training/distribution.py`.
        steps_per_loop: updates in one call of the compiled function; progress is reported between calls.
        checkpoint_every_steps: updates between checkpoints; the last step is always saved.
        keep_checkpoints: newest checkpoints kept.
        compute_dtype: "float32", or "bfloat16" activations with float32 weights.
        objective_settings: what differs from the defaults of the objective's own settings, which are a dataclass
            in its file; JSON types.
    """

    encoder: str = "sf_nfnet_f0"
    objective: str = "simclr"
    steps: int = 200_000
    batch_size: int = 4096
    peak_learning_rate: float = 2e-4
    warmup_steps: int = 5000
    optimizer: str = "adam"
    crop_seconds: float = 3.0
    mixing_alpha: float = 5.0
    mixing_beta: float = 2.0
    seed: int = 0
    strategy: str = "auto"
    steps_per_loop: int = 100
    checkpoint_every_steps: int = 1000
    keep_checkpoints: int = 3
    compute_dtype: str = "float32"
    objective_settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def validate(self) -> None:
        """Checks every setting that can be checked without the encoder, the data or the devices.

        Raises:
            ValueError: a setting is out of range; the message names it, its value and what is accepted.
        """
        for name in ("steps", "steps_per_loop", "checkpoint_every_steps", "keep_checkpoints"):
            self._require(name, getattr(self, name) >= 1, "an integer of at least 1")
        self._require("batch_size", self.batch_size >= 3, "at least 3, as a clip mixes with two others")
        self._require("warmup_steps", self.warmup_steps >= 0, "an integer of at least 0")
        if self.warmup_steps > self.steps:
            raise ValueError(
                f"training: warmup_steps={self.warmup_steps} is longer than steps={self.steps}, so the peak "
                f"learning rate is never reached; set warmup_steps to at most {self.steps}, for example "
                f"{max(1, self.steps // 40)} (the paper warms up for 5,000 of 200,000 steps)"
            )
        for name in ("peak_learning_rate", "crop_seconds", "mixing_alpha", "mixing_beta"):
            value = getattr(self, name)
            self._require(name, math.isfinite(value) and value > 0, "a finite number above 0")
        self._require("seed", 0 <= self.seed < 2**31, "an integer from 0 to 2147483647")
        self._require("optimizer", self.optimizer in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}")
        self._require("strategy", self.strategy in STRATEGIES, f"one of {', '.join(STRATEGIES)}")
        self._require(
            "compute_dtype", self.compute_dtype in COMPUTE_DTYPES, f"one of {', '.join(COMPUTE_DTYPES)}"
        )

    def _require(self, name: str, holds: bool, accepted: str) -> None:
        if not holds:
            raise ValueError(f"training: {name}={getattr(self, name)!r} is not accepted; give {accepted}")
