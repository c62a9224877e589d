"""What the Dockerfile promises, by its text; `tests/cluster` builds it."""

from __future__ import annotations

import hashlib
import re
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

from dependencies.lock import gpu_lock
from hares.version_lines import VersionLine, this_lock, version_lines
from kubeflow.doctor.checks.images import ACCELERATOR_LABEL
from kubeflow.image.fetch import fetch
from kubeflow.image.runtime_lock import holds, read_lock, runtime_pins

PROJECT = Path(__file__).resolve().parents[3]
TEXT = (PROJECT / "kubeflow" / "image" / "Dockerfile").read_text(encoding="utf-8")
# By a stage's name: what it begins with, and its steps.
STAGES = {
    name: (base, steps)
    for base, name, steps in re.findall(
        r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM|\Z)", TEXT, re.MULTILINE | re.DOTALL
    )
}
DEFAULT = version_lines()[-1]
TARGETS = ("pipeline", "beam", "gpu", "tpu")


def pinned(lock: str, package: str) -> str:
    return read_lock((PROJECT / lock).read_text(encoding="utf-8"))[package].version


def defaults(text: str) -> dict[str, str]:
    """Arguments that have one, by name."""
    return dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))


def steps(target: str) -> str:
    """All steps of a target, those of the stages that it builds on first."""
    base, own = STAGES[target]
    return (steps(base) if base in STAGES else "") + own


def copied(target: str) -> list[tuple[str, list[str], str]]:
    """Stage ("" for the context), sources and place of every COPY."""
    found = re.findall(r"^COPY (?:--from=(\S+) )?(.+) (\S+)$", steps(target), re.MULTILINE)
    return [(stage, sources.split(), place) for stage, sources, place in found]


@pytest.mark.parametrize("target", TARGETS)
def test_images_run_as_nobody_special_and_say_what_they_were_made_of(target: str) -> None:
    assert re.findall(r"^USER (\S+)", steps(target), re.MULTILINE)[-1] == "1000"
    labels = dict(re.findall(r"^LABEL ([^=]+)=(.+)$", steps(target), re.MULTILINE))
    assert {name: value.strip('"') for name, value in labels.items()} == {
        "org.opencontainers.image.revision": "${REVISION}",
        "hares.lock.sha256": "${LOCK_SHA256}",
        "org.opencontainers.image.base.digest": "${PYTHON_DIGEST}",
        **({ACCELERATOR_LABEL: target.upper()} if target in ("gpu", "tpu") else {}),
    }


def test_images_of_others_come_by_a_digest_that_has_to_be_given() -> None:
    needed = re.findall(r"^ARG (\w+)$", TEXT.partition("FROM")[0], re.MULTILINE)
    bases = [base for base, _ in STAGES.values() if base not in STAGES]
    assert len(bases) == 2
    for base in bases:
        image = re.sub(r"\$\{(\w+)\}", lambda found: defaults(TEXT).get(found[1], found[0]), base)
        name, _, digest = image.partition("@")
        assert ":" in name and digest.strip("${}") in needed and not name.endswith("latest"), image


@pytest.mark.parametrize("target", TARGETS)
def test_a_change_of_our_code_leaves_the_layer_of_packages_as_it_is(target: str) -> None:
    (packages, _, _), (wheel, _, _) = (
        copy for copy in copied(target) if copy[2] in ("/opt/venv", "/opt/dist")
    )
    ours = {"hares", "models", "components", "pipeline", "kubeflow", "cli", "workarounds"}
    assert not ours & {source for _, sources, _ in copied(packages) for source in sources}
    assert ours <= {source for _, sources, _ in copied(wheel) for source in sources}


def test_the_beam_image_is_of_the_locked_version_and_starts_beams_entry_point() -> None:
    sdk = f"apache/beam_{defaults(TEXT)['BEAM']}"
    assert sdk == f"apache/beam_python{DEFAULT.pythons[0]}_sdk:{pinned(DEFAULT.lock, 'apache-beam')}"
    assert STAGES["beam-sdk"][0] == "apache/beam_${BEAM}@${BEAM_DIGEST}"
    assert re.findall(r"^ENTRYPOINT (.+)$", steps("beam"), re.MULTILINE)[-1] == '["/opt/apache/beam/boot"]'
    assert any(stage == "beam-sdk" and place == "/opt/apache/beam" for stage, _, place in copied("beam"))


def test_the_tpu_image_takes_a_build_of_the_locked_tensorflows_minor_version() -> None:
    minor = pinned(DEFAULT.lock, "tensorflow").rpartition(".")[0]
    python = DEFAULT.pythons[0].replace(".", "")
    address = defaults(STAGES["tpu-dependencies"][1])["TPU_TENSORFLOW"]
    assert re.search(rf"/tensorflow-{re.escape(minor)}\.\d+-cp{python}-", address)


def test_the_gpu_image_has_the_libraries_that_the_locked_tensorflow_names() -> None:
    """Its own metadata is what says which CUDA and cuDNN it was built for."""
    named = [Requirement(text) for text in requires("tensorflow") or [] if "and-cuda" in text]
    wanted = {one.name: one.specifier for one in named if one.name.startswith("nvidia")}
    pins = read_lock(gpu_lock().read_text(encoding="utf-8"))
    assert {"nvidia-cudnn-cu12", "nvidia-cuda-runtime-cu12"} <= set(wanted) == set(pins)
    assert all(pin.version in wanted[name] for name, pin in pins.items())
    assert all(any("--hash=sha256:" in line for line in pin.lines) for pin in pins.values())
    assert version("tensorflow") == pinned(this_lock(), "tensorflow")
    installs = STAGES["gpu-dependencies"][1]
    assert defaults(installs) == {"GPU_LOCK": gpu_lock(PROJECT / DEFAULT.lock).name}
    assert '--require-hashes -r "${GPU_LOCK}"' in installs


def test_the_arguments_of_each_line_are_on_the_page_of_images() -> None:
    """Those of the oldest are the Dockerfile's defaults; where they are given, they replace all of it."""
    page = (PROJECT / "docs" / "images.md").read_text(encoding="utf-8")
    ours = {**defaults(TEXT.partition("\nFROM")[0]), "LOCK": DEFAULT.lock}
    assert ours == line_arguments(page, DEFAULT)
    for line in version_lines():
        given = line_arguments(page, line)
        python = line.pythons[0]
        assert given["LOCK"] == line.lock and given["PYTHON"].startswith(f"{python}-slim-")
        assert given["BEAM"] == f"python{python}_sdk:{pinned(line.lock, 'apache-beam')}"


def line_arguments(page: str, line: VersionLine) -> dict[str, str]:
    """The page's table has a column for each argument, and a row for each line."""
    rows = [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in page.splitlines()]
    head = next(row for row in rows if row[:1] == ["line"])
    return dict(zip(head[1:], next(row for row in rows if row[0] == line.name)[1:], strict=True))


@pytest.mark.parametrize("line", version_lines(), ids=lambda line: line.name)
def test_the_other_line_is_copied_as_well_since_the_wheel_holds_both(line: VersionLine) -> None:
    sources = {source for _, given, _ in copied("pipeline") for source in given}
    for stage in ("dependencies", "gpu-dependencies"):
        sources |= {source for _, given, _ in copied(stage) for source in given}
    assert {line.lock, gpu_lock(PROJECT / line.lock).name} <= sources
    ignored = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{line.lock}", f"!{gpu_lock(PROJECT / line.lock).name}"} <= set(ignored)


def test_a_download_is_kept_only_with_its_digest(tmp_path: Path) -> None:
    (tmp_path / "lib.so").write_bytes(b"bytes")
    into = tmp_path / "into"
    into.mkdir()
    address = (tmp_path / "lib.so").as_uri()
    for wrong in ("", "0" * 64):
        with pytest.raises(ValueError, match="SHA-256"):
            fetch(address, wrong, into)
        assert not list(into.iterdir())
    assert fetch(address, hashlib.sha256(b"bytes").hexdigest(), into).read_bytes() == b"bytes"


def test_the_image_has_what_runs_and_not_what_tests() -> None:
    lock, setup = ((PROJECT / name).read_text(encoding="utf-8") for name in (this_lock(), "setup.py"))
    kept = {pin.name for pin in runtime_pins(lock, setup)}
    assert {"tensorflow", "tfx", "apache-beam", "pip", "wheel", "setuptools", "dill", "grpcio"} <= kept
    assert not kept & {"pytest", "ruff", "mypy", "librosa", "numba", "llvmlite", "hypothesis", "uv"}
    # Every line that is kept stands in the lock file as it is: no version and no hash of our own.
    assert set("\n".join("\n".join(p.lines) for p in runtime_pins(lock, setup)).splitlines()) <= set(
        lock.splitlines()
    )


def test_a_package_stays_only_if_a_requirement_reaches_it() -> None:
    lock = (
        "a==1 \\\n    --hash=sha256:00\n    # via hares-tfx (setup.py)\n"
        "b==2 \\\n    --hash=sha256:01\n    # via a\n"
        "c==3 \\\n    --hash=sha256:02\n    # via\n    #   b\n    #   hares-tfx (setup.py)\n"
        "d==4 \\\n    --hash=sha256:03\n    # via hares-tfx (setup.py)\n"
        "e==5 \\\n    --hash=sha256:04\n    # via d\n"
    )
    pins = runtime_pins(lock, 'INSTALL_REQUIRES = ["A>=1"]\nPIPELINE = []\nBUCKETS = []\nDEV = ["c", "d"]\n')
    assert [(pin.name, pin.version) for pin in pins] == [("a", "1"), ("b", "2"), ("c", "3")]
    elsewhere = (
        "INSTALL_REQUIRES = ['a; python_version < \"3.99\"']\n"
        "BUCKETS = []\nPIPELINE = ['z; sys_platform == \"beos\"']\n"
    )
    assert [pin.name for pin in runtime_pins(lock, elsewhere)] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="requires z"):
        runtime_pins(lock, 'INSTALL_REQUIRES = []\nBUCKETS = []\nPIPELINE = ["z"]\n')
    with pytest.raises(ValueError, match="line 1"):
        read_lock("--index-url https://example.org\n")


@pytest.mark.parametrize(
    "marker",
    [
        "python_version < '3.11'",
        "python_full_version >= '3.13'",
        "python_full_version >= '3.10.0' and sys_platform == 'linux'",
        "(platform_machine == 'aarch64' or platform_machine == 'x86_64') and sys_platform != 'win32'",
        "implementation_name != 'PyPy'",
        "platform_python_implementation == 'PyPy' or sys_platform == 'darwin'",
    ],
)
def test_markers_mean_what_packaging_says(marker: str) -> None:
    assert holds(marker) == Marker(marker).evaluate()
    machines = [
        {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.{patch}", "sys_platform": system,
         "platform_machine": "x86_64", "implementation_name": "cpython", "platform_python_implementation": "CPython"}
        for minor in (9, 10, 11, 13) for patch in (0, 14) for system in ("linux", "win32")
    ]  # fmt: skip
    for machine in machines:
        assert holds(marker, machine) == Marker(marker).evaluate(machine), machine


@pytest.mark.parametrize("marker", ["os_name == 'nt'", "python_version in '3.10'", "sys_platform < 'x'", "1"])
def test_a_marker_that_is_not_understood_is_an_error(marker: str) -> None:
    with pytest.raises(ValueError, match="not understood"):
        holds(marker)
