"""AudioExampleGen's executor: Beam shards the listing, and `hares.ingest` decodes each shard.

Only the listing (paths and labels) goes through Beam's shuffle; audio is read and written where its shard is processed.
The source's indexes are read twice: once to count clips, which decides the number of shards, and once to assign them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from components.artifacts import MANIFEST_FILE, REJECTED_FILE
from components.beam_runner import builder, listing_slices, run_and_release
from components.provenance import record_outputs
from hares import tfds_source
from hares.atomic_files import remove_unfinished, write_atomically
from hares.buckets import BucketPath, place
from hares.decoding import Limits
from hares.ingest import (
    Entry,
    ShardSummary,
    build_manifest,
    count_listed,
    ingest_shard,
    list_entries,
    shard_of,
)
from hares.plain_data import from_json
from hares.task import UNSETTLED, Clip

UNSETTLED_PROPERTY = "unsettled"  # of a manifest: how many files may be accepted at another try


class Executor(base_beam_executor.BaseBeamExecutor):
    """Decodes the listed clips into Examples and writes the manifest of what was and was not used."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `AudioExampleGen` for the execution properties.

        Raises:
            ValueError: a source's folder is missing where the step runs, or nothing is left to pretrain on.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        manifest = artifact_utils.get_single_instance(output_dict["manifest"])
        sources: dict[str, str] = json.loads(exec_properties["sources"])
        splits: list[str] = json.loads(exec_properties["splits"])

        _require_folders(sources)
        listed, listing_rejected = count_listed(sources, splits)
        shards = {split: _num_shards(listed[split], exec_properties["clips_per_shard"]) for split in splits}
        for split in splits:
            fileio.makedirs(os.path.join(examples.uri, f"Split-{split}"))
        slices = min(listing_slices(self._beam_pipeline_args or ()), sum(shards.values()))
        limits = from_json(Limits, exec_properties["limits"])
        write = _IngestShard(sources, shards, examples.uri, manifest.uri, limits)
        fileio.makedirs(os.path.join(manifest.uri, "summaries"))
        with run_and_release(self._make_beam_pipeline()) as pipeline:
            _ = (
                pipeline
                | "Sources" >> beam.Create([(sources, splits, part) for part in range(slices)])
                | "List" >> beam.FlatMap(_keyed_entries, shards=shards, slices=slices)
                | "ByShard" >> beam.GroupByKey()
                | "Ingest" >> beam.ParDo(write)
            )
        content, rejected = build_manifest(sources, splits, _read_summaries(manifest.uri), listing_rejected)
        _require_clips(content, sources, splits)
        fileio.rmtree(os.path.join(manifest.uri, "summaries"))
        for folder in (manifest.uri, *(os.path.join(examples.uri, f"Split-{split}") for split in splits)):
            remove_unfinished(folder)
        write_atomically(
            os.path.join(manifest.uri, REJECTED_FILE), "".join(json.dumps(r) + "\n" for r in rejected)
        )
        write_atomically(
            os.path.join(manifest.uri, MANIFEST_FILE), json.dumps(content, indent=1, sort_keys=True)
        )
        _describe(examples, manifest, splits, content, exec_properties.get("span"))
        record_outputs(output_dict, self._context)


class _IngestShard(beam.DoFn):
    """Ingests one shard and leaves its summary in a file, for the manifest."""

    def __init__(
        self,
        sources: dict[str, str],
        shards: dict[str, int],
        examples_uri: str,
        manifest_uri: str,
        limits: Limits,
    ):
        self._sources = sources
        self._shards = shards
        self._examples_uri = examples_uri
        self._manifest_uri = manifest_uri
        self._limits = limits
        self._builder = builder(__name__, *(f"hares.tasks.{name}" for name in sources), decodes=True)

    def setup(self) -> None:
        """Raises where the worker would read or compute something else, or nothing: its clips would all be rejected."""
        self._builder.require_same()
        _require_folders(self._sources)

    def process(self, element: tuple[tuple[str, int], Iterable[Entry]]) -> None:
        (split, shard), entries = element
        name = f"{split}-{shard:05d}-of-{self._shards[split]:05d}"
        summary = ingest_shard(
            entries,
            self._sources,
            split,
            shard,
            os.path.join(self._examples_uri, f"Split-{split}", f"clips-{name}.tfrecord"),
            os.path.join(self._manifest_uri, f"clips-{name}.jsonl"),
            self._limits,
        )
        write_atomically(
            os.path.join(self._manifest_uri, "summaries", f"{name}.json"), json.dumps(vars(summary))
        )


def _require_folders(sources: Mapping[str, str]) -> None:
    """A folder was there when the run was resolved; in a pod, a volume that is not mounted would look like no clips."""
    for root in sources.values():
        folder = tfds_source.data_dir_of(root) or place(root)
        if not folder.is_dir():
            if isinstance(folder, BucketPath):
                raise ValueError(f"ingestion: there is nothing at {folder}, where the run was resolved")
            raise ValueError(
                f"ingestion: there is no folder {folder} where this step runs; mount the volume that holds it at the "
                "path that it had when the pipeline was compiled (`volumes` of the cluster file)"
            )


def _require_clips(content: Mapping[str, Any], sources: Mapping[str, str], splits: list[str]) -> None:
    """Pretraining needs a clip at least; a benchmark task without any is reported as not scored."""
    if splits == ["train"] and not content["splits"]["train"]["used"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(content["rejected"].items()))
        raise ValueError(
            f"ingestion: {', '.join(sources.values())} has no clip to train on ({reasons or 'no audio file found'})"
        )


def _num_shards(clips: int, clips_per_shard: int) -> int:
    return max(1, -(-clips // clips_per_shard))


def _keyed_entries(
    request: tuple[dict[str, str], list[str], int], shards: dict[str, int], slices: int
) -> Iterator[tuple[tuple[str, int], Entry]]:
    """The entries of one slice of the shards; every slice lists everything and keeps its own."""
    sources, splits, part = request
    _require_folders(sources)
    for item in list_entries(sources, splits):
        if isinstance(item, Entry):
            clip: Clip = item.clip
            shard = shard_of(clip.clip_id, shards[clip.split])
            if shard % slices == part:
                yield (clip.split, shard), item


def _read_summaries(manifest_uri: str) -> Iterator[ShardSummary]:
    folder = os.path.join(manifest_uri, "summaries")
    for name in sorted(name for name in fileio.listdir(folder) if name.endswith(".json")):
        with fileio.open(os.path.join(folder, name), "r") as file:
            yield ShardSummary(**json.loads(file.read()))


def _describe(
    examples: types.Artifact,
    manifest: types.Artifact,
    splits: list[str],
    content: dict[str, Any],
    span: int | None,
) -> None:
    """Records what a person or a later step asks first in the artifacts' properties."""
    examples.split_names = artifact_utils.encode_split_names(splits)
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
    for artifact in (examples, manifest):
        artifact.set_string_custom_property("source", "+".join(sorted(content["sources"])))
        artifact.set_string_custom_property("content_digest", content["content_digest"])
        if span is not None:
            artifact.set_string_custom_property("span", str(span))
    examples.set_string_custom_property("manifest", manifest.uri)
    for key in ("listed", "used"):
        manifest.set_int_custom_property(key, int(sum(s[key] for s in content["splits"].values())))
    manifest.set_int_custom_property("rejected", sum(content["rejected"].values()))
    if unsettled := sum(content["rejected"].get(reason.value, 0) for reason in UNSETTLED):
        manifest.set_int_custom_property(UNSETTLED_PROPERTY, unsettled)
    if span is not None:
        examples.span = span
