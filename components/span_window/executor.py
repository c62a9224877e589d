"""SpanWindow's executor: all spans' shards in one folder, linked if the file system can, else copied."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from components.provenance import record_outputs
from hares.folder import MAX_WINDOW

SPLIT = "train"


def span_key(number: int) -> str:
    """Name of the input that holds the Examples of the `number`-th newest span."""
    return f"examples_{number}"


class Executor(base_executor.BaseExecutor):
    """Joins the spans' training splits. Shards are named by their span, since spans may share names of shards."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `SpanWindow` for the execution properties."""
        self._log_startup(input_dict, output_dict, exec_properties)
        joined = artifact_utils.get_single_instance(output_dict["examples"])
        keys = [key for key in map(span_key, range(MAX_WINDOW)) if input_dict.get(key)]
        spans = [artifact_utils.get_single_instance(input_dict[key]) for key in keys]
        target = os.path.join(joined.uri, f"Split-{SPLIT}")
        fileio.makedirs(target)
        for span in spans:
            folder = artifact_utils.get_split_uri([span], SPLIT)
            for name in sorted(fileio.listdir(folder)):
                number = span.get_string_custom_property("span")
                _link(os.path.join(folder, name), os.path.join(target, f"span-{number}-{name}"))
        joined.split_names = artifact_utils.encode_split_names([SPLIT])
        examples_utils.set_payload_format(joined, examples_utils.get_payload_format(spans[0]))
        joined.span = spans[0].span
        for name, value in {
            "source": spans[0].get_string_custom_property("source"),
            "span": ",".join(span.get_string_custom_property("span") for span in spans),
            "content_digest": _digest([span.get_string_custom_property("content_digest") for span in spans]),
        }.items():
            joined.set_string_custom_property(name, value)
        record_outputs(output_dict, self._context)


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another device, or no local file system at all
        fileio.copy(source, target)
