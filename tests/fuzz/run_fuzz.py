"""The long run: tens of thousands of mutated recordings and index files, and what became of each.

    PYTHONPATH=tests python -m fuzz.run_fuzz --audio 10000 --indexes 5000 --out FOLDER [--seed 0]
    PYTHONPATH=tests python -m fuzz.run_fuzz --coverage 20000

Prints counts by reason and the slowest file. A file that kills the decoder, holds it up, makes a library raise what
nobody expects, or an index that a reader fails on, is kept under FOLDER/faults. With --coverage, atheris (guided by
coverage, where it is installed) changes index files and headers of recordings for that many runs.
"""

from __future__ import annotations

import argparse
import inspect
import json
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fuzz.fuzz_layouts import check_listing, make_layouts
from fuzz.fuzz_mutations import (
    audio_seeds,
    ffmpeg_seeds,
    mutated,
    random_changes,
    seconds_by_ffmpeg,
    with_ogg_sums,
)
from hares import files, reading
from hares.decoding import AudioError, containers, decode_each, frames
from hares.task import SAMPLE_RATE, Reason, load_task, load_task_module, task_names
from hares.tasks import _nsynth, _rows

FAULTS = (Reason.DECODER_DIED, Reason.TOO_SLOW, Reason.TOO_LARGE)


def fuzz_audio(count: int, seed: int, folder: Path, faults: Path) -> dict[str, object]:
    """Decodes `count` mutated recordings; where ffmpeg is there, also says which came out shorter than with it."""
    seeds = audio_seeds(1.0)
    if shutil.which("ffmpeg"):
        seeds += ffmpeg_seeds(1.0)
    counts: dict[str, Counter[str]] = {}
    compared: Counter[str] = Counter()
    slowest = 0.0

    def files() -> Iterator[tuple[Path, float, None]]:
        for number in range(count):
            suffix, data = seeds[number % len(seeds)]
            path = folder / f"{number:06d}{suffix}"
            changed = mutated(data, random_changes(random.Random(f"{seed}/{number}")))
            # Two of three Ogg files get right checksums, else the codecs below them would hardly be reached.
            path.write_bytes(with_ogg_sums(changed) if suffix == ".ogg" and number % 3 else changed)
            yield path, 0.0, None

    started = time.monotonic()
    for number, found in enumerate(decode_each(files())):
        path = folder / f"{number:06d}{seeds[number % len(seeds)][0]}"
        slowest = max(slowest, time.monotonic() - started)
        outcome = found.reason.value if isinstance(found, AudioError) else "decoded"
        counts.setdefault(path.suffix, Counter())[outcome] += 1
        if not isinstance(found, AudioError) and shutil.which("ffmpeg"):
            difference = len(found) / SAMPLE_RATE - seconds_by_ffmpeg(path)
            compared["shorter" if difference < -0.1 else "longer" if difference > 0.1 else "alike"] += 1
            if difference < -0.1:
                shutil.copy(path, faults / path.name)
                (faults / f"{path.name}.txt").write_text(f"{-difference:.3f} s shorter than ffmpeg's")
        if isinstance(found, AudioError):
            assert str(found), path
            if found.reason in FAULTS:
                shutil.copy(path, faults / path.name)
                (faults / f"{path.name}.txt").write_text(str(found))
        path.unlink()
        started = time.monotonic()
    total = sum(counts.values(), Counter())
    return {"files": count, "by_reason": total, "by_suffix": counts, "slowest_seconds": round(slowest, 3),
            "with_ffmpeg": compared}  # fmt: skip


def fuzz_indexes(count: int, seed: int, folder: Path, faults: Path) -> dict[str, object]:
    """Lists data sets of which one index file at a time is mutated."""
    indexes = make_layouts(folder)
    before = {task: check_listing(task, folder / load_task(task).dataset, Counter()) for task in task_names()}
    counts: Counter[str] = Counter()
    slowest, failed = 0.0, 0
    for number in range(count):
        source = random.Random(f"{seed}/index/{number}")
        task = task_names()[number % len(task_names())]
        path = source.choice(indexes[task])
        whole = path.read_bytes()
        path.write_bytes(mutated(whole, random_changes(source)))
        started = time.monotonic()
        try:
            check_listing(task, folder / load_task(task).dataset, counts, before[task])
        except Exception:
            failed += 1
            shutil.copy(path, faults / f"{number:06d}-{task}-{path.name}")
            (faults / f"{number:06d}-{task}.txt").write_text(traceback.format_exc())
        slowest = max(slowest, time.monotonic() - started)
        path.write_bytes(whole)
    return {"files": count, "failed": failed, "items": counts, "slowest_seconds": round(slowest, 3)}


def fuzz_by_coverage(runs: int, folder: Path, faults: Path) -> None:
    """Changes index files and recordings' headers as coverage of the readers suggests; does not return."""
    import atheris  # type: ignore[import-not-found,unused-ignore]

    indexes = make_layouts(folder / "layouts")
    header = folder / "header"
    for module in (containers, frames, reading, files, _rows, _nsynth, *map(load_task_module, task_names())):
        for function in vars(module).values():
            if inspect.isfunction(function) and function.__module__ == module.__name__:
                atheris.instrument_func(function)

    def one(data: bytes) -> None:
        if len(data) < 2:
            return
        if data[0] % 4 == 0:
            header.write_bytes(data[1:])
            containers.missing_end(header)
            return
        task = task_names()[data[1] % len(task_names())]
        path = indexes[task][data[0] // 4 % len(indexes[task])]
        whole = path.read_bytes()
        path.write_bytes(data[2:])
        try:
            check_listing(task, folder / "layouts" / load_task(task).dataset, Counter())
        finally:
            path.write_bytes(whole)

    corpus = folder / "corpus"
    corpus.mkdir()
    for number, (_, data) in enumerate(audio_seeds()):
        (corpus / f"audio{number}").write_bytes(b"\0" + data)
    for place, task in enumerate(task_names()):
        for number, path in enumerate(indexes[task]):
            (corpus / f"{task}{number}").write_bytes(bytes([4 * number + 1, place]) + path.read_bytes())
    limits = [f"-runs={runs}", "-max_len=40000", "-timeout=5", f"-artifact_prefix={faults}/"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], one)
    atheris.Fuzz()


def main() -> None:
    """Runs what the options ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--audio", type=int, default=0)
    parser.add_argument("--indexes", type=int, default=0)
    parser.add_argument("--coverage", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("fuzz"))
    options = parser.parse_args()
    faults = options.out / "faults"
    faults.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, fuzz, count in (
            ("audio", fuzz_audio, options.audio),
            ("indexes", fuzz_indexes, options.indexes),
        ):
            if count:
                folder = Path(scratch) / name
                folder.mkdir()
                print(json.dumps({name: fuzz(count, options.seed, folder, faults)}, indent=1), flush=True)
        if options.coverage:
            fuzz_by_coverage(options.coverage, Path(scratch), faults)


if __name__ == "__main__":
    main()
