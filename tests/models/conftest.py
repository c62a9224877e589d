"""Reference outputs of the original implementations, and the weights they were made with.

The Slowfast NFNet's file has names and layouts of its own; those of the other encoders are PyTorch's.
"""

from __future__ import annotations

import ast
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from models.encoder import load_encoder
from models.encoders.sf_nfnet import SlowFastNFNet
from models.weights import load_weights

GOLDEN = Path(__file__).with_name("golden")  # README.md and ENCODERS.md there say how they were made


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
def sf_nfnet_golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "sf_nfnet_f0.npz") as archive:
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


@dataclass(frozen=True)
class TorchGolden:
    """One encoder's file of reference outputs.

    Attributes:
        values: the file's arrays by key.
        weights: the weights by PyTorch name, in PyTorch's layout.
    """

    values: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]

    def draw_input(self, case: str) -> np.ndarray:
        """The input of a case such as "2x300x80", (b, t, f) as drawn."""
        b, t, f = map(int, case.split("x"))
        x = np.random.Generator(np.random.PCG64(1000 + t)).standard_normal((b, t, f)).astype(np.float32)
        stats = [x.mean(dtype=np.float64), x.std(dtype=np.float64), *x.ravel()[:6]]
        np.testing.assert_allclose(stats, self.values[f"{case}/input/stats"], rtol=1e-5)
        return x

    def weights_at(self, mel_bins: int) -> dict[str, np.ndarray]:
        """The weights for cases of so many mel bins, where shapes depend on their number."""
        shapes = self.values.get(f"params/shapes@F={mel_bins}")
        if shapes is None:
            assert int(self.values["params/shapes_for_F"]) == mel_bins
            return self.weights
        weights = dict(self.weights)
        for name, kind, shape, first in zip(
            self.values["params/names"].tolist(),
            self.values["params/kinds"].tolist(),
            shapes.tolist(),
            self.values[f"params/first@F={mel_bins}"].tolist(),
            strict=True,
        ):
            wanted = tuple(map(int, filter(None, shape.split(","))))
            if wanted != weights[name].shape:
                weights[name] = torch_weight(name, kind, wanted)
                assert weights[name].flat[0] == np.float32(first), name
        return weights

    def stats(self, case: str) -> dict[str, np.ndarray]:
        """What the file holds of each module's output."""
        prefix = f"{case}/stats/"
        return {k.removeprefix(prefix): v for k, v in self.values.items() if k.startswith(prefix)}


def torch_weight(name: str, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    n = np.random.Generator(np.random.PCG64(zlib.crc32(f"1:{name}".encode()))).standard_normal(shape)
    rules = {
        "w": lambda: n / np.sqrt(np.prod(shape[1:])),
        "gain": lambda: 1 + 0.1 * n,
        "bias": lambda: 0.1 * n,
        "mean": lambda: 0.1 * n,
        "var": lambda: 1 + 0.1 * np.abs(n),
        "skip": lambda: 0.7 + 0.1 * n,
        "embed": lambda: 0.02 * n,
    }
    return np.asarray(rules[kind](), np.float32)


def module_stats(value: np.ndarray) -> np.ndarray:
    """What the files store of a map (b, t, f, c): mean, deviation, and the first values in PyTorch's layout."""
    first = value[0].transpose(2, 0, 1).ravel()[:6]
    return np.array([value.mean(dtype=np.float64), value.std(dtype=np.float64), *first])


@pytest.fixture(scope="session")
def torch_golden() -> Callable[[str], TorchGolden]:
    """Reads the file of an encoder by its name."""

    def read(encoder: str) -> TorchGolden:
        with np.load(GOLDEN / f"{encoder}.npz") as archive:
            values = {name: archive[name] for name in archive.files}
        weights = {}
        for name, shape, kind, first, total in zip(
            *(values[f"params/{key}"].tolist() for key in ("names", "shapes", "kinds", "first", "sum")),
            strict=True,
        ):
            weight = torch_weight(name, kind, tuple(map(int, filter(None, shape.split(",")))))
            assert weight.flat[0] == np.float32(first), name
            np.testing.assert_allclose(weight.sum(dtype=np.float64), total, rtol=1e-6, atol=1e-6)
            weights[name] = weight
        return TorchGolden(values, weights)

    return read


@pytest.fixture(scope="session")
def stats_of_map() -> Callable[[np.ndarray], np.ndarray]:
    return module_stats
