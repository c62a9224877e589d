"""What a layer imports: the benchmark nothing that an encoder may come in, the models nothing of TFX."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
TFX = {
    "tfx",
    "tfx_bsl",
    "tensorflow_transform",
    "tensorflow_data_validation",
    "apache_beam",
    "ml_metadata",
    "kfp",
}
FRAMEWORKS = {
    "tensorflow", "keras", "tf_keras", "tensorflow_addons", "tensorflow_datasets", "torch", "jax", "onnxruntime",
    "transformers",
}  # fmt: skip
OURS = {"hares", "models", "components", "pipeline", "kubeflow", "cli", "workarounds", "hares_command"}
LOADED = (
    "import sys; before = set(sys.modules); {}\n"
    "print('loaded:', *{{name.partition('.')[0] for name in set(sys.modules) - before}})"
)


def loaded(code: str, cwd: Path = PROJECT) -> set[str]:
    """The top-level packages that a process loads, without Python's own and private ones."""
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n{LOADED.format(code)}",
    ]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("loaded:"))
    names = set(line.split()[1:]) - set(sys.stdlib_module_names)
    return {name for name in names if not name.startswith("_")}


def test_import_hares_is_free() -> None:
    assert loaded("import hares") == {"hares"}


@pytest.mark.parametrize(
    "code", ["import hares; hares.evaluate", "import cli.main, cli.evaluation, cli.report_view"]
)
def test_the_benchmark_imports_no_framework(code: str) -> None:
    found = loaded(code)
    assert "numpy" in found and not found & {*TFX, *FRAMEWORKS}


@pytest.mark.slow
def test_an_evaluation_imports_no_framework(corpus: Path, tmp_path: Path) -> None:
    arguments = ["hares", "evaluate", "--encoder", "log_mel", "--corpus", str(corpus), "--protocol", "quick"]
    code = (
        "import cli.main\n"
        f"sys.argv = {arguments!r}\n"
        "try: cli.main.main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
    )
    found = loaded(code, cwd=tmp_path)
    assert {"numpy", "sklearn", "soundfile"} <= found and not found & {*TFX, *FRAMEWORKS}
    assert found & OURS == {"hares", "cli", "hares_command"}


@pytest.mark.slow
def test_models_import_tensorflow_and_no_tfx() -> None:
    found = loaded("import models.training.loop, models.export, models.plugin")
    assert "tensorflow" in found and not found & {*TFX, "hares", "torch"}


def test_components_import_tfx_when_they_are_used() -> None:
    assert not loaded("import components, components.properties") & {*TFX, *FRAMEWORKS}


def test_the_command_imports_nothing_before_it_knows_what_to_do() -> None:
    assert not loaded("import cli.main") & {*TFX, *FRAMEWORKS, "numpy", "rich", "yaml"}


@pytest.mark.parametrize(
    ("code", "asked"), [("import models", "1"), ("import components", "1"), ("import hares", "None")]
)
def test_keras_2_is_asked_for_where_it_is_a_package_of_its_own(code: str, asked: str, tmp_path: Path) -> None:
    """By what needs it; `tf.keras` of an encoder that is scored stays what it is."""
    script = f"import os; {code}; print(os.environ.get('TF_USE_LEGACY_KERAS'))"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(PROJECT), str(tmp_path)])}
    found = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        found.append(done.stdout.strip())
        (tmp_path / "tf_keras.py").touch()
    without = asked if importlib.util.find_spec("tf_keras") else "None"  # the line of TensorFlow 2.21 has it
    assert found == [without, asked]
