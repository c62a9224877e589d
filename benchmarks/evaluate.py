"""What HARES costs beside the encoder: all twelve probes against one bare pass over the same crops, in one run.

    python -m benchmarks.evaluate --encoder saved_model:DIR --corpus DIR [--protocol quick]

The bare pass cuts the protocol's crops beforehand and then calls the encoder on full batches of them: nothing is
decoded, cached or scored in it. `evaluate` does everything, from listing the files to the report's page, into an empty
cache. Prints both times, their ratio, and where the time of `evaluate` went.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from hares.adapters import FrozenEncoder, encode_crops, load_adapter
from hares.embedding.task_embedder import EvaluationSettings, TaskSource
from hares.evaluation import evaluate_tasks, find_sources
from hares.ingest import Entry, ShardSummary, list_entries, read_shard
from hares.protocol import (
    EVALUATION_ROLE,
    TRAIN_ROLE,
    ProtocolSettings,
    evaluation_crops,
    load_protocol,
    roles,
    training_crops,
)


class Silent:
    """An observer who says nothing, so that no drawing is timed."""

    def __getattr__(self, name: str) -> object:
        return lambda *_, **__: None


def crops_of(sources: Iterable[TaskSource], protocol: ProtocolSettings) -> dict[int, list[np.ndarray]]:
    """All crops that the protocol embeds, by their length in samples."""
    found: dict[int, list[np.ndarray]] = defaultdict(list)
    for source in sources:
        task, readers = source.task, {source.task.name: str(source.root)}
        by_split: dict[str, list[Entry]] = defaultdict(list)
        for item in list_entries(readers, ("train", "test", "fold1", "fold2", "fold3", "fold4", "fold5")):
            if isinstance(item, Entry):
                by_split[item.clip.split].append(item)
        for split, entries in by_split.items():
            for clip, *_ in read_shard(entries, readers, ShardSummary(split, 0)):
                if TRAIN_ROLE in roles(split):
                    for crop in training_crops(task, clip.waveform, clip.clip_id, protocol):
                        found[len(crop)].append(crop)
                if EVALUATION_ROLE in roles(split):
                    for crop in evaluation_crops(task, clip.waveform, clip.clip_id):
                        found[len(crop)].append(crop)
    return found


def bare_pass(encoder: FrozenEncoder, crops: dict[int, list[np.ndarray]], batch_size: int) -> float:
    """Seconds that the encoder takes for all crops; the last batch of a length is filled up, as in `evaluate`."""
    encode, seconds = encode_crops(encoder), 0.0
    for same_length in crops.values():
        encode(np.stack([same_length[0]] * batch_size))  # tracing and warming up are not timed
        for first in range(0, len(same_length), batch_size):
            batch = same_length[first : first + batch_size]
            stacked = np.stack(batch + [batch[0]] * (batch_size - len(batch)))
            began = time.monotonic()
            encode(stacked)
            seconds += time.monotonic() - began
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--protocol", default="quick")
    arguments = parser.parse_args()
    encoder, protocol = load_adapter(arguments.encoder), load_protocol(arguments.protocol)
    sources = find_sources(arguments.corpus, {}, ())
    settings = EvaluationSettings(protocol)
    crops = crops_of(sources, protocol)
    before = bare_pass(encoder, crops, settings.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        done = evaluate_tasks(
            encoder, sources, settings, Path(folder) / "out", Path(folder) / "cache", Silent()
        )
        whole = time.monotonic() - began
    after = bare_pass(encoder, crops, settings.batch_size)
    bare = (before + after) / 2
    number = sum(map(len, crops.values()))
    probing = sum(task["probe_seconds"] for task in done.record["tasks"].values())
    print(f"{number} crops, {sum(n * len(c) for n, c in crops.items()) / 16_000:.0f} s of audio")
    print(
        f"bare pass {bare:.1f} s ({before:.1f} before, {after:.1f} after); evaluate {whole:.1f} s: {whole / bare:.2f}"
    )
    print(f"of it probes {probing:.1f} s, pre-flight {done.record['seconds']['preflight']:.1f} s")


if __name__ == "__main__":
    main()
