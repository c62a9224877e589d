"""The decoder's own process: requests in on standard input, samples out on standard output.

It holds itself to the memory that a file gets, leaves no core dump, gives up what rights it can (`_confine`), and ends
by itself when its caller has gone or when a file takes far too long. Only data crosses: a request
is a line of JSON, an answer a line of JSON and the samples as int16.

    {"path": ..., "start": ..., "duration": ..., "seconds": ..., "longest": ...}   -> {"samples": n} + 2n bytes
    {"path": ..., "length": true, ...}                                             -> {"length": seconds}
    either                                                                         -> {"reason": ..., "detail": ...}
    or, where the machine kept it from an answer                                   -> {"errno": n, "detail": ...}

Every answer has the processor time used so far under `used`.

`hares.decoding.process` starts it. It imports neither TensorFlow nor Beam: it starts in a fraction of a second, and its
memory is that of the file it decodes.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import struct
import time
from typing import Any, BinaryIO

import numpy as np

from hares.decoding.limits import AudioError, Limits
from hares.decoding.waveform import decode_here, seconds_here
from hares.machine import MachineError, machine_error
from hares.task import Reason

READY = b"ready\n"
ORPHAN_SECONDS = 1.0  # how much longer than its caller this process waits before it ends itself
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # of unshare(2)
_DUMPABLE, _NO_NEW_PRIVILEGES = 4, 38  # of prctl(2)
_CAPABILITIES = 0x20080522  # version of capset(2)'s header
# A superuser's right to read others' files, CAP_DAC_READ_SEARCH; and CAP_DAC_OVERRIDE, which containers give instead.
_READ_ALL, _OVERRIDE = 1 << 2, 1 << 1


def main(memory_bytes: int) -> None:
    """Answers requests until standard input ends."""
    requests, answers = _only_ours()
    os.chdir("/")  # libraries look for files beside the one they read, or where they are
    _confine()
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


def _only_ours() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output, from now on this function's caller's alone: C libraries print, ffmpeg reads."""
    requests, answers = (
        os.fdopen(os.dup(0), "rb"),
        os.fdopen(os.dup(1), "wb"),
    )  # not inherited by what is started
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    return requests, answers


def _confine() -> None:
    """Gives up what decoding needs nothing of, as far as the system lets it; where it does not, all goes on without.

    A network of its own, which leads nowhere; no capabilities but, of a superuser, to read others' files; none to be
    gained by a program that is started. With fewer rights than its caller, or in a user namespace of its own, it may
    not look into that one's memory or environment (ptrace(2), "access mode checking").
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare"):  # Linux alone
        return
    superuser = os.geteuid() == 0
    libc.unshare(_NEW_NETWORK if superuser else _NEW_USER | _NEW_NETWORK)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    header, sets = struct.pack("<II", _CAPABILITIES, 0), ctypes.create_string_buffer(24)
    libc.capget(header, sets)
    permitted = struct.unpack("<6I", sets)[1] if superuser else 0  # effective, permitted, inheritable; twice
    kept = permitted & (_READ_ALL if permitted & _READ_ALL else _OVERRIDE)
    libc.capset(header, struct.pack("<6I", kept, kept, 0, 0, 0, 0))
    libc.prctl(_DUMPABLE, 1, 0, 0, 0)  # as before: its caller may look into it


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
        if _memory_is_there():
            return _refusal(limits.too_large()), nothing
        lacking = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return _fault(machine_error(lacking, f"{request['path']} cannot be decoded")), nothing
    except MachineError as error:
        return _fault(error), nothing
    except OSError as error:
        return _fault(machine_error(error, f"{request['path']} cannot be read")), nothing
    except Exception as error:
        # A library may raise anything on bytes from anywhere: it costs this file and not the run.
        detail = f"the decoder failed on this file ({type(error).__name__}: {error}); remove it, or encode it again"
        return _refusal(AudioError(Reason.DECODER_DIED, detail)), nothing


def _refusal(error: AudioError) -> dict[str, Any]:
    return {"reason": error.reason.value, "detail": error.detail}


def _fault(error: MachineError) -> dict[str, Any]:
    return {"errno": error.errno or 0, "detail": str(error)}


def _memory_is_there() -> bool:
    """Whether the machine would have given what a file may have: it was the file that needed more."""
    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    try:
        with open("/proc/self/statm", "rb") as sizes:
            mapped = int(sizes.read().split()[0]) * mmap.PAGESIZE
        mmap.mmap(-1, max(mmap.PAGESIZE, (most - mapped) // 2)).close()
    except FileNotFoundError:  # not Linux
        return True
    except (OSError, MemoryError):
        return False
    return True
