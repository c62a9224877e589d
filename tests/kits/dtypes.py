"""Run as a program: the types of all numbers that tiny encoders, objectives and optimizers make, as JSON by place.

dtypes.py encoders     variables and outputs of every tiny encoder
dtypes.py training     losses, gradients, variables and slots of every objective, after an update by each optimizer
"""

from __future__ import annotations

import json
import sys

import tensorflow as tf

from kits import replica_figures as FIGURES
from models.encoder import encoder_names, load_encoder
from models.objective import objective_names
from models.training.config import TrainingConfig
from models.training.distribution import make_strategy
from models.training.optimizers import build_optimizer
from models.training.step import replica_gradients, trainable_variables


def of_encoders() -> dict[str, str]:
    found = {}
    for name in (name for name in encoder_names() if name.endswith("_tiny")):
        record = load_encoder(name)
        encoder = record.build(0)
        log_mel = record.input_kind == "log_mel"
        outputs = encoder(tf.zeros([1, 98, record.mel_bins, 1] if log_mel else [1, 16000]))
        found |= {f"{name}: {variable.name}": variable.dtype.name for variable in encoder.variables}
        found |= {f"{name} gives {key}": value.dtype.name for key, value in outputs.items()}
    return found


def of_training() -> dict[str, str]:
    found = {}
    for name in objective_names():
        for kind in ("adam", "lamb"):
            record, encoder, objective = FIGURES.built(name, make_strategy("single"))
            variables = trainable_variables(encoder, objective)
            optimizer = build_optimizer(TrainingConfig(optimizer=kind), variables)
            loss, metrics, gradients = replica_gradients(
                encoder, objective, FIGURES.batch(record, objective, 0)
            )
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            place = f"{name}, {kind}"
            found |= {f"{place}: {variable.name}": variable.dtype.name for variable in encoder.variables}
            found |= {f"{place}: {variable.name}": variable.dtype.name for variable in objective.variables}
            found |= {f"{place}: {slot.name}": slot.dtype.name for slot in optimizer.variables()}
            found |= {f"{place} gives {key}": value.dtype.name for key, value in metrics.items()}
            found |= {f"{place}: gradient {number}": g.dtype.name for number, g in enumerate(gradients)}
            found[f"{place} gives the loss"] = loss.dtype.name
    return found


if __name__ == "__main__":
    json.dump({"encoders": of_encoders, "training": of_training}[sys.argv[1]](), sys.stdout)
