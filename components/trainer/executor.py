"""TFX's Trainer executor, which also records what was trained on the artifacts."""

from __future__ import annotations

import json
from typing import Any

from tfx import types
from tfx.components.trainer import executor as tfx_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from components.model_layout import summary_path
from components.provenance import record_outputs

_TEXT = ("encoder", "objective", "weights_digest", "warm_start", "transform_examples", "hardware")
_NUMBERS = ("steps", "seed", "parameters", "embedding_size", "replicas")


class Executor(tfx_executor.GenericExecutor):
    """Runs `run_fn` and records the model's encoder, objective, weights, seed, warm start, hardware and cost."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """As TFX's; `run_fn` leaves a summary in the ModelRun artifact."""
        super().Do(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(output_dict["model"])
        with fileio.open(summary_path(artifact_utils.get_single_uri(output_dict["model_run"])), "r") as file:
            summary = json.loads(file.read())
        for name in _TEXT:
            model.set_string_custom_property(name, str(summary[name]))
        for name in _NUMBERS:
            model.set_int_custom_property(name, int(summary[name]))
        model.set_float_custom_property("step_hours", float(summary["step_hours"]))
        if summary["final_loss"] is not None:  # a run that was complete before it was resumed has none
            model.set_float_custom_property("final_loss", float(summary["final_loss"]))
        record_outputs(output_dict, self._context)
