"""The parser of our Dockerfile, and what the Dockerfile itself promises."""

from __future__ import annotations

import re
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

from dependencies.lock import gpu_lock
from hares.version_lines import VersionLine, this_lock, version_lines
from kits.image.dockerfile import (
    Arg,
    Copy,
    DockerfileError,
    Entrypoint,
    Env,
    Label,
    Run,
    User,
    parse,
    substitute,
)
from kubeflow.doctor.checks.images import ACCELERATOR_LABEL
from kubeflow.image.runtime_lock import holds, read_lock, runtime_pins

PROJECT = Path(__file__).resolve().parents[3]
OURS = parse((PROJECT / "kubeflow" / "image" / "Dockerfile").read_text(encoding="utf-8"))
DEFAULT = version_lines()[-1]
TARGETS = ("pipeline", "beam", "gpu", "tpu")


def pinned(lock: str, package: str) -> str:
    return read_lock((PROJECT / lock).read_text(encoding="utf-8"))[package].version


def steps(target: str, kind: type) -> list:
    return [step for stage in OURS.ancestry(target) for step in stage.steps if isinstance(step, kind)]


def test_every_form_that_is_understood() -> None:
    file = parse(
        "ARG BASE=python:3.10\n"
        "FROM ${BASE} AS one\n"
        "# a comment\n"
        'ENV A="b c"\n'
        "RUN echo x && \\\n"
        "    # a comment within\n"
        "    echo y\n"
        "FROM one AS two\n"
        "copy --from=one /a /b ./c/\n"
        'ENTRYPOINT ["/boot", "x"]\n'
    )
    assert [stage.name for stage in file.ancestry("two")] == ["one", "two"]
    assert file.stages["one"].base.image == "python:3.10"
    assert file.stages["one"].steps == (Env(4, "A", "b c"), Run(5, "echo x && echo y"))
    assert file.stages["two"].steps == (Copy(9, "one", ("/a", "/b"), "./c/"), Entrypoint(10, ("/boot", "x")))


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("ADD a b", "ADD"),
        ("VOLUME /data", "VOLUME"),
        ("HEALTHCHECK NONE", "HEALTHCHECK"),
        ("ONBUILD RUN x", "ONBUILD"),
        ("SHELL [\"bash\"]", "SHELL"),
        ("RUN --mount=type=cache x", "flags"),
        ("RUN [\"x\"]", "JSON"),
        ("COPY --chown=1000 a b", "chown"),
        ("COPY --from=elsewhere a b", "elsewhere"),
        ("ENV A=1 B=2", "one NAME=value"),
        ("ENTRYPOINT run me", "JSON form"),
        ("FROM x", "FROM image AS name"),
        ("FROM x AS one", "second stage"),
        ("RUN x \\", "continued"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_by_name(line: str, named: str) -> None:
    with pytest.raises(DockerfileError, match=f"line 2: .*{named}"):
        parse(f"FROM x AS one\n{line}\n")


def test_a_reference_without_a_value_or_with_a_default_is_refused() -> None:
    assert substitute("$A/${B}", {"A": "x", "B": "y"}, 1) == "x/y"
    with pytest.raises(DockerfileError, match="--build-arg C="):
        substitute("${C}", {"A": "x"}, 1)
    with pytest.raises(DockerfileError, match="plain references"):
        substitute("${A:-x}", {"A": "x"}, 1)


@pytest.mark.parametrize("target", TARGETS)
def test_images_run_as_nobody_special_and_say_what_they_were_made_of(target: str) -> None:
    assert steps(target, User)[-1].user == "1000"
    labels = {label.name: label.value for label in steps(target, Label)}
    assert labels == {
        "org.opencontainers.image.revision": "${REVISION}",
        "hares.lock.sha256": "${LOCK_SHA256}",
        "org.opencontainers.image.base.digest": "${PYTHON_DIGEST}",
        **({ACCELERATOR_LABEL: target.upper()} if target in ("gpu", "tpu") else {}),
    }


def test_images_of_others_come_by_a_digest_that_has_to_be_given() -> None:
    needed = {argument.name for argument in OURS.arguments if argument.default is None}
    bases = [stage.base.image for stage in OURS.stages.values() if not OURS.base_of(stage)]
    assert len(bases) == 2
    for image in bases:
        name, _, digest = image.partition("@")
        assert ":" in name and digest.strip("${}") in needed and not name.endswith("latest"), image


@pytest.mark.parametrize("target", TARGETS)
def test_a_change_of_our_code_leaves_the_layer_of_packages_as_it_is(target: str) -> None:
    copies = [copy for copy in steps(target, Copy) if copy.target in ("/opt/venv", "/opt/dist")]
    assert [copy.target for copy in copies] == ["/opt/venv", "/opt/dist"]
    packages, wheel = (OURS.ancestry(copy.stage) for copy in copies)
    ours = {"hares", "models", "components", "pipeline", "kubeflow", "cli", "workarounds"}
    copied = [s for stage in packages for step in stage.steps if isinstance(step, Copy) for s in step.sources]
    assert not ours & set(copied)
    assert ours <= {
        s for stage in wheel for step in stage.steps if isinstance(step, Copy) for s in step.sources
    }


def test_the_beam_image_is_of_the_locked_version_and_starts_beams_entry_point() -> None:
    version = pinned(DEFAULT.lock, "apache-beam")
    sdk = f"apache/beam_python{DEFAULT.pythons[0]}_sdk:{version}"
    assert OURS.stages["beam-sdk"].base.image == f"{sdk}@${{BEAM_DIGEST}}"
    assert steps("beam", Entrypoint)[-1].words == ("/opt/apache/beam/boot",)
    assert any(copy.stage == "beam-sdk" and copy.target == "/opt/apache/beam" for copy in steps("beam", Copy))


def test_the_tpu_image_takes_a_build_of_the_locked_tensorflows_minor_version() -> None:
    minor = pinned(DEFAULT.lock, "tensorflow").rpartition(".")[0]
    (address,) = (
        step.default
        for step in OURS.stages["tpu-dependencies"].steps
        if getattr(step, "name", "") == "TPU_TENSORFLOW"
    )
    assert re.search(
        rf"/tensorflow-{re.escape(minor)}\.\d+-cp{DEFAULT.pythons[0].replace('.', '')}-", address
    )


def test_the_gpu_image_has_the_libraries_that_the_locked_tensorflow_names() -> None:
    """Its own metadata is what says which CUDA and cuDNN it was built for."""
    named = [Requirement(text) for text in requires("tensorflow") or [] if "and-cuda" in text]
    wanted = {one.name: one.specifier for one in named if one.name.startswith("nvidia")}
    pins = read_lock(gpu_lock().read_text(encoding="utf-8"))
    assert {"nvidia-cudnn-cu12", "nvidia-cuda-runtime-cu12"} <= set(wanted) == set(pins)
    assert all(pin.version in wanted[name] for name, pin in pins.items())
    assert all(any("--hash=sha256:" in line for line in pin.lines) for pin in pins.values())
    assert version("tensorflow") == pinned(this_lock(), "tensorflow")
    steps_ = OURS.stages["gpu-dependencies"].steps
    defaults = {step.name: step.default for step in steps_ if isinstance(step, Arg)}
    assert defaults == {"GPU_LOCK": gpu_lock(PROJECT / DEFAULT.lock).name}
    assert any(
        '--require-hashes -r "${GPU_LOCK}"' in step.command for step in steps_ if isinstance(step, Run)
    )


def test_the_arguments_of_each_line_are_on_the_page_of_images() -> None:
    """Those of the oldest are the Dockerfile's defaults; where they are given, they replace all of it."""
    page = (PROJECT / "docs" / "images.md").read_text(encoding="utf-8")
    defaults = {argument.name: argument.default for argument in OURS.arguments if argument.default}
    defaults["LOCK"] = DEFAULT.lock
    assert defaults == line_arguments(page, DEFAULT)
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
    copied = {s for step in steps("pipeline", Copy) for s in step.sources}
    for stage in ("dependencies", "gpu-dependencies"):
        copied |= {s for step in OURS.stages[stage].steps if isinstance(step, Copy) for s in step.sources}
    assert {line.lock, gpu_lock(PROJECT / line.lock).name} <= copied
    ignored = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{line.lock}", f"!{gpu_lock(PROJECT / line.lock).name}"} <= set(ignored)


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
    pins = runtime_pins(lock, 'INSTALL_REQUIRES = ["A>=1"]\nPIPELINE = []\nDEV = ["c", "d"]\n')
    assert [(pin.name, pin.version) for pin in pins] == [("a", "1"), ("b", "2"), ("c", "3")]
    elsewhere = (
        "INSTALL_REQUIRES = ['a; python_version < \"3.99\"']\nPIPELINE = ['z; sys_platform == \"beos\"']\n"
    )
    assert [pin.name for pin in runtime_pins(lock, elsewhere)] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="requires z"):
        runtime_pins(lock, 'INSTALL_REQUIRES = []\nPIPELINE = ["z"]\n')
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
