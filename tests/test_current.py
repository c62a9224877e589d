"""The core of the tests on the newest line of versions, in a Debian 13 root, where this machine has an older line.

`make test-current` runs all of them there.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hares.version_lines import this_line, version_lines

PROJECT = Path(__file__).resolve().parents[1]
ROOT = Path(os.environ.get("CURRENT_ROOT", PROJECT / "build" / "current"))
CANNOT = 77  # the script's exit code where such a root cannot be had
# What differs by versions: numbers, their types, files that clusters read, the store, and a run from end to end.
CORE = (
    "tests/models/test_nfnet.py",
    "tests/models/test_sf_nfnet.py",
    "tests/models/test_sf_resnet50.py",
    "tests/models/test_vit.py",
    "tests/models/test_byola_cnn.py",
    "tests/models/test_wav2vec2.py",
    "tests/models/test_dtypes.py",
    "tests/models/test_objective_clmr.py",
    "tests/models/test_frontend.py",
    "tests/workarounds",
    "tests/dependencies/test_sbom.py",
    "tests/kubeflow/compiled/test_compile.py",
    "tests/kubeflow/image/test_dockerfile.py",
    "tests/pipeline/test_lineage_walks.py",
    "tests/pipeline/test_lineage_store.py",
    "tests/pipeline/test_lineage_answers.py",
    "tests/pipeline/test_full_run.py",
    "tests/pipeline/test_lineage_commands.py",
)


@pytest.mark.slow
@pytest.mark.timeout(2400)  # the first time it installs a Debian
@pytest.mark.skipif(this_line() == version_lines()[0], reason="all tests run on the newest line here")
@pytest.mark.skipif(
    not (ROOT / ".made").exists(), reason="there is no Debian 13 root: make test-current makes it"
)
def test_the_core_passes_on_the_newest_line() -> None:
    done = subprocess.run(
        ["bash", ".ci/current", "python", "-m", "pytest", "-q", "-m", "not full", *CORE],
        cwd=PROJECT, env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode == CANNOT:
        pytest.skip(last)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in last
