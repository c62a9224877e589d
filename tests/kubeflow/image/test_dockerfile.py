"""What the Dockerfile promises, by its text; `tests/cluster` builds it."""

from __future__ import annotations

import hashlib
import re
from importlib.metadata import requires, version
from pathlib import Path

import pytest

from kubeflow.doctor.checks.images import ACCELERATOR_LABEL
from kubeflow.image.fetch import fetch
from kubeflow.image.runtime_lock import read_lock, runtime_pins

PROJECT = Path(__file__).resolve().parents[3]
TEXT = (PROJECT / "kubeflow" / "image" / "Dockerfile").read_text(encoding="utf-8")
# By a stage's name: what it begins with, and its steps.
STAGES = {
    name: (base, steps)
    for base, name, steps in re.findall(
        r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM|\Z)", TEXT, re.MULTILINE | re.DOTALL
    )
}
TARGETS = ("pipeline", "beam", "gpu", "tpu")


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
    for image in bases:
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
    pins = read_lock((PROJECT / "requirements.lock").read_text(encoding="utf-8"))
    locked = pins["apache-beam"].version
    assert STAGES["beam-sdk"][0] == f"apache/beam_python3.10_sdk:{locked}@${{BEAM_DIGEST}}"
    assert re.findall(r"^ENTRYPOINT (.+)$", steps("beam"), re.MULTILINE)[-1] == '["/opt/apache/beam/boot"]'
    assert any(stage == "beam-sdk" and place == "/opt/apache/beam" for stage, _, place in copied("beam"))


def test_the_tpu_image_takes_a_build_of_the_locked_tensorflows_minor_version() -> None:
    pins = read_lock((PROJECT / "requirements.lock").read_text(encoding="utf-8"))
    minor = pins["tensorflow"].version.rpartition(".")[0]
    (address,) = re.findall(r"^ARG TPU_TENSORFLOW=(\S+)$", STAGES["tpu-dependencies"][1], re.MULTILINE)
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
    assert "--require-hashes -r requirements-gpu.lock" in STAGES["gpu-dependencies"][1]


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
