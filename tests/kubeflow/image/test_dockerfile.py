"""The parser of our Dockerfile, and what the Dockerfile itself promises."""

from __future__ import annotations

import re
from importlib.metadata import requires, version
from pathlib import Path

import pytest

from kits.image.dockerfile import (
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
from kubeflow.image.runtime_lock import read_lock, runtime_pins

PROJECT = Path(__file__).resolve().parents[3]
OURS = parse((PROJECT / "kubeflow" / "image" / "Dockerfile").read_text(encoding="utf-8"))
TARGETS = ("pipeline", "beam", "gpu", "tpu")


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
    pins = read_lock((PROJECT / "requirements.lock").read_text(encoding="utf-8"))
    version = pins["apache-beam"].version
    assert OURS.stages["beam-sdk"].base.image == f"apache/beam_python3.10_sdk:{version}@${{BEAM_DIGEST}}"
    assert steps("beam", Entrypoint)[-1].words == ("/opt/apache/beam/boot",)
    assert any(copy.stage == "beam-sdk" and copy.target == "/opt/apache/beam" for copy in steps("beam", Copy))


def test_the_tpu_image_takes_a_build_of_the_locked_tensorflows_minor_version() -> None:
    pins = read_lock((PROJECT / "requirements.lock").read_text(encoding="utf-8"))
    minor = pins["tensorflow"].version.rpartition(".")[0]
    (address,) = (
        step.default
        for step in OURS.stages["tpu-dependencies"].steps
        if getattr(step, "name", "") == "TPU_TENSORFLOW"
    )
    assert re.search(rf"/tensorflow-{re.escape(minor)}\.\d+-cp310-", address)


def test_the_gpu_image_has_the_libraries_that_the_locked_tensorflow_names() -> None:
    """Its own metadata is what says which CUDA and cuDNN it was built for."""
    wanted = {}
    for requirement in requires("tensorflow") or []:
        if match := re.fullmatch(r"(nvidia\S+) \(==(\S+)\) ; extra == 'and-cuda'", requirement):
            wanted[match[1]] = match[2]
    pins = read_lock((PROJECT / "requirements-gpu.lock").read_text(encoding="utf-8"))
    assert {"nvidia-cudnn-cu12", "nvidia-cuda-runtime-cu12"} <= set(wanted)
    assert {name: pin.version for name, pin in pins.items()} == wanted
    assert all(any("--hash=sha256:" in line for line in pin.lines) for pin in pins.values())
    locked = read_lock((PROJECT / "requirements.lock").read_text(encoding="utf-8"))
    assert version("tensorflow") == locked["tensorflow"].version
    installs = [step.command for step in OURS.stages["gpu-dependencies"].steps if isinstance(step, Run)]
    assert any("--require-hashes -r requirements-gpu.lock" in command for command in installs)


def test_the_image_has_what_runs_and_not_what_tests() -> None:
    lock, setup = ((PROJECT / name).read_text(encoding="utf-8") for name in ("requirements.lock", "setup.py"))
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
    with pytest.raises(ValueError, match="requires z"):
        runtime_pins(lock, 'INSTALL_REQUIRES = []\nBUCKETS = []\nPIPELINE = ["z"]\n')
    with pytest.raises(ValueError, match="line 1"):
        read_lock("--index-url https://example.org\n")
