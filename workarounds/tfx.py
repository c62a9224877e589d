"""TFX, tried on 1.15.1."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx import types
from tfx.dsl.compiler import placeholder_utils
from tfx.orchestration import metadata
from tfx.orchestration.portable import (
    beam_executor_operator,
    cache_utils,
    data_types,
    execution_publish_utils,
    launcher,
)


class Metadata(metadata.Metadata):
    """A connection to a store that `open_store` makes. Unnecessary when TFX takes a store, not only its address."""

    def open_store(self) -> MetadataStore:
        """A new store; called when the connection is entered."""
        raise NotImplementedError

    def __enter__(self) -> Metadata:
        self._store = self.open_store()
        self._users += 1
        return self


class Launcher(launcher.Launcher):
    """Runs a step, once `before_output(folder)` has seen each folder that the new execution will write into.

    Unnecessary when TFX calls something between registering an execution and running it.

    Args:
        recorded: also recorded on the execution, though neither executor nor cache see it.

    TFX looks for an execution of this step in this run first, to go on with it: with a filter that ML Metadata 1.21
    does not have any more, or by reading every execution of the pipeline. Our runs are new, so there is none.
    """

    def __init__(
        self,
        *args: Any,
        before_output: Callable[[Path], None],
        recorded: Mapping[str, str],
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self._before_output = before_output
        self._recorded = recorded

    def _register_or_reuse_execution(
        self,
        metadata_handle: metadata.Metadata,
        contexts: list[pb.Context],
        input_artifacts: Mapping[str, Sequence[types.Artifact]] | None = None,
        exec_properties: Mapping[str, Any] | None = None,
    ) -> pb.Execution:
        execution = execution_publish_utils.register_execution(
            metadata_handle=metadata_handle,
            execution_type=self._pipeline_node.node_info.type,
            contexts=contexts,
            input_artifacts=input_artifacts,
            exec_properties={**(exec_properties or {}), **self._recorded},
        )
        root = Path(self._pipeline_runtime_spec.pipeline_root.field_value.string_value)
        for output in self._pipeline_node.outputs.outputs:
            self._before_output(root / self._pipeline_node.node_info.id / output / str(execution.id))
        return execution


class BeamOperator(beam_executor_operator.BeamExecutorOperator):
    """TFX's operator of Beam steps, which also tells the flags. Unnecessary when TFX's has a method for that."""

    beam_pipeline_args: list[Any]

    def flags(self, execution_info: data_types.ExecutionInfo) -> list[str]:
        """The step's flags for Beam, with placeholders filled in."""
        context = placeholder_utils.ResolutionContext(
            exec_info=execution_info, executor_spec=self._executor_spec, platform_config=self._platform_config
        )
        return [
            str(placeholder_utils.resolve_placeholder_expression(flag, context))
            for flag in self.beam_pipeline_args
        ]


@contextmanager
def cache_replaced(get_context: Callable[..., pb.Context], get_outputs: Callable[..., Any]) -> Iterator[None]:
    """TFX's launcher looks up the cache with these two functions inside the block.

    Args:
        get_context: stands for `cache_utils.get_cache_context`.
        get_outputs: stands for `cache_utils.get_cached_outputs`.

    Unnecessary when the launcher takes a cache as an argument.
    """
    of_tfx = cache_utils.get_cache_context, cache_utils.get_cached_outputs
    cache_utils.get_cache_context, cache_utils.get_cached_outputs = get_context, get_outputs
    try:
        yield
    finally:
        cache_utils.get_cache_context, cache_utils.get_cached_outputs = of_tfx


def outputs_of_execution(
    handle: metadata.Metadata, execution_id: int
) -> dict[str, list[types.Artifact]] | None:
    """What an execution made; None where something of it is not live. Unnecessary when `cache_utils` exports it."""
    outputs: dict[str, list[types.Artifact]] | None = cache_utils._get_outputs_of_execution(
        handle, execution_id
    )
    return outputs


def container_entry_point(
    class_paths: Mapping[str, str],
) -> tuple[Callable[[Any], None], Callable[[list[str]], Any]]:
    """The function that TFX runs in a step's container, and its parser of flags.

    Args:
        class_paths: titles of artifact types that name no class, each with the path of the class that stands for it.

    Unnecessary when TFX exports the parser, and takes classes for types that it does not know.
    """
    # Imported here: they bring Kubeflow's compiler, which a local run does without.
    from tfx.orchestration.kubeflow.v2 import compiler_utils
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    compiler_utils.TITLE_TO_CLASS_PATH.update(class_paths)
    return kubeflow_v2_run_executor.main, kubeflow_v2_run_executor._parse_flags
