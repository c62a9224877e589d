"""The decoder's own process: requests in on standard input, samples out on standard output.

It holds itself to the memory that a file gets (address space, and the size of a temporary file), leaves no core
dump, and ends by itself when its caller has gone or when a file takes far too long. Only data crosses: a request
is a line of JSON, an answer a line of JSON and the samples as int16.

    {"path": ..., "start": ..., "duration": ..., "seconds": ..., "longest": ...}   -> {"samples": n} + 2n bytes
    {"path": ..., "length": true, ...}                                             -> {"length": seconds}
    either                                                                         -> {"reason": ..., "detail": ...}

Every answer has the processor time used so far under `used`.

`hares._decoder` starts it. It imports neither TensorFlow nor Beam: it starts in a fraction of a second, and its
memory is that of the file it decodes.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from typing import Any, BinaryIO

import numpy as np
import soundfile

from hares._decoding import AudioError, Limits, decode_here, seconds_here
from hares.task import Reason

READY = b"ready\n"
ORPHAN_SECONDS = 1.0  # how much longer than its caller this process waits before it ends itself


def main(memory_bytes: int) -> None:
    """Answers requests until standard input ends."""
    requests, answers = sys.stdin.buffer, _only_ours()
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE):
        hard = resource.getrlimit(kind)[1]
        most = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
        resource.setrlimit(kind, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The default action ends the process even where C code never returns.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    answers.write(READY)
    answers.flush()
    for line in requests:
        request = json.loads(line)
        limits = Limits(request["seconds"], memory_bytes, request["longest"])
        signal.setitimer(signal.ITIMER_REAL, limits.seconds + ORPHAN_SECONDS)
        header, samples = _answer(request, limits)
        # Off before the answer is written: the caller may be busy with the one before.
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(json.dumps({**header, "used": time.process_time()}).encode() + b"\n")
        answers.write(samples)
        answers.flush()


def _only_ours() -> BinaryIO:
    """Standard output, which from now on only this function's caller can write to: C libraries print too."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return answers


def _answer(request: dict[str, Any], limits: Limits) -> tuple[dict[str, Any], memoryview]:
    nothing = memoryview(b"")
    try:
        if request.get("length"):
            return {"length": seconds_here(request["path"], limits)}, nothing
        samples = np.ascontiguousarray(
            decode_here(request["path"], request["start"], request["duration"], limits), "<i2"
        )
        return {"samples": len(samples)}, samples.data.cast("B")
    except AudioError as error:
        return _refusal(error), nothing
    except MemoryError:
        return _refusal(limits.too_large()), nothing
    except Exception as error:
        # Whatever bytes from anywhere set off in a library ends one file and not the run. It is named.
        if isinstance(error, soundfile.LibsndfileError) and "malloc" in str(error).lower():
            return _refusal(limits.too_large()), nothing
        detail = f"the decoder failed on this file ({type(error).__name__}: {error}); remove it, or encode it again"
        return _refusal(AudioError(Reason.DECODER_DIED, detail)), nothing


def _refusal(error: AudioError) -> dict[str, Any]:
    return {"reason": error.reason.value, "detail": error.detail}


if __name__ == "__main__":
    main(int(sys.argv[1]))
