"""Where our code may start programs, import by name, speak to the network and write files: by module, with a reason.

A new place has to be put into a list, where its reason is read. Modules are scanned as syntax, whatever names they give
to what they import.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("hares", "models", "components", "pipeline", "kubeflow", "cli", "workarounds", "dependencies")
SOURCES = {
    str(path.relative_to(PROJECT)): path
    for name in PACKAGES
    for path in sorted((PROJECT / name).rglob("*.py"))
}
# Each pattern stands for a name and for all below it.
KINDS = {
    "program": (
        "subprocess", "os.system", "os.popen", "os.exec*", "os.spawn*", "os.posix_spawn*", "os.fork*", "pty",
        "multiprocessing", "asyncio.create_subprocess_*", "concurrent.futures.ProcessPoolExecutor",
    ),
    "import": (
        "importlib.import_module", "importlib.util.find_spec", "importlib.util.spec_from_*", "importlib.util.module_*",
        "importlib.machinery", "importlib.__import__", "runpy", "imp",
        "__import__", "builtins", "exec", "eval", "compile", "zipimport", "code", "codeop", "ctypes", "cffi",
    ),
    "network": (
        "requests.*", "urllib.request", "urllib3.*", "http.client", "http.server", "socketserver", "socket.socket",
        "socket.create_*", "ssl", "ftplib", "smtplib", "poplib", "imaplib", "telnetlib", "xmlrpc", "aiohttp", "httpx",
        "httplib2", "grpc", "websocket", "websockets", "pymysql", "google.auth.default", "asyncio.open_connection",
        "google.auth.transport.*", "google.cloud.storage.*", "botocore.session",
    ),
    "file": ("write",),
}  # fmt: skip
_NO_CLIENT = re.compile(
    r"^(requests|urllib3)(\.exceptions.*|\.auth|\.\w*(Error|Exception|Timeout|Response|Request))$"
)
_WRITERS = ("write_text", "write_bytes", "touch", "symlink_to", "hardlink_to", "mknod")
_OPENERS = ("open", "fdopen")
_MODE = re.compile(r"(?=.*[wax+])[rwaxbt+]{1,3}")

ALLOWED = {
    "program": {
        "dependencies/audit.py": "pip-audit, for the developer",
        "hares/decoding/process.py": "the decoder's own process",
        "hares/decoding/ffmpeg.py": "ffmpeg, within the decoder's process",
        "hares/decoding/__init__.py": "ffmpeg's version",
        "kubeflow/doctor/checks/environment.py": "git, in the checkout",
        "kubeflow/doctor/checks/images.py": "git, in the checkout",
        "kubeflow/compiled/local_run.py": "the steps of a compiled pipeline, for `hares run-compiled`",
        "kubeflow/compiled/scheduled_watch.py": "`hares watch`, in its container",
        "kubeflow/vertex/model_registry.py": "the pusher's command, in its container",
        "kubeflow/vertex/replica.py": "the trainer's command, in its container",
        "kubeflow/ways_in.py": "the program that prints a token, from the user's cluster file",
        "kubeflow/watch.py": "the command that `hares watch` is given",
        "pipeline/lineage/record.py": "git, in the checkout",
    },
    "import": {
        "cli/main.py": "our own commands, by the files of a package",
        "hares/__init__.py": "our own API, when it is first used",
        "hares/decoding/worker.py": "system calls that confine the process",
        "hares/downloads/__init__.py": "our own records of data sets, by the files of a package",
        "hares/decoding/process.py": "system calls that confine the process",
        "hares/code_digest.py": "where a module lies, without running it",
        "hares/ingest.py": "our own reader of archives, where there are any",
        "hares/adapters/__init__.py": "our own kinds of encoders, by the files of a package",
        "hares/adapters/keras.py": "which backends are installed",
        "hares/user_code.py": "an encoder that the user names, which is code (docs/security.md)",
        "hares/probes/__init__.py": "our own probes, when they are needed",
        "hares/task.py": "our own tasks, by the files of a package",
        "kubeflow/doctor/__init__.py": "our own checks, by the files of a package",
        "models/__init__.py": "whether Keras 2 is installed",
        "models/encoder.py": "our own networks, by the files of a package",
        "models/import_weights.py": "our own readers of published weights, by the files of a package",
        "models/objective.py": "our own objectives, by the files of a package",
        "hares/plugin.py": "a plugin that the user names, which is code (docs/security.md)",
        "models/weight_files.py": "PyTorch, which is optional",
        "pipeline/preset.py": "our own presets, by the files of a package",
        "pipeline/run.py": "the C library's malloc settings",
        "workarounds/addons.py": "whether TensorFlow Addons is installed",
    },
    "network": {
        "cli/lineage_page.py": "the lineage page's server on loopback",
        "hares/buckets/gs.py": "Google's client of its storage, for an address of the user's",
        "hares/buckets/s3.py": "botocore, for an address of the user's",
        "hares/connection.py": "files of data sets, for `hares corpus get`",
        "kubeflow/doctor/credentials.py": "Google's credentials of this machine",
        "kubeflow/image/fetch.py": "the image's build: two files, by digest, before anything of ours is installed",
        "kubeflow/vertex/api.py": "Google's clients of Vertex AI",
        "kubeflow/ways_in.py": "whether a client certificate fits its key; opens no connection",
        "pipeline/beam_engine.py": "whether the engine that flags for Beam name answers; sends only the question",
        "pipeline/http.py": "every HTTP request of ours",
        "pipeline/lineage/importing/rest.py": "Google's credentials of this machine",
        "pipeline/local_beam.py": "the class of gRPC's errors; opens no connection",
    },
    "file": {
        "cli/commands/schedule.py": "a compiled file in a temporary folder",
        "cli/pipeline_run.py": "the log's own file, before the run",
        "cli/quiet.py": "the log, and this process's own output",
        "components/evaluator/executor.py": "artifacts, in folders that TFX has made",
        "dependencies/document.py": "docs/dependencies.md, for the developer",
        "dependencies/sbom.py": "the bill of materials, for the developer",
        "hares/buckets/copies.py": "copies of objects, in a temporary folder, under numbers",
        "hares/packed.py": "recordings of an archive, in a temporary folder, under numbers",
        "hares/decoding/worker.py": "the decoder's answers, a pipe",
        "hares/atomic_files.py": "every file that is written whole, under a name of its own",
        "hares/fetch.py": "a file that is being fetched, beside its place, through no link",
        "hares/embedding/task_embedder.py": "embeddings, beside their place and then moved",
        "hares/lock.py": "locks, which follow no link",
        "hares/synthesis/corpus.py": "the made corpus, in a folder of its own",
        "hares/unpack.py": "the files of an archive, through atomic_files, where no link leads out",
        "kubeflow/compiled/executor_input.py": "a step's output file, where the launcher says",
        "kubeflow/entrypoint.py": "a step's outputs, where the launcher says",
        "kubeflow/compiled/local_run.py": "the inputs and logs of steps, in a temporary folder",
        "kubeflow/compiled/scheduled_watch.py": "the cluster file, in its container's temporary folder",
        "kubeflow/image/fetch.py": "the image's build",
        "kubeflow/vertex/custom_job.py": "a step's outputs, where the launcher says",
    },
}


def names_in(tree: ast.AST) -> Iterator[str]:
    """What a module imports, and what it takes from that, by full names; "write" for an opening of a file to write."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                known[alias.asname or top] = alias.name if alias.asname else top
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            head, _, rest = ast.unparse(node).partition(".")
            if head in known:
                yield f"{known[head]}.{rest}"
        elif isinstance(node, ast.Name) and node.id not in known and hasattr(builtins, node.id):
            yield node.id
        if isinstance(node, ast.Call) and _writes(node):
            yield "write"


def _writes(call: ast.Call) -> bool:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    places = call.args[
        isinstance(call.func, ast.Name) or ast.unparse(call.func) in ("os.open", "os.fdopen", "io.open") :
    ]
    given = [*places, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    modes = [g.value for g in given if isinstance(g, ast.Constant) and isinstance(g.value, str)]
    flags = any(
        "os.O_" in ast.unparse(g) and re.search("O_(WRONLY|RDWR|CREAT)", ast.unparse(g)) for g in given
    )
    return name in _WRITERS or (name in _OPENERS and (flags or any(_MODE.fullmatch(mode) for mode in modes)))


def found(source: bytes | str) -> set[str]:
    """The kinds of things that a module does."""
    used = {name for name in names_in(ast.parse(source)) if not _NO_CLIENT.match(name)}
    return {
        kind
        for kind, patterns in KINDS.items()
        for pattern in patterns
        if any(fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*") for name in used)
    }


FOUND = {name: found(path.read_bytes()) for name, path in SOURCES.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_no_module_does_what_it_has_no_reason_for(kind: str) -> None:
    doing = {name for name, kinds in FOUND.items() if kind in kinds}
    assert not doing - set(ALLOWED[kind]), (
        f"give a reason in ALLOWED[{kind!r}], or do it where it is done already"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_no_reason_is_left_over(kind: str) -> None:
    doing = {name for name, kinds in FOUND.items() if kind in kinds}
    assert not set(ALLOWED[kind]) - doing


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("program", "import subprocess as s\ns.run([])"), ("program", "from subprocess import run"),
        ("program", "import os as o\no.execvp('a', [])"), ("program", "from os import system as f"),
        ("program", "import multiprocessing.pool"), ("program", "from concurrent.futures import ProcessPoolExecutor"),
        ("import", "from importlib import import_module as i"), ("import", "from importlib.util import find_spec"),
        ("import", "f = __import__\nf('x')"), ("import", "import runpy"), ("import", "g = exec"),
        ("import", "from importlib.machinery import SourceFileLoader"), ("import", "import builtins"),
        ("network", "import requests as r\nr.get('x')"), ("network", "from urllib import request"),
        ("network", "from http import client"), ("network", "import socket\nsocket.create_connection"),
        ("network", "import grpc"), ("network", "from google.auth import default"), ("network", "import httpx"),
        ("file", "open('run.lock', 'w')"), ("file", "path.open(mode='a+')"), ("file", "path.write_text('x')"),
        ("file", "import os\nos.open('x', os.O_CREAT | os.O_RDWR)"), ("file", "io.open('x', 'xb')"),
    ],
)  # fmt: skip
def test_the_scan_would_see_it(kind: str, source: str) -> None:
    assert kind in found(source)


@pytest.mark.parametrize(
    "source",
    [
        "import requests\nrequests.ConnectionError", "from requests.exceptions import Timeout",
        "from urllib.parse import urlsplit",
        "import socket\nsocket.gethostname()", "path.open('rb')", "open('x', 'rb')",
    ],
)  # fmt: skip
def test_and_would_let_this_be(source: str) -> None:
    assert not found(source)
