"""How time, memory and files of each step of the pipeline grow with the number of clips.

    python -m benchmarks.scale --folder F [--sizes 1000,10000,100000] [--keep] [--again statistics,evaluator]

Every size is a corpus of one-second clips of its own (16 kHz wav in Speech Commands' layout, a tone a word in noise,
three quarters train; no two files share a byte of sound, so nothing is cheaper than in life but the length of a clip)
and one run of the pipeline on it: `sf_nfnet_tiny` for one epoch of SimCLR, the task's probe at the `quick` protocol.
Each step runs in a process of its own, as on a cluster, against the run's own store. Of each is measured, imports left
out: wall and processor seconds of the step, the peak resident memory that the kernel reports, and what of it was there
before the step began. "resolve" is what comes before the first step: fingerprints of the folders, indexes, compiling.

What is done is kept in F/scale.json, and not done again: a call that was interrupted goes on with the step it was in.
`--again` measures steps anew where an earlier call kept (`--keep`) a size's corpus and run: each from the store as the
step first found it and without checkpoints, so that it does all that it did then; what it makes is dropped.
Prints a line a step as it ends, and last the tables: cost, growth, and what AudioSet's 1.9 million clips would take.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scale_tables import show

TASK = "speech_commands_v2"
BATCH = 64
TRAIN_SHARE = 3 / 4
RESOLVE = "resolve"
STEPS = (
    RESOLVE, f"ingest_{TASK}", "ingest_pretraining", "schema", "statistics", "transform", "trainer", f"embed_{TASK}",
    "evaluator", "pusher",
)  # fmt: skip
IR_FILE = "pipeline.pb"
STORE = "metadata.sqlite"
CHECKPOINTS = "checkpoints"


def settings(clips: int) -> list[str]:
    """What differs from the demo's preset: one task, one epoch, the encoder at the end alone."""
    steps = int(clips * TRAIN_SHARE) // BATCH
    return [
        f"tasks=[{TASK}]",
        "pretraining.source=train_splits",
        f"training.batch_size={BATCH}",
        f"training.steps={steps}",
        f"training.warmup_steps={min(20, steps)}",
        "training.crop_seconds=0.64",
        "compare_untrained=false",
    ]


def resolve_run(corpus: Path, workspace: Path, clips: int) -> None:
    """Settings and data to a compiled pipeline in a file, which the other steps read."""
    from tfx.dsl.compiler import compiler, constants
    from tfx.orchestration.portable import runtime_parameter_utils

    from pipeline.config import load_config
    from pipeline.pipeline import create_pipeline
    from pipeline.run import prepare

    run = prepare(load_config("demo", settings(clips)), corpus, {}, workspace)
    ir = compiler.Compiler().compile(create_pipeline(run))
    names = {constants.PIPELINE_RUN_ID_PARAMETER_NAME: f"scale-{clips}"}
    runtime_parameter_utils.substitute_runtime_parameter(ir, names)
    (workspace / IR_FILE).write_bytes(ir.SerializeToString())


def run_step(step: str, corpus: Path, workspace: Path, clips: int) -> dict[str, Any]:
    """Runs one step in this process and measures it. Raises what the step raises."""
    _import_all()
    from tfx.proto.orchestration import pipeline_pb2

    from pipeline.lineage.tfx_connection import TfxConnection
    from pipeline.local_runner import Outcome, launch
    from pipeline.run import own_store

    ir = pipeline_pb2.Pipeline()
    if step != RESOLVE:
        ir.ParseFromString((workspace / IR_FILE).read_bytes())
    before = _peak_mib()
    wall, processor = time.monotonic(), time.process_time()
    if step == RESOLVE:
        resolve_run(corpus, workspace, clips)
    else:
        (node,) = (n.pipeline_node for n in ir.nodes if n.pipeline_node.node_info.id == step)
        # A step that is measured again has run before.
        node.execution_options.caching_options.enable_cache = False
        outcome = launch(node, ir, TfxConnection(own_store(workspace)))
        if outcome is not Outcome.RAN:
            raise RuntimeError(f"{step} came from the cache of {workspace}: nothing was measured")
    return {
        "wall": time.monotonic() - wall,
        "processor": time.process_time() - processor,
        "peak_mib": _peak_mib(),
        "before_mib": before,
    }


def _import_all() -> None:
    """What any step imports, so that no step's own figures hold it."""
    import pipeline.pipeline
    import pipeline.training  # noqa: F401


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(step: str, corpus: Path, workspace: Path, clips: int) -> dict[str, Any]:
    """One step in a process of its own.

    Raises:
        RuntimeError: it failed; the message says where its log is.
    """
    log = workspace / "logs" / f"{step}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    result = workspace / "logs" / f"{step}.json"
    command = [sys.executable, "-m", "benchmarks.scale", "--step", step, "--corpus", str(corpus)]
    command += ["--workspace", str(workspace), "--clips", str(clips), "--result", str(result)]
    if (workspace / STORE).is_file():
        shutil.copy2(workspace / STORE, _store_before(step, workspace))
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT)
    if done.returncode:
        raise RuntimeError(f"step {step} with {clips} clips ended with {done.returncode}; see {log}")
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def measure_again(step: str, corpus: Path, workspace: Path, clips: int) -> dict[str, Any]:
    """A step that has run, from what the store was before it; store, checkpoints and artifacts are left as they were.

    Raises:
        RuntimeError: it failed, or the workspace of the first time is gone.
    """
    aside = workspace / "before-again"
    _put_back(workspace, aside)  # of a call that was killed
    if not (workspace / STORE).is_file():
        raise RuntimeError(f"there is no run in {workspace}: measure {clips} clips with --keep first")
    for place in (STORE, CHECKPOINTS, f"artifacts/{step}"):
        if (workspace / place).exists():
            (aside / place).parent.mkdir(parents=True, exist_ok=True)
            (workspace / place).rename(aside / place)
    if step != RESOLVE:
        shutil.copy2(_store_before(step, workspace), workspace / STORE)
    try:
        return measure(step, corpus, workspace, clips)
    finally:
        _put_back(workspace, aside)


def _put_back(workspace: Path, aside: Path) -> None:
    """Moves what is aside to where it was, in place of what a step made there meanwhile."""
    for place in (STORE, CHECKPOINTS, *(f"artifacts/{step}" for step in STEPS)):
        if (aside / place).exists():
            if (workspace / place).is_dir():
                shutil.rmtree(workspace / place)
            (aside / place).replace(workspace / place)
    shutil.rmtree(aside, ignore_errors=True)


def _store_before(step: str, workspace: Path) -> Path:
    """A copy of the store, a fraction of a megabyte, as the step found it when it first ran."""
    return workspace / "logs" / f"{step}.sqlite"


def make_clips(corpus: Path, clips: int) -> None:
    """The corpus of a size, where it is not there; it appears when it is complete."""
    from benchmarks.memory import make_corpus

    if not corpus.is_dir():
        part = corpus.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        make_corpus(part, clips)
        part.rename(corpus)


def sizes_of(workspace: Path, corpus: Path) -> dict[str, int]:
    """Bytes of what a run leaves, by kind."""
    artifacts = workspace / "artifacts"
    places = {
        "corpus": [corpus],
        "store": [workspace / STORE],
        "manifests": artifacts.glob("ingest_*/manifest"),
        "examples": artifacts.glob("ingest_*/examples"),
        "spectrograms": [artifacts / "transform" / "transformed_examples"],
        "embeddings": artifacts.glob("embed_*/embeddings"),
        "report": [artifacts / "evaluator" / "report"],
        "checkpoints": [workspace / CHECKPOINTS],
    }
    return {
        kind: sum(path.stat().st_size for folder in folders for path in _files(folder))
        for kind, folders in places.items()
    }


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for folder, _, names in os.walk(path):
        yield from (Path(folder) / name for name in names)


def measure_size(folder: Path, clips: int, rows: dict[str, Any], again: Sequence[str]) -> Iterator[None]:
    """Everything about one size that `rows` does not have, and `again`; yields whenever there is more in it."""
    found = rows.setdefault(str(clips), {"steps": {}, "bytes": {}})
    corpus, workspace = folder / f"corpus-{clips}", folder / f"run-{clips}"
    if found["bytes"]:
        for step in again:
            found["steps"][step] = measure_again(step, corpus, workspace, clips)
            _tell(clips, step, found["steps"][step])
            yield
        return
    make_clips(corpus, clips)
    for step in STEPS:
        if step in found["steps"]:
            continue
        found["steps"][step] = measure(step, corpus, workspace, clips)
        _tell(clips, step, found["steps"][step])
        yield
    found["bytes"] = sizes_of(workspace, corpus)
    yield


def _tell(clips: int, step: str, row: dict[str, Any]) -> None:
    print(
        f"{clips:>8} clips {step:<28} {row['wall']:8.1f} s wall {row['processor']:8.1f} s processor "
        f"{row['before_mib']:6.0f} -> {row['peak_mib']:6.0f} MiB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, help="where corpora, runs and scale.json go; none is needed twice"
    )
    parser.add_argument("--sizes", default="1000,10000,100000", help="clips, smallest first")
    parser.add_argument(
        "--keep", action="store_true", help="keep a size's corpus and run when it is measured"
    )
    parser.add_argument(
        "--again", default="", help="steps to measure anew at sizes that are measured and were kept"
    )
    for own in ("--step", "--corpus", "--workspace", "--clips", "--result"):
        parser.add_argument(own, help=argparse.SUPPRESS)  # of the process that runs one step
    arguments = parser.parse_args()
    if arguments.step:
        row = run_step(
            arguments.step, Path(arguments.corpus), Path(arguments.workspace), int(arguments.clips)
        )
        Path(arguments.result).write_text(json.dumps(row), encoding="utf-8")
        return
    if arguments.folder is None:
        parser.error("--folder is missing")
    again = arguments.again.split(",") if arguments.again else []
    if unknown := sorted(set(again) - set(STEPS)):
        parser.error(f"--again {unknown[0]}: no such step; there are {', '.join(STEPS)}")
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "scale.json"
    rows: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    sizes = [int(size) for size in arguments.sizes.split(",")]
    for clips in sizes:
        for _ in measure_size(folder, clips, rows, again):
            part = kept.with_suffix(".part")
            part.write_text(json.dumps(rows, indent=1), encoding="utf-8")
            part.replace(kept)
        if not arguments.keep:
            for made in (f"corpus-{clips}", f"run-{clips}"):
                shutil.rmtree(folder / made, ignore_errors=True)
    show({clips: rows[str(clips)] for clips in sizes})


if __name__ == "__main__":
    main()
