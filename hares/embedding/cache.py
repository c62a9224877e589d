"""The cache of embeddings: a shard is found again if everything that made it is the same, and only then.

A shard's key is a digest of all that decides its numbers:

- the encoder: weights, code, libraries (`FrozenEncoder.digest`), and the number type they are kept in;
- the front end: sample rate, fixed input length, the code that decodes, cuts and resamples, the decoders' versions, and
  what one file may cost: with ffmpeg installed or a limit raised, a file that was rejected is tried again;
- the crop policy: of the task and the protocol, what settles the crops of *this* split, so that a longer probe,
  another learning rate or, for test clips, another number of training crops is no other shard;
- the data: of each clip its id, labels, group, place in the file, and the SHA-256 of the file's bytes.

Names, paths, modification times and the batch size do not count. A shard is one npz file, written atomically, with its
counts for the manifest. `log.jsonl` has a line for each shard found or computed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hares.adapters import FrozenEncoder
from hares.arrays import npz_arrays, npz_bytes
from hares.atomic_files import no_link, write_atomically
from hares.buckets import Place
from hares.buckets.copies import Copies
from hares.code_digest import code_digest, is_our_module
from hares.decoding import AudioError, decoder_versions
from hares.digests import combined_digest
from hares.embedding.encoding import MIXING_WINDOW
from hares.embedding.task_embeddings import TaskEmbeddings, decode_shard, encode_shard
from hares.ingest import Entry, ShardSummary, entry_digest
from hares.protocol import TRAIN_ROLE, ProtocolSettings, roles
from hares.task import Clip, Split, Task

EmbeddingDtype = Literal["float16", "float32"]

_PREPARING = ("hares.ingest", "hares.protocol", "hares.embedding.encoding", "hares.adapters")
_SUMMARY = "summary_json"


def front_end(encoder: FrozenEncoder) -> dict[str, Any]:
    """What turns a recording into embeddings besides the encoder's weights: settings, code and decoders."""
    # An adapter of ours; what is called without one is the user's, and its code is in the encoder's digest.
    adapter = [name for name in [getattr(encoder.embed, "__module__", "")] if is_our_module(name)]
    return {
        "sample_rate": encoder.sample_rate,
        "input_samples": encoder.input_samples,
        "code": code_digest(*_PREPARING, *adapter),
        "decoders": decoder_versions(),
    }


def crop_policy(task: Task, split: Split, settings: ProtocolSettings) -> dict[str, Any]:
    """The parts of a task and of the settings that decide which crops of a split are embedded."""
    policy: dict[str, Any] = {"clip_seconds": task.clip_seconds, "roles": roles(split)}
    if any(role != TRAIN_ROLE for role in roles(split)):
        policy["evaluation"] = [task.evaluation, task.evaluation_crop]
    if TRAIN_ROLE in roles(split):
        policy["train_crop"] = task.train_crop
        if task.augmented:
            policy["augmented"] = [settings.seed, settings.augmented_epochs, task.name]
        elif task.train_crop is not None or task.mixed:
            policy["random"] = [settings.seed, settings.crops_per_clip, task.name]
        if task.mixed:
            policy["mixing_window"] = MIXING_WINDOW
    return policy


def hashed(entries: Sequence[Entry], root: Place, copies: Copies) -> list[Entry]:
    """Entries in the order of their clips' ids, with the SHA-256 of their files; one that cannot be read has none."""
    in_order = sorted(entries, key=lambda entry: entry.clip.clip_id)
    files = ((entry, os.path.join(str(root), entry.clip.path), entry.listed) for entry in in_order)
    return [
        dataclasses.replace(entry, sha256=_digest_or_none(entry, file))
        for batch in copies.batches(files)
        for entry, file in batch
    ]


def shard_data(entries: Sequence[Entry]) -> list[list[Any]]:
    """What a key says of a shard's clips, which `hashed` gave."""
    return [
        [c.clip_id, c.labels, c.group, c.start, c.duration, entry.sha256]
        for entry in entries
        for c in (entry.clip,)
    ]


def _length(clip: Clip) -> Any:
    """Seconds to read, or where `hares.reading.part_to_read` decides: what it decides by."""
    return clip.duration if clip.length is None else [clip.offset, clip.length]


def _digest_or_none(entry: Entry, file: Path | AudioError) -> str | None:
    try:
        return None if isinstance(file, AudioError) else entry_digest(entry, file)
    except OSError:  # the decoder will report it, and the manifest count it
        return None


class EmbeddingCache:
    """A folder of shards."""

    def __init__(self, folder: Path, dtype: EmbeddingDtype) -> None:
        self._folder = folder
        self._dtype = dtype

    def key(
        self, encoder_digest: str, front: dict[str, Any], policy: dict[str, Any], data: list[list[Any]]
    ) -> str:
        """The key of a shard, 64 hexadecimal digits."""
        return combined_digest(
            encoder=encoder_digest, dtype=self._dtype, front_end=front, crops=policy, data=data
        )

    def holds(self, key: str) -> bool:
        """Whether the shard of `key` has been computed."""
        return self._path(key).is_file()

    def find(self, key: str) -> tuple[TaskEmbeddings, ShardSummary] | None:
        """The shard of `key`, embeddings as float32; None where it has not been computed.

        Raises:
            ValueError: the file is damaged; the message names it.
        """
        path = self._path(key)
        if not path.is_file():
            return None
        content = path.read_bytes()
        data = decode_shard(content, str(path))
        summary = ShardSummary(**json.loads(npz_arrays(content, str(path))[_SUMMARY].tobytes()))
        return dataclasses.replace(data, embeddings=data.embeddings.astype(np.float32)), summary

    def keep(self, key: str, data: TaskEmbeddings, summary: ShardSummary) -> None:
        """Writes a shard.

        Raises:
            ValueError: a number does not fit the type that embeddings are kept in.
        """
        arrays = npz_arrays(encode_shard(data), key)
        if data.embeddings.size and np.abs(data.embeddings).max() > np.finfo(self._dtype).max:
            raise ValueError(
                f"an embedding holds {np.abs(data.embeddings).max():.3g}, which does not fit {self._dtype}; keep "
                "embeddings with --embedding-dtype float32"
            )
        arrays["embeddings"] = arrays["embeddings"].astype(self._dtype)
        arrays[_SUMMARY] = np.frombuffer(json.dumps(vars(summary)).encode(), np.uint8)
        write_atomically(self._path(key), npz_bytes(arrays))

    def log(self, event: Literal["found", "computed"], key: str, task: str, split: str, shard: int) -> None:
        """Appends a line to `log.jsonl`."""
        line = {"event": event, "key": key, "task": task, "split": split, "shard": shard, "time": time.time()}
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = no_link(str(self._folder / "log.jsonl"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(descriptor, (json.dumps(line) + "\n").encode())  # one write: lines never interleave
        finally:
            os.close(descriptor)

    def _path(self, key: str) -> Path:
        return self._folder / "shards" / key[:2] / f"{key}.npz"
