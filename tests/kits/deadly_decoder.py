"""The decoder's process with a codec that does what the worst file could: its own loop, a stand-in for the decoding.

What happens is in the file's name: "segfault", "killed", "terminated", "hang", "spin", "print", "raise", "once" (dies
the first time); all else is decoded as ever.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from hares.decoding import worker

_decode_here = worker.decode_here


def decode_here(path: str, *arguments: Any) -> Any:
    name = Path(path).name
    if "segfault" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    elif "killed" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    elif "terminated" in name:
        os.kill(os.getpid(), signal.SIGTERM)
    elif "hang" in name:
        time.sleep(3_600)
    elif "spin" in name:
        while True:
            pass
    elif "print" in name:
        os.write(1, b'{"samples": 7}\n' * 100)
    elif "raise" in name:
        raise OverflowError("of a library")
    elif "once" in name and not Path(f"{path}.died").exists():
        Path(f"{path}.died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return _decode_here(path, *arguments)


if __name__ == "__main__":
    worker.decode_here = decode_here
    worker.main(int(sys.argv[1]))
