"""The caller's side of the decoder: a process of its own that is kept, watched, and replaced when it is lost.

One process decodes file after file, so a file costs a message and not a start (0.2 to 0.5 s). While a caller works on
one file's samples, the next file is decoded. Each thread that decodes has a process of its own.

A file that hangs the process costs the time limit. A file that kills it is tried once more, because a machine short of
memory may have killed the process; after a second death the file is rejected. A file that timed out without getting
the processor is retried too, so a rejection depends on the file and not on the machine's load. A process that is killed
from outside each time, or does not start, is the machine's fault.

A process is started afresh, not forked: this one may have TensorFlow and its threads loaded. It imports from Python's
own path and from where this process found its libraries, not from the current folder, which may hold a `soundfile.py`.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import functools
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import cffi
import numpy as np
import soundfile
import soxr

from hares.decoding import worker
from hares.decoding.limits import AudioError, Limits
from hares.machine import MachineError, machine_error
from hares.task import SAMPLE_RATE, Reason

_START_SECONDS = 120.0  # a start is imports alone; a loaded machine may take its time
_PIPE_BYTES = 1 << 20  # ten seconds of samples at once; a smaller pipe is only slower
_AHEAD = 2  # requests in a process' queue; both fit into a pipe, so that sending never waits
_KEPT_BYTES = 1 << 25
_LONGEST_PATH = 4_096  # characters; no system opens a longer one
_LONGEST_HEADER = 1 << 16
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "LANG", "LC_ALL", "VIRTUAL_ENV")
_TRIES = 3  # of a file whose decoder is killed from outside
# Its own faults end a process by these; by others it was ended from outside, as by a system short of memory.
_CRASHES = frozenset(("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE", "SIGTRAP", "SIGSYS", "SIGXFSZ"))
_ALARM = "SIGALRM"  # its own clock, while this process was busy with the file before
# -I: no current directory, no PYTHON... variables. Our own place comes first, so that this code and no other runs.
_START = """
import json, sys
ours, *others = json.loads(sys.argv[1])
sys.path[:0] = [ours][ours in sys.path:]
sys.path += [place for place in others if place not in sys.path]
from hares.decoding.worker import main
main(int(sys.argv[2]))
"""


def _places() -> list[str]:
    """Where hares is, and where this process found the libraries that decoding imports."""
    modules = [Path(str(module.__file__)) for module in (cffi, np, soundfile, soxr)]
    found = [path.parent.parent if path.name == "__init__.py" else path.parent for path in modules]
    places = (Path(__file__).parents[2], *found)
    return list(dict.fromkeys(str(place.resolve()) for place in places))


_COMMAND = (sys.executable, "-I", "-c", _START, json.dumps(_places()))

Answer = tuple[dict[str, Any], np.ndarray]  # the header, and samples as (n,) int16


class _Lost(Exception):
    """The process ended during a file."""


class _TooSlow(Exception):
    """The process did not finish the file in time."""


class _Starved(_TooSlow):
    """The time was over, but the process had got less than half of it as processor time: worth a retry."""


class Decoder:
    """One decoding process.

    Args:
        memory_bytes: address space it may have.
        command: what is started, with `memory_bytes` as its last argument.

    Raises:
        MachineError: it does not start; the message has what it said.
        OSError: the system cannot start it.
    """

    def __init__(self, memory_bytes: int, command: Sequence[str] = _COMMAND) -> None:
        self._process = subprocess.Popen(
            [*command, str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=_environment(),
            start_new_session=True,  # ffmpeg dies with it, and Ctrl-C is left to the caller
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        self._out = self._process.stdout.fileno()
        self._used = 0.0  # processor seconds at its last answer
        self._ahead = bytearray()  # bytes of an answer read together with its header
        _widen(self._out)
        try:
            if self._line(time.monotonic() + _START_SECONDS) != worker.READY:
                raise _Lost
        except (_Lost, _TooSlow) as error:
            how = self.stop()
            said = self._process.stderr.read().decode(errors="replace").strip()
            last = (said.splitlines() or [f"it said nothing, {how}"])[-1]
            raise MachineError(
                0, f"the decoding process did not start ({last}); mend that, then run the same command again"
            ) from error
        finally:
            self._process.stderr.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, request: dict[str, Any], limits: Limits) -> None:
        """Puts a request into its queue; a process that has died says so at `receive`."""
        if len(request["path"]) > _LONGEST_PATH:
            request = {**request, "path": request["path"][:_LONGEST_PATH]}  # as absent as the whole of it
        line = json.dumps({**request, "seconds": limits.seconds, "longest": limits.longest}).encode() + b"\n"
        with suppress(BrokenPipeError):
            os.write(self._process.stdin.fileno(), line)  # type: ignore[union-attr]

    def receive(self, limits: Limits) -> Answer:
        """The answer to the first request of its queue.

        Raises:
            MachineError: the machine kept it from an answer.
            _Lost: it died.
            _TooSlow: it took over `limits.seconds` from now on.
        """
        deadline = time.monotonic() + limits.seconds
        try:
            header = _checked(self._line(deadline), limits)
            samples = np.empty(header.get("samples", 0), "<i2")
            self._fill(samples.data.cast("B") if len(samples) else memoryview(bytearray()), deadline)
        except _TooSlow as error:
            waits, used = self._processor_seconds()
            if not waits and used - self._used < limits.seconds / 2:
                raise _Starved from error
            raise
        self._used = header["used"]
        if "errno" in header:
            raise MachineError(header["errno"], header["detail"])
        return header, samples.astype(np.int16, copy=False)

    def _processor_seconds(self) -> tuple[bool, float]:
        """Whether it waits for something other than a processor, and the processor time it has had, with its ffmpeg.

        Where the system does not say (no /proc), it counts as waiting.
        """
        waits, ticks = True, 0
        for pid in (str(self.pid), *_children(self.pid)):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            waits = waits and fields[0] != "R"
            ticks += sum(map(int, fields[11:15]))  # its own, and those of the children that have ended
        return waits, ticks / os.sysconf("SC_CLK_TCK")

    def stop(self) -> str:
        """Ends it, whatever it is doing, with all it has started; returns how it had ended."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def runs(self) -> bool:
        """Whether it has not ended and can be spoken to; its id stays its own until `stop`."""
        # The garbage collector may close the pipes of a decoder that an abandoned `ask_each` returns to the pool.
        if any(pipe is None or pipe.closed for pipe in (self._process.stdin, self._process.stdout)):
            return False
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def _line(self, deadline: float) -> bytes:
        while b"\n" not in self._ahead:
            if len(self._ahead) > _LONGEST_HEADER:
                raise _Lost
            self._ahead += self._some(_LONGEST_HEADER, deadline)
        end = self._ahead.index(b"\n") + 1
        line = bytes(self._ahead[:end])
        del self._ahead[:end]
        return line

    def _fill(self, target: memoryview, deadline: float) -> None:
        got = min(len(self._ahead), len(target))
        target[:got] = self._ahead[:got]
        del self._ahead[:got]
        while got < len(target):
            self._wait(deadline)
            count = os.readv(self._out, [target[got:]])
            if count == 0:
                raise _Lost
            got += count

    def _some(self, most: int, deadline: float) -> bytes:
        self._wait(deadline)
        data = os.read(self._out, most)
        if not data:
            raise _Lost
        return data

    def _wait(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        poll = select.poll()  # select.select fails where a program has more than 1,024 files open
        poll.register(self._out, select.POLLIN)
        if left <= 0 or not poll.poll(left * 1000):
            raise _TooSlow


class DecoderPool:
    """Decoding processes of this process: as many as threads decode at once, kept from file to file."""

    def __init__(self, memory_bytes: int, command: Sequence[str] = _COMMAND) -> None:
        self._memory_bytes = memory_bytes
        self._command = command
        self._owner = os.getpid()
        self._idle: list[Decoder] = []
        self._lock = threading.RLock()  # the garbage collector may end a generator while the lock is held

    def ask(self, request: dict[str, Any], limits: Limits) -> Answer:
        """One request's answer.

        Raises:
            AudioError: the file is refused, took too long, or was the death of two processes.
            MachineError: the machine kept the file from being decoded.
        """
        (answer,) = self.ask_each([request], limits)
        if isinstance(answer, AudioError):
            raise answer
        return answer

    def ask_each(self, requests: Iterable[dict[str, Any]], limits: Limits) -> Iterator[Answer | AudioError]:
        """The answers in order; while the caller works on one, the next file is being decoded.

        Raises:
            MachineError: as `ask`; nothing is known then of the file that was next.
        """
        upcoming, waiting, deaths = iter(requests), deque[dict[str, Any]](), 0
        decoder, lives = self._take(), True
        try:
            while True:
                for request in islice(upcoming, _AHEAD - len(waiting)):
                    decoder.send(request, limits)
                    waiting.append(request)
                if not waiting:
                    return
                answer: Answer | AudioError
                try:
                    answer = _as_error(decoder.receive(limits))
                except (_Lost, _TooSlow) as error:
                    lives = False
                    how, lost = decoder.stop(), isinstance(error, _Lost)
                    outside = lost and not (how in _CRASHES or how == _ALARM or how.startswith("exit code"))
                    deaths += 1
                    again = deaths < (_TRIES if outside else 2) and type(error) is not _TooSlow
                    if outside and not again:
                        raise _killed(waiting[0]["path"], how) from error
                    decoder, lives = self._take(), True
                    answer = _died(how) if lost and how != _ALARM else limits.too_slow()
                    for request in waiting if again else islice(waiting, 1, None):
                        decoder.send(request, limits)
                    if again:
                        continue
                waiting.popleft()
                deaths = 0
                yield answer
        finally:
            if lives and waiting:
                decoder.stop()  # answers that nobody has read would be the next files'
            elif lives:
                with self._lock:
                    self._idle.append(decoder)

    def idle(self) -> list[Decoder]:
        """The processes that wait for a file."""
        with self._lock:
            return list(self._idle)

    def close(self) -> None:
        """Ends the processes that wait; a forked child leaves its parent's alone."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            waiting, self._idle = self._idle, []
        for decoder in waiting:
            decoder.stop()

    def _take(self) -> Decoder:
        with self._lock:
            while self._idle:
                decoder = self._idle.pop()
                if decoder.runs():
                    return decoder
                decoder.stop()
        try:
            return Decoder(self._memory_bytes, self._command)
        except MachineError:
            raise
        except OSError as error:
            raise machine_error(error, "the decoding process cannot be started") from error


def _as_error(answer: Answer) -> Answer | AudioError:
    header = answer[0]
    return AudioError(header["reason"], str(header["detail"])) if "reason" in header else answer


def _died(how: str) -> AudioError:
    detail = f"the decoder died on this file, twice ({how}); remove it, or encode it again"
    return AudioError(Reason.DECODER_DIED, detail)


def _killed(path: str, how: str) -> MachineError:
    detail = (
        f"{path}: the decoder was ended from outside {_TRIES} times ({how}), as a machine short of memory does; free "
        "memory or use fewer workers, then run the same command again"
    )
    return MachineError(errno.ENOMEM if how == "SIGKILL" else 0, detail)


def pool(memory_bytes: int) -> DecoderPool:
    """This process' decoders; a forked child has none of its parent's."""
    return _pool_of(os.getpid(), memory_bytes)


@functools.cache
def _pool_of(_pid: int, memory_bytes: int) -> DecoderPool:
    decoders = DecoderPool(memory_bytes)
    atexit.register(decoders.close)
    return decoders


def _checked(line: bytes, limits: Limits) -> dict[str, Any]:
    """An answer's first line; the process has read bytes from anywhere, so what it says is held against what can be."""
    try:
        header = json.loads(line)
        count = header.get("samples", 0)
        header["used"] = float(header["used"])
        if "errno" in header:
            header.update(errno=int(header["errno"]), detail=str(header["detail"]))
        if "reason" in header:
            header["reason"] = Reason(header["reason"])
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise _Lost from error
    if not isinstance(count, int) or not 0 <= count <= (limits.longest + 1) * SAMPLE_RATE:
        raise _Lost
    return dict(header)


def _environment() -> dict[str, str]:
    """What a decoder needs and no more: this process' variables may hold credentials."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    # One thread and one arena: BLAS and malloc would otherwise set aside the address space that a file gets.
    return {
        **kept,
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": str(_KEPT_BYTES),  # memory is kept from file to file
        "MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES),
    }


def _children(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # a kernel without it
        return []


def _widen(pipe: int) -> None:
    with suppress(AttributeError, OSError):  # Linux; and a user may have used up what pipes may hold
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # type: ignore[attr-defined,unused-ignore]
