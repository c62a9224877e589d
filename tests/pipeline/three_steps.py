"""A pipeline of three steps that take no time, for tests of what stands around a step.

Each step says that it is at work, by which a test's observer can act in the middle of it, and adds a line to a diary,
by which a test counts what was really done, whatever a store says. Annotations are no texts here: TFX reads them.
"""

from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.orchestration.pipeline import Pipeline
from tfx.types.standard_artifacts import Examples, Model, ModelEvaluation

from pipeline.listener import tell

STEPS = ("ingest", "train", "score")


def three_steps(folder: Path, name: str) -> Pipeline:
    """The pipeline of that name; its diary and its artifacts are below `folder`."""
    diary = str(folder / "diary")
    ingest = _ingest(diary=diary).with_id("ingest")
    train = _train(examples=ingest.outputs["examples"], diary=diary).with_id("train")
    score = _score(model=train.outputs["model"], diary=diary).with_id("score")
    return Pipeline(
        pipeline_name=name,
        pipeline_root=str(folder / "artifacts"),
        components=[ingest, train, score],
        enable_cache=True,
    )


def done(folder: Path) -> list[str]:
    """The steps that were really run, in their order."""
    return (folder / "diary").read_text(encoding="utf-8").split()


@component
def _ingest(examples: OutputArtifact[Examples], diary: Parameter[str]):
    _work("ingest", diary, examples.uri)


@component
def _train(examples: InputArtifact[Examples], model: OutputArtifact[Model], diary: Parameter[str]):
    assert Path(examples.uri, "content").read_text(encoding="utf-8") == "ingest"
    _work("train", diary, model.uri)


@component
def _score(model: InputArtifact[Model], evaluation: OutputArtifact[ModelEvaluation], diary: Parameter[str]):
    assert Path(model.uri, "content").read_text(encoding="utf-8") == "train"
    _work("score", diary, evaluation.uri)


def _work(step: str, diary: str, folder: str) -> None:
    with open(diary, "a", encoding="utf-8") as file:
        file.write(f"{step}\n")
    Path(folder, "content").write_text(step, encoding="utf-8")
    tell(0.5, "at work")
