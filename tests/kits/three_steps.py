"""A pipeline of three steps that take no time, for tests of what stands around a step.

Each step says that it is at work, by which a test's observer can act in the middle of it, and adds a line to a diary,
by which a test counts what was really done, whatever a store says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.orchestration.pipeline import Pipeline
from tfx.types import artifact_utils, channel_utils, component_spec
from tfx.types.standard_artifacts import Examples, Model, ModelEvaluation

from components.provenance import record_outputs
from pipeline.listener import tell
from pipeline.local_runner import StepResult

STEPS = ("ingest", "train", "score")


def three_steps(folder: Path, name: str, diary: Path | None = None) -> Pipeline:
    """The pipeline of that name; its diary, if not given, and its artifacts are below `folder`."""
    path = str(diary or folder / "diary")
    ingest = _Ingest(path).with_id("ingest")
    train = _Train(path, examples=ingest.outputs["examples"]).with_id("train")
    score = _Score(path, model=train.outputs["model"]).with_id("score")
    return Pipeline(
        pipeline_name=name,
        pipeline_root=str(folder / "artifacts"),
        components=[ingest, train, score],
        enable_cache=True,
    )


def done(folder: Path) -> list[str]:
    """The steps that were really run, in their order."""
    return (folder / "diary").read_text(encoding="utf-8").split()


class _Executor(base_executor.BaseExecutor):
    """Holds its input against the step before it, and writes the step's name."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        step = exec_properties["step"]
        for artifacts in input_dict.values():
            before = STEPS[STEPS.index(step) - 1]
            assert (
                Path(artifact_utils.get_single_uri(artifacts), "content").read_text(encoding="utf-8")
                == before
            )
        with open(exec_properties["diary"], "a", encoding="utf-8") as file:
            file.write(f"{step}\n")
        (output,) = (artifact_utils.get_single_instance(artifacts) for artifacts in output_dict.values())
        Path(output.uri, "content").write_text(step, encoding="utf-8")
        tell(0.5, "at work")
        record_outputs(output_dict, self._context)


class SilentObserver:
    """An observer that shows nothing and keeps the results."""

    def __init__(self) -> None:
        self.results: list[StepResult] = []

    def begin(self, nodes: list[str]) -> None: ...

    def start(self, node: str) -> None: ...

    def update(self, node: str, fraction: float, text: str) -> None: ...

    def finish(self, result: StepResult) -> None:
        self.results.append(result)


_PARAMETERS = {name: component_spec.ExecutionParameter(type=str) for name in ("step", "diary")}


def _channels(**kinds: type[types.Artifact]) -> dict[str, component_spec.ChannelParameter]:
    return {name: component_spec.ChannelParameter(type=kind) for name, kind in kinds.items()}


class _IngestSpec(component_spec.ComponentSpec):
    PARAMETERS = _PARAMETERS
    INPUTS = _channels()
    OUTPUTS = _channels(examples=Examples)


class _TrainSpec(component_spec.ComponentSpec):
    PARAMETERS = _PARAMETERS
    INPUTS = _channels(examples=Examples)
    OUTPUTS = _channels(model=Model)


class _ScoreSpec(component_spec.ComponentSpec):
    PARAMETERS = _PARAMETERS
    INPUTS = _channels(model=Model)
    OUTPUTS = _channels(evaluation=ModelEvaluation)


class _Ingest(base_component.BaseComponent):
    SPEC_CLASS = _IngestSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)

    def __init__(self, diary: str):
        super().__init__(
            _IngestSpec(step="ingest", diary=diary, examples=channel_utils.as_channel([Examples()]))
        )


class _Train(base_component.BaseComponent):
    SPEC_CLASS = _TrainSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)

    def __init__(self, diary: str, examples: types.BaseChannel):
        model = channel_utils.as_channel([Model()])
        super().__init__(_TrainSpec(step="train", diary=diary, examples=examples, model=model))


class _Score(base_component.BaseComponent):
    SPEC_CLASS = _ScoreSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)

    def __init__(self, diary: str, model: types.BaseChannel):
        evaluation = channel_utils.as_channel([ModelEvaluation()])
        super().__init__(_ScoreSpec(step="score", diary=diary, model=model, evaluation=evaluation))
