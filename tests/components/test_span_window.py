"""What joining spans leaves: their shards under one folder, and on the artifact what every step records."""

from __future__ import annotations

from pathlib import Path

from tfx.dsl.components.base import base_executor
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import standard_artifacts

from components.span_window.executor import Executor, span_key


def test_the_spans_shards_are_joined_and_the_run_and_node_recorded(tmp_path: Path) -> None:
    spans = {}
    for place, number in enumerate((7, 6)):
        span = standard_artifacts.Examples()
        span.uri, span.split_names, span.span = str(tmp_path / str(number)), '["train"]', number
        for name, value in (("span", str(number)), ("source", "folder"), ("content_digest", f"d{number}")):
            span.set_string_custom_property(name, value)
        folder = tmp_path / str(number) / "Split-train"
        folder.mkdir(parents=True)
        (folder / "0.tfrecord").write_text(f"clips of {number}")
        spans[span_key(place)] = [span]
    joined = standard_artifacts.Examples()
    joined.uri = str(tmp_path / "joined")
    node = pipeline_pb2.PipelineNode()
    node.node_info.id = "span_window"
    context = base_executor.BaseExecutor.Context(pipeline_node=node, pipeline_run_id="run1")
    Executor(context).Do(spans, {"examples": [joined]}, {})

    found = {p.name: p.read_text() for p in (tmp_path / "joined" / "Split-train").iterdir()}
    assert found == {"span-7-0.tfrecord": "clips of 7", "span-6-0.tfrecord": "clips of 6"}
    recorded = {name: joined.get_string_custom_property(name) for name in ("run", "node", "span")}
    assert recorded == {"run": "run1", "node": "span_window", "span": "7,6"}
    assert len(joined.get_string_custom_property("content_digest")) == 64
