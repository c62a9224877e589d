"""AudioExampleGen: a data set in its native layout becomes Examples and a manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import channel_utils, component_spec, standard_artifacts

from components.artifacts import AudioManifest
from components.audio_example_gen.executor import Executor
from hares.decoding import Limits


class AudioExampleGenSpec(component_spec.ComponentSpec):
    """Inputs, outputs and settings of AudioExampleGen."""

    PARAMETERS = {
        "sources": component_spec.ExecutionParameter(type=str),
        "splits": component_spec.ExecutionParameter(type=str),
        "clips_per_shard": component_spec.ExecutionParameter(type=int),
        "fingerprint": component_spec.ExecutionParameter(type=str),
        "code_digest": component_spec.ExecutionParameter(type=str),
        "span": component_spec.ExecutionParameter(type=int, optional=True),
        "limits": component_spec.ExecutionParameter(type=str),
        "decoders": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "manifest": component_spec.ChannelParameter(type=AudioManifest),
    }


class AudioExampleGen(base_beam_component.BaseBeamComponent):
    """Decodes every clip of one or more sources to 16 kHz mono PCM and writes TFRecords.

    Args:
        sources: reader name to folder: a task's name, or "folder" for any tree of audio files.
        splits: the output's splits; each gathers the reader's splits of the same name.
        fingerprint: digest of the folders' listings, since TFX's cache cannot see files.
        code_digest: digest of the code that decides what ingestion writes, for the same reason.
        clips_per_shard: how many clips a TFRecord file holds, about.
        span: number of the span that `sources` was resolved to, if any.
        limits: what one file may cost.
        decoders: versions of the decoders, since a file that one rejects may decode with another; None if they are
            unknown, because they come with an image.
    """

    SPEC_CLASS = AudioExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        sources: Mapping[str, str],
        splits: Sequence[str],
        fingerprint: str,
        code_digest: str,
        clips_per_shard: int = 256,
        span: int | None = None,
        limits: Limits | None = None,
        decoders: Mapping[str, str] | None = None,
    ):
        spec = AudioExampleGenSpec(
            sources=json.dumps(dict(sources), sort_keys=True),
            splits=json.dumps(list(splits)),
            clips_per_shard=clips_per_shard,
            fingerprint=fingerprint,
            code_digest=code_digest,
            span=span,
            limits=json.dumps(asdict(limits or Limits()), sort_keys=True),
            decoders=json.dumps(dict(decoders), sort_keys=True) if decoders else None,
            examples=channel_utils.as_channel([standard_artifacts.Examples()]),
            manifest=channel_utils.as_channel([AudioManifest()]),
        )
        super().__init__(spec=spec)
