"""A scored encoder as one file that another person can open, check, and compare with theirs clip by clip.

A zip archive in the layout of the folder that `hares evaluate` writes:

| member | what |
|---|---|
| report.json, report.html, spectrograms.npz, predictions/<task>.npz | as `hares.report` writes them |
| manifests/<task>.json, .clips.jsonl, .rejected.jsonl | as `hares.evaluation` writes them |
| evaluate.json | of the same, what does not depend on the machine's folders and speed: encoder, versions, settings |
| bundle.json | the form's version, and the length and SHA-256 of every other member |

Members are stored without compression, in one order, with a fixed date: equal runs give equal bytes whatever zlib is
installed, and no member is larger than the file itself. Texts lose the folders of the machine (`hares.report.places`).

A bundle is a stranger's. It is read in memory and never unpacked; only the names above are taken. Digests find damage,
not a forger, who would write them anew: so scores and means are also computed again from the predictions. Only trained
probes could show that the predictions are an encoder's; send the bundle's own SHA-256 another way.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import jinja2
import numpy as np

from hares.arrays import npz_arrays
from hares.averages import means
from hares.predictions import Predictions, decode_predictions
from hares.report import PAGE_FILE
from hares.report.board import build_board, render_board
from hares.report.page import render_page
from hares.report.places import without_places
from hares.report.runs import (
    PICTURES_FILE,
    PREDICTIONS_FOLDER,
    RECORD_FILE,
    REPORT_FILE,
    Run,
    all_entries,
    load_run,
    parse_report,
    unpack_pictures,
)
from hares.task import load_task, task_names

INDEX_FILE = "bundle.json"
FORM = "hares bundle 1"
_NAMES = re.compile(
    rf"({re.escape(REPORT_FILE)}|{re.escape(PAGE_FILE)}|{re.escape(PICTURES_FILE)}|{re.escape(RECORD_FILE)}"
    rf"|{PREDICTIONS_FOLDER}/[a-z0-9_]+\.npz|manifests/[a-z0-9_]+(\.json|\.clips\.jsonl|\.rejected\.jsonl))"
)
_OF_THE_MACHINE = ("cache", "data", "seconds", "tasks")  # of evaluate.json: folders, times, shards found
_AGAIN = "Ask its author for it again"
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that zip knows
_SAME = 1e-9  # scores are means of float64; another BLAS has no part in them


def is_bundle(path: Path) -> bool:
    """Whether a file is a zip archive or is called one, damaged or not."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return path.suffix == ".zip" or file.read(2) == b"PK"


def bundle_bytes(folder: Path) -> bytes:
    """The bundle of a run.

    Args:
        folder: with what `hares.report.write_report` wrote; manifests and evaluate.json where `hares.evaluation` did.

    Raises:
        ValueError: no readable report there, or one that its predictions contradict.
    """
    run = load_run(folder, folder.name)
    record = _json(folder / RECORD_FILE) if (folder / RECORD_FILE).is_file() else {}
    places = [str(folder), str(folder.resolve()), str(record.get("cache", {}).get("folder", ""))]
    places += map(str, record.get("data", {}).values())
    report = without_places(run.report, places)
    run = Run(str(report["encoder"].get("name", "encoder")), report, run.predictions, run.pictures)
    _check_scores(run, str(folder / REPORT_FILE))
    members = {
        REPORT_FILE: _json_bytes(report, sort_keys=False),
        PAGE_FILE: render_page([run]).encode(),
        **{f"{PREDICTIONS_FOLDER}/{task}.npz": b"" for task in run.predictions},
        PICTURES_FILE: b"",
    }
    for name in members:
        if not members[name] and (folder / name).is_file():
            members[name] = (folder / name).read_bytes()
    entries = all_entries(report)
    for path in sorted(folder.glob("manifests/*")):
        name, task = path.relative_to(folder).as_posix(), path.name.partition(".")[0]
        if _NAMES.fullmatch(name) and entries.get(task, {}).get("manifest"):  # not of an earlier evaluation
            members[name] = _manifest_bytes(path, places)
    if record:
        kept = {key: value for key, value in record.items() if key not in _OF_THE_MACHINE}
        members[RECORD_FILE] = _json_bytes(without_places(kept, places))
    return _zipped({name: content for name, content in members.items() if content or "manifests" in name})


def _manifest_bytes(path: Path, places: list[str]) -> bytes:
    if path.suffix == ".json":
        return _json_bytes(without_places(_json(path), places))
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = (json.dumps(without_places(json.loads(line), places), sort_keys=True) for line in lines if line)
    return "".join(f"{row}\n" for row in rows).encode()


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}). Score the encoder again") from error
    return content


def _json_bytes(content: Mapping[str, Any], sort_keys: bool = True) -> bytes:
    return (
        json.dumps(content, indent=1, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False) + "\n"
    ).encode()


def _zipped(members: Mapping[str, bytes]) -> bytes:
    index = {
        "form": FORM,
        "members": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in sorted(members.items())
        },
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in ((INDEX_FILE, _json_bytes(index)), *sorted(members.items())):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system = 3  # Unix, on any system
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def load_bundle(path: Path, name: str) -> Run:
    """A run from a bundle, checked.

    Raises:
        ValueError: cut, changed, not of this form, or scores that its predictions do not give; the message says which.
    """
    try:
        members = _members(path)
        report = parse_report(members[REPORT_FILE], f"{path}: {REPORT_FILE}")
        run = Run(name, report, _predictions(members, report, path), _pictures(members, path))
    except (OSError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a whole zip archive ({error}). {_AGAIN}") from error
    _check_scores(run, str(path))
    try:
        (
            render_page([run]) + render_board(build_board([run]))
        ).encode()  # half a surrogate pair cannot be written
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        jinja2.TemplateError,
    ) as error:
        raise ValueError(
            f"{path}: its report cannot be shown ({type(error).__name__}: {error}). Was it bundled by this version?"
        ) from error
    return run


def _members(path: Path) -> dict[str, bytes]:
    """What the index lists, by name, with the digests that it gives."""
    found: dict[str, bytes] = {}
    with zipfile.ZipFile(path) as archive:
        if min((entry.header_offset for entry in archive.infolist()), default=1):
            # The end that was found is that of a member which is itself an archive, or something stands before ours.
            raise zipfile.BadZipFile("it is cut short, or does not begin where it should")
        for entry in archive.infolist():
            name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
            if name != INDEX_FILE and not _NAMES.fullmatch(name):
                raise ValueError(f"{path}: holds {name!r}, which is no part of a bundle. {_AGAIN}")
            if kind not in (0, stat.S_IFREG):
                raise ValueError(f"{path}: {name} is a link or a special file, not a file. {_AGAIN}")
            if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
                raise ValueError(f"{path}: {name} is compressed, as no bundle is. {_AGAIN}")
            if name in found:
                raise ValueError(f"{path}: holds {name} twice. {_AGAIN}")
            found[name] = b""
        if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
            raise ValueError(f"{path}: its members overlap. {_AGAIN}")
        for name in found:
            found[name] = archive.read(name)
    _check_index(found, path)
    return found


def _check_index(found: Mapping[str, bytes], path: Path) -> None:
    try:
        index = json.loads(found[INDEX_FILE])
        listed = {str(name): str(row["sha256"]) for name, row in index["members"].items()}
        form = index["form"]
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no {INDEX_FILE} as `hares report --bundle` writes it") from error
    if form != FORM:
        raise ValueError(f"{path}: its form is {form!r}; this version reads {FORM!r}")
    members = set(found) - {INDEX_FILE}
    if different := sorted(set(listed) ^ members):
        raise ValueError(f"{path}: {different[0]} is in the archive or in its index, not in both. {_AGAIN}")
    for name in sorted(members):
        if hashlib.sha256(found[name]).hexdigest() != listed[name]:
            raise ValueError(f"{path}: {name} has been changed: its SHA-256 is not the index's. {_AGAIN}")
    if REPORT_FILE not in members:
        raise ValueError(f"{path}: no {REPORT_FILE} in it. {_AGAIN}")


def _predictions(
    members: Mapping[str, bytes], report: Mapping[str, Any], path: Path
) -> dict[str, Predictions]:
    found = {}
    for task in (*task_names(), *report.get("own_tasks", {})):
        content = members.get(f"{PREDICTIONS_FOLDER}/{task}.npz")
        if content is not None:
            where = f"{path}: {PREDICTIONS_FOLDER}/{task}.npz"
            _check_arrays(content, where)
            try:
                found[task] = decode_predictions(content, where)
            except (LookupError, TypeError, UnicodeError) as error:
                raise ValueError(f"{where}: not predictions ({error}). {_AGAIN}") from error
    return found


def _pictures(members: Mapping[str, bytes], path: Path) -> dict[str, dict[str, bytes]]:
    if PICTURES_FILE not in members:
        return {}
    where = f"{path}: {PICTURES_FILE}"
    _check_arrays(members[PICTURES_FILE], where)
    try:
        return unpack_pictures(npz_arrays(members[PICTURES_FILE], where))
    except (AttributeError, LookupError, RecursionError, TypeError, UnicodeError) as error:
        raise ValueError(f"{where}: not spectrograms ({error}). {_AGAIN}") from error


def _check_arrays(content: bytes, where: str) -> None:
    """That the arrays of an npz archive are as large as they say, before numpy makes room for them."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            sound = sum(entry.file_size for entry in entries) <= len(content)
            for entry in entries:
                stored = entry.compress_type == zipfile.ZIP_STORED
                with archive.open(entry) as file:
                    sound = sound and stored and _array_bytes(file) == entry.file_size - file.tell()
    except Exception as error:  # numpy evaluates a header as Python's literals, which fail in many ways
        raise ValueError(f"{where}: not a readable npz archive ({error}). {_AGAIN}") from error
    if not sound:
        raise ValueError(f"{where}: its arrays are compressed, or not as large as they say. {_AGAIN}")


def _array_bytes(file: IO[bytes]) -> int:
    """How long an array is by its header, which is read."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, _, dtype = readers[np.lib.format.read_magic(file)](file)
    return math.prod(shape) * int(dtype.itemsize)


def _check_scores(run: Run, where: str) -> None:
    """That every score, domain mean and HARES of a report is what its predictions give."""
    tasks = [load_task(name) for name in task_names()]
    try:
        values = {name: entry["value"] for name, entry in run.report["tasks"].items()}
        own = {name: entry["value"] for name, entry in run.report.get("own_tasks", {}).items()}
        said = {**values, **own, **run.report["domains"], "hares": run.report["hares"]}
        partial = run.report["partial_mean"]
        said |= {f"partial mean, {name}": partial[name] for name in (*run.report["domains"], "hares")}
        kinds = [(name, entry["domain"], entry["metric"]) for name, entry in run.report["tasks"].items()]
        if wrong := set(kinds) ^ {(task.name, task.domain, task.metric) for task in tasks}:
            raise LookupError(f"task {sorted(map(str, wrong))[0]}")
        if list(values) != [task.name for task in tasks]:
            raise LookupError("tasks in another order")
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(
            f"{where}: no report of this version ({type(error).__name__}: {error}). {_AGAIN}"
        ) from error
    try:
        given = {name: answers.score() for name, answers in run.predictions.items()}
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: no score can be computed from its predictions ({error})") from error
    averages = means(tasks, given)
    expected = {**dict.fromkeys([*values, *own]), **given, **averages["domains"], "hares": averages["hares"]}
    partial = averages["partial_mean"]
    expected |= {f"partial mean, {name}": partial[name] for name in (*averages["domains"], "hares")}
    for name in sorted({*said, *expected}):
        if not _same(said.get(name), expected.get(name)):
            raise ValueError(
                f"{where}: it says {said.get(name)} for {name}, and its predictions give {expected.get(name)}. "
                "Score the encoder again, or ask the report's author"
            )


def _same(first: Any, second: Any) -> bool:
    if first is None or second is None:
        return first is second
    try:
        return isinstance(first, int | float) and math.isclose(first, second, rel_tol=0, abs_tol=_SAME)
    except OverflowError:  # a whole number that no float holds
        return False
