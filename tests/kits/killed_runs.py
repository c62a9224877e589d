"""Run as a program: training processes that are really killed, again and again, and what they leave.

killed_runs.py FOLDER PLAN    PLAN is the text of JSON: chain name to its list of kills

TensorFlow is imported once, here, and never started: each life of a run is a fork of this process, so that it
costs what training costs and not the import. Each chain is one run, killed and resumed until its kills are used up;
its last life is left to end. Two chains go on at a time.

A kill is {"kind", "signal", "at", "delay", "truncate"}. By kind it comes, `delay` seconds after:
- "start": the process was forked;
- "step": step `at` was reported;
- "write": a checkpoint began to be written, step `at` or later. What is on the disk is looked at with the process
  stopped: where the checkpoint is complete already, the next one is waited for;
- "export": training returned.
"truncate" is the share of the newest checkpoint's data that is left to the next life, 1 for all.

The product is watched from outside, by its progress reports and its files: nothing in it is changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import struct
import sys
import time
from pathlib import Path

from kits import training_kit as KIT
from models.export import METADATA_FILE, export_saved_model
from models.frontend import FrontendConfig
from models.training import loop
from models.training.config import TrainingConfig

CONFIG = TrainingConfig(
    encoder="toy", steps=40, batch_size=6, warmup_steps=2, peak_learning_rate=1e-3, crop_seconds=0.35,
    objective_settings={"projector_sizes": (512, 512), "projection_size": 6}, steps_per_loop=1,
    checkpoint_every_steps=2, seed=3,
)  # fmt: skip
TRAINED, INTERRUPTED = 10**6, 5  # what a life reports once it is trained; its exit code after SIGTERM


def life(folder, report):
    """One process' work, as the pipeline's Trainer does it: train, then export."""
    loop.load_encoder = lambda name: KIT.RECORD
    files = sorted(str(path) for path in folder.parent.glob("*.tfrecord"))
    try:
        result = loop.train(CONFIG, files, 4, str(folder / "run"), progress=lambda p: report(p.step))
    except loop.TrainingInterrupted:
        return INTERRUPTED
    report(TRAINED)
    export_saved_model(result.encoder, KIT.RECORD, folder / "export", FrontendConfig(), {})
    return 0


def forked(folder):
    """Starts a life; returns its process id and what its reports can be read from."""
    reader, writer = os.pipe()
    process = os.fork()
    if process:
        os.close(writer)
        return process, reader
    try:
        os.close(reader)
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = life(folder, lambda step: os.write(writer, struct.pack("i", step)))
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    os._exit(code)


def until(reader, step):
    """Waits for the report of a step; returns it, or None where the process ended before."""
    while data := os.read(reader, 4):
        (reported,) = struct.unpack("i", data)
        if reported >= step:
            return reported
    return None


def half_written(folder, before, step):
    """Names in a run's folder, new since `before`, of a checkpoint of `step` or later that is still being written.

    What an earlier kill left does not count, nor a temporary folder that TensorFlow cannot delete because of it.
    """
    state = folder / "checkpoint"
    known = (
        set(re.findall(r'^all_model_checkpoint_paths: "(.*)"$', state.read_text(), re.M))
        if state.exists()
        else ()
    )
    new = sorted(name for name, _ in contents(folder) - before)
    found = [(name, re.match(r"ckpt-(\d+)", name)) for name in new if name.split(".")[0] not in known]
    return [name for name, match in found if match and int(match[1]) >= step]


def contents(folder):
    """Names in a folder, each with when it was changed: a killed life's leftovers may be written to again."""
    found = set()
    for entry in os.scandir(folder) if folder.exists() else ():
        with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
            found.add((entry.name, entry.stat().st_mtime_ns))
    return found


def caught_writing(process, folder, delay, before, step):
    """Stops the process in the midst of a checkpoint; returns what was there, or None where it ended before."""
    while os.waitpid(process, os.WNOHANG) == (0, 0):
        if not half_written(folder, before, step):
            continue
        time.sleep(delay)
        os.kill(process, signal.SIGSTOP)
        os.waitpid(process, os.WUNTRACED)
        if there := half_written(folder, before, step):
            return there
        os.kill(process, signal.SIGCONT)
    return None


def kill(folder, planned):
    """Lives until the planned kill; returns what was seen."""
    before = contents(folder / "run")
    process, reader = forked(folder)
    seen = {**planned, "step": None, "half_written": []}
    if planned["kind"] == "start":
        time.sleep(planned["delay"])
    else:
        wanted = TRAINED if planned["kind"] == "export" else planned["at"]
        seen["step"] = until(reader, wanted)
        if planned["kind"] == "write":
            seen["half_written"] = caught_writing(process, folder / "run", planned["delay"], before, wanted)
        else:
            time.sleep(planned["delay"])
    seen["exported"] = (folder / "export" / METADATA_FILE).exists()
    os.kill(process, planned["signal"])
    os.kill(process, signal.SIGCONT)
    seen["status"] = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    os.close(reader)
    if planned["truncate"] < 1:
        state = (folder / "run" / "checkpoint").read_text()
        (newest,) = re.findall(r'^model_checkpoint_path: "(.*)"$', state, re.M)
        path = folder / "run" / f"{newest}.data-00000-of-00001"
        os.truncate(path, int(path.stat().st_size * planned["truncate"]))
        seen["truncated"] = newest
    return seen


def chain(folder, kills):
    """A run's kills, and the life that ends it."""
    folder.mkdir()
    seen = [kill(folder, planned) for planned in kills]
    process, reader = forked(folder)
    first = until(reader, 0)
    while os.read(reader, 4096):
        pass
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return {"kills": seen, "last_life_began_at": first, "code": code}


def main(folder, plan):
    # One process for every other chain: forks of a process with threads would not be safe.
    drivers = []
    for number in range(2):
        driver = os.fork()
        if not driver:
            for name in list(plan)[number::2]:
                (folder / f"{name}.json").write_text(json.dumps(chain(folder / name, plan[name])))
            os._exit(0)
        drivers.append(driver)
    for driver in drivers:
        assert os.waitpid(driver, 0)[1] == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
