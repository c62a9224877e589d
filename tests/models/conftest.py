"""The Slowfast NFNet's reference outputs, and our network filled with the weights they were made with."""

from __future__ import annotations

import ast
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.encoder import load_encoder
from models.encoders.sf_nfnet import SlowFastNFNet
from models.weights import load_weights


def golden_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(f"1:{name}".encode())))
    n = generator.standard_normal(shape)
    leaf = name.rsplit("/", 1)[-1]
    if leaf == "w":
        n = n / np.sqrt(np.prod(shape[:-1]))
    else:
        offset, scale = {"gain": (1, 0.1), "skip_gain": (0.7, 0.1), "bias": (0, 0.1), "b": (0, 0.1)}[leaf]
        n = offset + scale * n
    return np.asarray(n, np.float32)


@pytest.fixture(scope="session")
def sf_nfnet_golden(golden_dir: Path) -> dict[str, np.ndarray]:
    with np.load(golden_dir / "sf_nfnet_f0.npz") as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture(scope="session")
def golden_f0(sf_nfnet_golden: dict[str, np.ndarray]) -> SlowFastNFNet:
    """Ours with the golden weights; read, never changed."""
    encoder = load_encoder("sf_nfnet_f0").build(0)
    shapes = {
        name: ast.literal_eval(shape)
        for name, shape in zip(
            sf_nfnet_golden["params/names"].tolist(), sf_nfnet_golden["params/shapes"].tolist(), strict=True
        )
    }
    load_weights(encoder, {name: golden_weight(name, shape) for name, shape in shapes.items()})
    return encoder


@pytest.fixture(scope="session")
def sf_nfnet_input() -> Callable[[str], np.ndarray]:
    """The input of a golden case such as "2x300x80", (b, t, f, 1)."""

    def draw(case: str) -> np.ndarray:
        b, t, f = map(int, case.split("x"))
        generator = np.random.Generator(np.random.PCG64(1000 + t))
        return generator.standard_normal((b, t, f, 1)).astype(np.float32)

    return draw
