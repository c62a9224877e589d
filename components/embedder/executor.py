"""Embedder's executor: each shard of Examples passes through the frozen SavedModel.

The pass itself is `hares.embedding.encoding`. A shard of embeddings appears under its final name when it is
complete. `trained/` holds the model's embeddings, `untrained/` those of the same encoder before training,
where the Trainer kept it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.beam_runner import builder, run_and_release
from components.model_layout import untrained_model_dir
from components.provenance import record_outputs
from hares.adapters.saved_model import signature_encoder
from hares.atomic_files import remove_unfinished, write_atomically
from hares.embedding.encoding import embed_shard
from hares.embedding.task_embeddings import encode_shard
from hares.example import decode_example
from hares.plain_data import from_json
from hares.protocol import ProtocolSettings, roles
from hares.task import load_task
from models.export import read_metadata

BATCH_SIZE = 32
VARIANTS = ("trained", "untrained")


class Executor(base_beam_executor.BaseBeamExecutor):
    """Embeds the clips of one task with the trained model and, where given, with the untrained one."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `Embedder` for the execution properties."""
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        model = artifact_utils.get_single_instance(input_dict["model"])
        embeddings = artifact_utils.get_single_instance(output_dict["embeddings"])
        models = {"trained": path_utils.serving_model_path(model.uri)}
        if input_dict.get("model_run"):
            models["untrained"] = untrained_model_dir(artifact_utils.get_single_uri(input_dict["model_run"]))
        shards = [
            (split, os.path.join(uri, name))
            for split in artifact_utils.decode_split_names(examples.split_names)
            if roles(split)  # the paper ignores validation sets
            for uri in [artifact_utils.get_split_uri([examples], split)]
            for name in sorted(fileio.listdir(uri))
            if name.endswith(".tfrecord")
        ]
        for variant, path in models.items():
            folder = os.path.join(embeddings.uri, variant)
            fileio.makedirs(folder)
            embed = _EmbedShard(path, folder, exec_properties["task"], exec_properties["protocol"])
            with run_and_release(self._make_beam_pipeline()) as pipeline:
                _ = pipeline | beam.Create(shards) | beam.Reshuffle() | beam.ParDo(embed)
            remove_unfinished(folder)
        embeddings.set_string_custom_property("task", exec_properties["task"])
        embeddings.set_string_custom_property("variants", ",".join(models))
        digest = read_metadata(models["trained"])["weights_digest"]
        embeddings.set_string_custom_property("weights_digest", str(digest))
        record_outputs(output_dict, self._context)


class _EmbedShard(beam.DoFn):
    """Embeds one shard; each worker loads the model once."""

    def __init__(self, model_path: str, folder: str, task: str, protocol: str):
        self._model_path = model_path
        self._folder = folder
        self._task = task
        self._protocol = protocol
        self._builder = builder(__name__, f"hares.tasks.{task}")

    def setup(self) -> None:
        self._builder.require_same()
        self._encode = saved_model_encoder(self._model_path)
        self._settings = from_json(ProtocolSettings, self._protocol)

    def process(self, element: tuple[Any, str]) -> None:
        split, path = element
        records = (decode_example(record.numpy()) for record in tf.data.TFRecordDataset(path))
        task = load_task(self._task)
        embedded = embed_shard(records, split, task, self._settings, self._encode, BATCH_SIZE)
        name = os.path.basename(path).removesuffix(".tfrecord") + ".npz"
        final = os.path.join(self._folder, name)
        write_atomically(final, encode_shard(embedded))


@functools.lru_cache(maxsize=len(VARIANTS))
def saved_model_encoder(path: str) -> Callable[[np.ndarray], np.ndarray]:
    """The waveform signature of an exported encoder: (b, n) float32 at 16 kHz -> (b, d) float32.

    Steps that share a process load it once, since an artifact's folder never changes once it is written.
    """
    return signature_encoder(path)
