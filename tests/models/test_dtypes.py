"""Everything that a network is trained with is float32, under the rules of numpy 2 as well.

There a float64 scalar, as `np.sqrt(2)` is one, turns a float32 array that it is multiplied with into float64; numpy 1
left the array as it was. numpy 1.24 to 1.26 know the new rules and follow them where the environment asks for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow

NUMPY_2 = {"NPY_PROMOTION_STATE": "weak"}
COUNTERS = {"int64", "int32", "bool", "string"}


def run(*command: str) -> str:
    environment = {**os.environ, **NUMPY_2, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["PYTHONPATH"] = os.pathsep.join([".", "tests", environment.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_rules_are_those_of_numpy_2() -> None:
    script = "import numpy as np; print((np.float64(3) * np.ones(2, np.float32)).dtype)"
    assert run("-c", script).strip() == "float64", np.__version__


@pytest.mark.parametrize("what", ["encoders", "training"])
def test_no_number_becomes_float64(what: str) -> None:
    found = json.loads(run("-m", "kits.dtypes", what))
    assert len(found) > 100
    assert {"float32"} == set(found.values()) - COUNTERS, {k: v for k, v in found.items() if v == "float64"}
