"""A whole run by a user who has nothing but a workspace, in a folder where others plant what they like.

The user has no home, no group and no entry among the users; the corpus is only readable; the umask is 077. Every file
that the run and its processes open, make, rename or remove is seen with strace.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hares.synthesis import make_corpus
from hares.task import task_names

TOOLS = ("setpriv", "unshare", "strace", "mount")
HARES = Path(sys.prefix) / "bin" / "hares"
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        os.geteuid() != 0, reason="only root can run as another user and plant another one's files"
    ),
    pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}"),
    pytest.mark.skipif(not HARES.is_file(), reason="needs the installed command"),
]

PROJECT = Path(__file__).resolve().parents[2]
USER, STRANGER = 54321, 54399
SEEN = (
    "open,openat,creat,truncate,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,"
    "symlink,symlinkat,chmod,fchmodat,chdir,execve"
)
# Modules of these names are imported by the run, the decoders or Beam's workers.
PLANTED = (
    "soundfile",
    "numpy",
    "soxr",
    "sitecustomize",
    "usercustomize",
    "apache_beam",
    "tfx",
    "hares",
    "models",
)
SYSTEM = ("/usr/", "/lib/", "/lib64/", "/bin/", "/etc/", "/proc/", "/sys/", "/dev/")
_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (\d+)(?:<(.*)>)?$")


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that every user may pass, unlike pytest's."""
    path = Path(tempfile.mkdtemp(prefix="hares-user-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def corpus(base: Path) -> Path:
    path = base / "corpus"
    make_corpus(path, scale=0.3)
    for entry in (path, *path.rglob("*")):
        entry.chmod(0o555 if entry.is_dir() else 0o444)
    return path


@pytest.fixture
def public(base: Path) -> Path:
    """Where the run is started: others may write there, and have."""
    path = base / "public"
    path.mkdir()
    path.chmod(0o1777)
    for name in PLANTED:
        (path / f"{name}.py").write_text(f"open({str(path)!r} + '/executed', 'a').write({name!r})\n")
        os.chown(path / f"{name}.py", STRANGER, STRANGER)
    (path / "W.part").symlink_to("/etc/passwd")
    os.lchown(path / "W.part", STRANGER, STRANGER)
    return path


def reachable(needed: list[Path], hold: Path) -> str:
    """Shell lines that make folders passable in a mount namespace of its own, where they lie below a closed one."""
    lines, closed = [], {}
    for number, path in enumerate(needed):
        first = next((p for p in reversed(path.parents) if not p.stat().st_mode & stat.S_IXOTH), None)
        if first is not None:
            closed[path] = (first, hold / str(number))
    for path, (_, kept) in closed.items():
        kept.mkdir(parents=True)
        lines.append(f"mount --bind {path} {kept}")
    lines += [
        f"mount -t tmpfs -o mode=755 tmpfs {first}" for first in {first for first, _ in closed.values()}
    ]
    lines += [f"mkdir -p {path}; mount --bind {kept} {path}" for path, (_, kept) in closed.items()]
    return "\n".join(lines)


def as_user(command: list[str], public: Path, base: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Runs a command as the user; gives what came of it and the trace."""
    trace = base / "trace"
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "TF_ENABLE_ONEDNN_OPTS": "1"}
    words = [
        "strace", "-f", "-y", "-qq", "--seccomp-bpf", "-s", "400", "-e", f"trace={SEEN}", "-o", str(trace),
        "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs",
        "env", "-i", *(f"{name}={value}" for name, value in environment.items()), *command,
    ]  # fmt: skip
    needed = [Path(sys.base_prefix), Path(sys.prefix), PROJECT]
    script = f"set -e\n{reachable(needed, base / 'hold')}\numask 077\nexec {shlex.join(words)}"
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script], cwd=public, capture_output=True, text=True, check=False
    )
    return done, trace


def whole_lines(trace: Path) -> Iterator[str]:
    """Lines of the trace, with calls that another process interrupted put together."""
    begun: dict[str, str] = {}
    for line in trace.read_text(errors="replace").splitlines():
        process = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            begun[process] = line.removesuffix("<unfinished ...>")
        elif resumed := re.match(r"\d+ +<\.\.\. \w+ resumed>(.*)", line):
            yield begun.pop(process, "") + resumed[1]
        else:
            yield line


def touched(trace: Path, start: Path) -> tuple[set[str], set[str]]:
    """Files that were read, and files that were written, made, renamed or removed."""
    read, written = set(), set()
    where: dict[str, str] = {}
    for line in whole_lines(trace):
        found = _LINE.match(line)
        if found is None:
            continue
        process, call, arguments, _, result = found.groups()
        names = re.findall(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"', arguments)
        paths = [
            os.path.normpath(os.path.join(at or where.get(process, str(start)), name)) for at, name in names
        ]
        if call == "chdir":
            where[process] = paths[0]
        elif call == "execve":
            read.add(paths[0])
        elif call in ("open", "openat"):
            writes = re.search("O_WRONLY|O_RDWR|O_CREAT", arguments)
            (written if writes else read).add((result or paths[0]).removesuffix(" (deleted)"))
        else:
            written.update(paths)
    return read, written


def listing(*folders: str) -> set[str]:
    return {str(path) for folder in folders for path in Path(folder).iterdir()}


def test_twelve_tasks_and_nothing_outside_is_written_read_or_left_readable(
    base: Path, corpus: Path, public: Path
) -> None:
    workspace = public / "W"
    before = {str(p): p.lstat().st_mtime_ns for p in public.iterdir()}
    command = [str(HARES), "run", "--config", "demo", "--corpus", str(corpus), "--workspace", "W", "--json"]
    done, trace = as_user(command, public, base)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert sorted(report["tasks"]) == sorted(task_names())
    assert [name for name, entry in report["tasks"].items() if entry["value"] is None] == []
    assert not (public / "executed").exists()

    read, written = touched(trace, public)
    own = (f"{workspace}/", str(workspace))
    outside = sorted(path for path in written if not path.startswith(own) and path != "/dev/null")
    # Libraries try the system's temporary folder when they are imported, and make semaphores: all of it is gone again.
    assert [p for p in outside if not p.startswith((f"{tempfile.gettempdir()}/", "/dev/shm/"))] == []
    assert [p for p in outside if os.path.lexists(p)] == []
    assert not [p for p in listing(tempfile.gettempdir(), "/dev/shm") if os.lstat(p).st_uid == USER]
    code = tuple(f"{path}/" for path in (sys.base_prefix, sys.prefix, PROJECT))
    foreign = sorted(
        p for p in read if not p.startswith((*own, str(corpus), *code, *SYSTEM)) and not os.path.isdir(p)
    )
    assert [p for p in foreign if os.path.lexists(p)] == []
    assert {str(p): p.lstat().st_mtime_ns for p in public.iterdir() if p != workspace} == before

    made = [workspace, *workspace.rglob("*")]
    assert len(made) > 300 and {path.lstat().st_uid for path in made} == {USER}
    assert [str(p) for p in made if not p.is_symlink() and p.stat().st_mode & 0o077] == []
    print(f"{len(made)} files, {len(written)} written, {len(read)} read; outside and gone: {outside}")
