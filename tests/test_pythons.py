"""The benchmark alone, from its lock, in a fresh environment of every Python that it supports.

Scores must be those of the pipeline's environment to the last digit, although the lock has another numpy.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from hares.version_lines import this_lock
from kits.pipeline_runs import copy_project

PROJECT = Path(__file__).resolve().parents[1]
PYTHONS = [
    pytest.param(version, marks=pytest.mark.slow if version == "3.13" else pytest.mark.full)
    for version in ("3.10", "3.11", "3.12", "3.13")
]
# Tests of the benchmark that ask nothing of TensorFlow; what they check is what a Python or a numpy may change.
CHOSEN = [
    "tests/hares/test_probes_training.py",
    "tests/hares/test_metrics_statistics.py",
    "tests/hares/test_truncation.py",
    "tests/hares/test_protocol_crops.py",
    "tests/hares/test_report_files.py",
    "tests/hares/test_corpus_check.py",
    "tests/hares/test_report_bundle.py",
    "tests/hares/test_report_board.py",
    "tests/hares/test_own_task.py",
    "tests/cli/test_report_command.py",
    "tests/cli/test_board_command.py",
]
FRAMEWORKS = ("torch", "onnx", "onnxruntime", "jax", "keras", "transformers")
OTHER_BENCHMARKS = ("mteb", "xares")
# HEAR's packages pin versions that no Python of today has, so theirs come without pins. TensorFlow needs an environment
# of its own: it and the Triton that PyTorch brings hold two LLVMs, and the process aborts.
HEAR = ("hearvalidator", "heareval")
OF_HEAR = ("torch", "tensorflow-cpu", "tf_keras", "intervaltree", "nvidia-ml-py", "python-slugify", "tqdm")
MEGABYTES = 300  # of all that is installed; 250 when this was written


def interpreter(version: str) -> str | None:
    """A Python of this version; a shim of pyenv's that has none behind it fails when it is run."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for path in (shutil.which(f"python{version}"), *sorted(map(str, pyenv.glob(f"{version}.*/bin/python")))):
        if (
            path
            and subprocess.run([path, "-c", "import venv"], capture_output=True, check=False).returncode == 0
        ):
            return path
    return None


def run(*command: str | Path, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the `bin` of an environment of a version that holds the benchmark's lock and the benchmark."""

    source = tmp_path_factory.mktemp("source")  # setuptools builds in the folder it is given
    copy_project(PROJECT, source)
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(PROJECT / name, source)

    @functools.cache
    def bin_of(version: str) -> Path:
        python = interpreter(version)
        if python is None:
            pytest.skip(f"no Python {version} on the PATH or among pyenv's versions")
        folder = tmp_path_factory.mktemp("environment") / version
        into = ("pip", "install", "--python", folder / "bin" / "python")
        for step in (
            ("venv", "--python", python, folder),
            (*into, "--require-hashes", "-r", "requirements-benchmark.lock"),
            (*into, "--no-deps", source),
            (*into, "pytest", "pytest-timeout", "--constraint", this_lock()),
        ):
            done = run(sys.executable, "-m", "uv", "--quiet", *step)
            assert done.returncode == 0, done.stderr
        return folder / "bin"

    return bin_of


@pytest.fixture
def environment(request: pytest.FixtureRequest, installed: Callable[[str], Path]) -> Path:
    return installed(request.param)


@functools.cache
def scores_of(hares: tuple[str, ...], corpus: Path, output: Path) -> dict[str, Any]:
    """Every number in the report of an evaluation of `log_mel`."""
    done = run(
        *hares,
        "evaluate",
        "--encoder",
        "log_mel",
        "--corpus",
        corpus,
        "--protocol",
        "quick",
        "--output",
        output,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    kept = ("value", "interval", "seed_scores", "chance", "clips", "per_class")
    return {name: {key: entry[key] for key in kept} for name, entry in report["tasks"].items()}


@pytest.fixture
def here(corpus: Path, tmp_path: Path) -> dict[str, Any]:
    return scores_of((sys.executable, "-m", "cli.main"), corpus, tmp_path / "here")


@pytest.mark.parametrize("environment", PYTHONS, indirect=True)
def test_an_installation_from_the_lock_is_complete_and_light(environment: Path) -> None:
    done = run(sys.executable, "-m", "uv", "pip", "check", "--python", environment / "python")
    assert done.returncode == 0, done.stderr
    home = environment.parent
    assert sum(file.lstat().st_size for file in home.rglob("*") if file.is_file()) < MEGABYTES * 1e6
    assert not list(home.glob("lib/*/site-packages/tensorflow*"))


@pytest.mark.parametrize("environment", PYTHONS, indirect=True)
def test_scores_are_those_of_the_pipelines_environment(
    environment: Path, corpus: Path, tmp_path: Path, here: dict[str, Any]
) -> None:
    assert scores_of((str(environment / "hares"),), corpus, tmp_path / "there") == here


@pytest.mark.parametrize("environment", PYTHONS, indirect=True)
def test_from_python_too(environment: Path, corpus: Path, here: dict[str, Any], tmp_path: Path) -> None:
    script = (
        "import sys, hares; found = hares.evaluate('log_mel', sys.argv[1], tasks=['esc50'], protocol='quick')\n"
        "print(found['esc50'].score, found['esc50'].low)"
    )
    done = run(environment / "python", "-c", script, corpus, cwd=tmp_path)
    expected = here["esc50"]["value"], here["esc50"]["interval"][0]
    assert done.stdout.split() == [str(value) for value in expected], done.stderr[-2000:]


@pytest.mark.parametrize("environment", PYTHONS, indirect=True)
def test_code_has_one_digest_whichever_python_reads_it(environment: Path) -> None:
    script = "from hares.code_digest import code_digest as d; print(d('hares.evaluation', 'hares.probes.mlp', pins={}))"
    found, expected = (run(python, "-c", script) for python in (environment / "python", sys.executable))
    assert found.returncode == 0, found.stderr
    assert len(found.stdout.strip()) == 64 and found.stdout == expected.stdout


@pytest.mark.parametrize("environment", PYTHONS, indirect=True)
@pytest.mark.parametrize("command", ["run", "demo", "presets", "lineage runs", "doctor"])
def test_a_command_of_the_pipeline_says_what_to_install(
    environment: Path, command: str, tmp_path: Path
) -> None:
    done = run(environment / "hares", *command.split(), cwd=tmp_path)
    assert done.returncode == 11, done.stderr
    assert "install hares-tfx[pipeline]" in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("environment", PYTHONS, indirect=True)
def test_an_encoder_of_a_library_that_is_missing(environment: Path, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").touch()
    done = run(
        environment / "hares", "evaluate", "--encoder", "saved_model:model", "--corpus", corpus, cwd=tmp_path
    )
    assert done.returncode == 3 and "tensorflow is not installed" in done.stderr, done.stderr


@pytest.mark.parametrize("environment", PYTHONS, indirect=True)
def test_the_benchmarks_tests_pass_there(environment: Path) -> None:
    done = run(
        environment / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not full", *CHOSEN
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


@pytest.fixture(scope="module")
def frameworks(installed: Callable[[str], Path]) -> Path:
    """The `bin` of an environment that also holds what encoders come in, and mteb and X-ARES.

    Four gigabytes, most of them PyTorch's for GPUs.
    """
    return with_more(installed("3.12"), FRAMEWORKS, OTHER_BENCHMARKS)


@pytest.fixture(scope="module")
def hear_kit(installed: Callable[[str], Path]) -> Path:
    """The `bin` of an environment that also holds HEAR's packages."""
    return with_more(installed("3.11"), OF_HEAR, ("--no-deps", *HEAR))


def with_more(place: Path, *packages: tuple[str, ...]) -> Path:
    for some in packages:
        done = run(
            sys.executable, "-m", "uv", "--quiet", "pip", "install", "--python", place / "python", *some
        )
        assert done.returncode == 0, done.stderr
    return place


@pytest.mark.full
@pytest.mark.parametrize("file", ["test_adapters_frameworks", "test_out_of_memory", "test_exchange"])
def test_encoders_of_every_library_in_one_environment(frameworks: Path, file: str) -> None:
    done = run(
        frameworks / "python", "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider",
        "-k", "not tensorflow and not tflite", f"tests/hares/{file}.py",
    )  # fmt: skip
    assert done.returncode == 0 and "skipped" not in done.stdout, done.stdout[-3000:] + done.stderr[-2000:]


@pytest.mark.full
def test_wav2vec_2_is_the_same_by_transformers_and_by_our_import(frameworks: Path, tmp_path: Path) -> None:
    """Base, 95 million parameters from a seed: made and heard by transformers there, imported and heard here."""
    make = (
        "import sys, torch, transformers\n"
        "torch.manual_seed(0); folder = sys.argv[1]\n"
        "transformers.Wav2Vec2Model(transformers.Wav2Vec2Config()).save_pretrained(folder)\n"
        "transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)\n"
    )
    hear = (
        "import sys, numpy as np\n"
        "from hares.adapters import encode_crops, load_adapter\n"
        "from hares.preflight import synthetic_crops\n"
        "np.save(sys.argv[2], encode_crops(load_adapter(sys.argv[1]))(synthetic_crops(1.0)))\n"
    )
    model, export = tmp_path / "model", tmp_path / "export"
    imported = (
        "import-weights",
        "--encoder",
        "wav2vec2_base",
        "--from",
        model / "model.safetensors",
        "--output",
        export,
    )
    for command in (
        (frameworks / "python", "-c", make, model),
        (frameworks / "python", "-c", hear, f"transformers:{model}", tmp_path / "theirs.npy"),
        (sys.executable, "-m", "cli.main", *imported),
        (sys.executable, "-c", hear, f"saved_model:{export}", tmp_path / "ours.npy"),
    ):
        done = run(*command)
        assert done.returncode == 0, done.stderr[-3000:]
    theirs, ours = np.load(tmp_path / "theirs.npy"), np.load(tmp_path / "ours.npy")
    assert theirs.shape == (4, 768) and np.abs(theirs).max() > 0.01
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.full
def test_an_export_enters_hear_s_kit(hear_kit: Path, tmp_path: Path) -> None:
    """HEAR's own validator, and the embeddings of its kit for a task of made sounds."""
    export = (
        "import sys; from pathlib import Path\n"
        "from models.encoder import load_encoder; from models.export import export_saved_model\n"
        "from models.frontend import FrontendConfig; record = load_encoder('sf_nfnet_tiny')\n"
        "export_saved_model(record.build(0), record, Path(sys.argv[1]), FrontendConfig(), {'objective': 'none'})\n"
    )
    task = tmp_path / "tasks" / "tones"
    (task / "16000" / "train").mkdir(parents=True)
    labels = {}
    for number in range(4):
        wave = 0.3 * np.sin(2 * np.pi * (200 + 300 * number) * np.arange(16_000) / 16_000)
        soundfile.write(task / "16000" / "train" / f"{number}.wav", wave, 16_000)
        labels[f"{number}.wav"] = [str(number % 2)]
    (task / "train.json").write_text(json.dumps(labels))
    (task / "labelvocabulary.csv").write_text("idx,label\n0,0\n1,1\n")
    (task / "task_metadata.json").write_text(
        json.dumps(
            {
                "task_name": "tones",
                "embedding_type": "scene",
                "splits": ["train"],
                "prediction_type": "multiclass",
                "sample_duration": 1.0,
            }
        )
    )
    assert run(sys.executable, "-c", export, tmp_path / "model").returncode == 0
    validated = run(hear_kit / "hear-validator", "models.hear", "-m", tmp_path / "model", "-d", "cpu")
    assert validated.returncode == 0 and "Looks good" in validated.stdout, (
        validated.stdout + validated.stderr[-2000:]
    )
    embedded = run(
        hear_kit / "python", "-m", "heareval.embeddings.runner", "models.hear", "--model", tmp_path / "model",
        "--tasks-dir", tmp_path / "tasks", "--embeddings-dir", tmp_path / "embeddings",
    )  # fmt: skip
    assert embedded.returncode == 0, embedded.stderr[-3000:]
    (shape,) = [
        json.loads(f.read_text())
        for f in tmp_path.glob("embeddings/models.hear/tones/train.embedding-dim*.json")
    ]
    assert shape[0] == 4
