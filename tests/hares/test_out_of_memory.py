"""Memory that runs out for real, by the limit of a process: each library's own error halves the batch."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hares.embedding.encoding import InParts

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
COMMON = """
import resource
import numpy as np
from hares.embedding.encoding import InParts
SAMPLES, GROWN = 4_000, 1024  # a crop becomes 16 MB
"""
LIBRARIES = {
    "numpy": """
encode = lambda w: np.repeat(w[:, :, None], GROWN, 2).sum(1)
""",
    "torch": """
import torch
torch.set_num_threads(1)
encode = lambda w: torch.from_numpy(w)[:, :, None].repeat(1, 1, GROWN).sum(1)
""",
    "jax": """
import jax, jax.numpy as jnp
encode = jax.jit(lambda w: jnp.sort(jnp.repeat(w[:, :, None], GROWN, 2), axis=1).sum(1))
""",
    "onnxruntime": """
import onnxruntime
from onnx import helper, numpy_helper
node = helper.make_node
graph = helper.make_graph(
    [node("Unsqueeze", ["x", "two"], ["u"]), node("Tile", ["u", "times"], ["t"]),
     node("ReduceSum", ["t", "one"], ["y"], keepdims=0)], "grows",
    [helper.make_tensor_value_info("x", 1, ["b", "n"])], [helper.make_tensor_value_info("y", 1, ["b", GROWN])],
    [numpy_helper.from_array(np.array(v), k) for k, v in (("one", [1]), ("two", [2]), ("times", [1, 1, GROWN]))])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
encode = lambda w: session.run(None, {"x": w})[0]
""",
    "tensorflow": """
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
encode = lambda w: tf.reduce_sum(tf.tile(tf.constant(w)[:, :, None], [1, 1, GROWN]), 1).numpy()
""",
}
LIMITED = """
waves = np.random.default_rng(0).standard_normal((64, SAMPLES)).astype(np.float32)
encode(waves[:1])
expected = np.asarray(encode(waves[:1]))
mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + 400_000_000,) * 2)
parts = InParts(encode)
found = parts(waves)
assert found.shape == (64, GROWN) and np.allclose(found[:1], expected, atol=1e-3), found.shape
print("halved", dict(parts.halved))
"""


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_batch_is_halved_until_memory_holds_it(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    code = COMMON + LIBRARIES[library] + LIMITED
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("halved ")]
    halved = ast.literal_eval(line.removeprefix("halved "))
    assert set(halved) == {4_000} and halved[4_000] in (1, 2, 4, 8, 16, 32), "64 crops are 1 GB"


def test_what_memory_holds_is_remembered_for_each_length() -> None:
    seen = []

    def encode(crops: np.ndarray) -> np.ndarray:
        seen.append(crops.shape)
        if crops.size > 4_000:
            raise MemoryError
        return crops[:, :2]

    parts = InParts(encode)
    waves = np.random.default_rng(0).standard_normal((8, 1_000)).astype(np.float32)
    for _ in range(2):
        np.testing.assert_array_equal(parts(waves), waves[:, :2])
    assert seen == [(8, 1_000), *[(4, 1_000)] * 4], "once halved, it stays so"
    parts(waves[:, :500])
    assert seen[-1] == (8, 500) and parts.halved == {1_000: 4}
