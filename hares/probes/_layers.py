"""The layers of a probe, and the losses that go on its logits, with their gradients.

A probe is one linear layer, or several with a ReLU between. A last layer starts from zeros: without others below it the
loss is convex, so where it starts does not matter, and no seed enters.

Shapes: `b` batch, `d` embedding size, `k` logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np

Weights = Sequence[np.ndarray]
"""Kernel (inputs, outputs) and biases (outputs,) of each layer in turn, float32."""
Loss = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]
"""Logits (b, k), which it may overwrite, and targets (b, any) to the batch's mean loss and its gradient (b, k)."""


def zero_layer(inputs: int, outputs: int) -> list[np.ndarray]:
    """Weights (inputs, outputs) and biases (outputs,) of zeros."""
    return [np.zeros((inputs, outputs), np.float32), np.zeros(outputs, np.float32)]


def logits(weights: Weights, inputs: np.ndarray) -> np.ndarray:
    """Inputs (b, d) to logits (b, k)."""
    return _layer_inputs(weights, inputs)[-1]


def loss_and_gradients(
    weights: Weights, inputs: np.ndarray, targets: np.ndarray, loss: Loss, gradients: Weights
) -> float:
    """The batch's mean loss; its gradients are written into `gradients`, which has the shapes of `weights`."""
    *below, found = _layer_inputs(weights, inputs)
    value, slope = loss(found, targets)
    for layer in range(len(below) - 1, -1, -1):
        np.matmul(below[layer].T, slope, out=gradients[2 * layer])
        np.sum(slope, axis=0, out=gradients[2 * layer + 1])
        if layer:
            slope = slope @ weights[2 * layer].T
            slope *= below[layer] > 0
    return value


def _layer_inputs(weights: Weights, inputs: np.ndarray) -> list[np.ndarray]:
    """What goes into each layer, and the logits."""
    found = [inputs]
    for layer in range(0, len(weights), 2):
        if layer:
            np.maximum(found[-1], 0, out=found[-1])
        outputs = found[-1] @ weights[layer]
        outputs += weights[layer + 1]
        found.append(outputs)
    return found


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow where x is far below 0."""
    return np.asarray(0.5 * (np.tanh(0.5 * logits) + 1.0), np.float32)


def sigmoid_loss(logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Binary cross entropies (b, k), summed over classes and averaged over the batch; targets may be soft."""
    losses = np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits)))
    slope = sigmoid(logits)
    slope -= targets
    slope /= len(logits)
    return float(losses.sum()) / len(logits), slope


def softmax_loss(sizes: tuple[int, ...]) -> Loss:
    """The sum of one cross entropy a slot, for logits (b, sum of `sizes`) and class ids (b, slots)."""
    columns = _slots(sizes)

    def loss(logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        rows = np.arange(len(logits))
        value = np.float32(0.0)
        for slot, own in enumerate(columns):
            part, right = logits[:, own], (rows, targets[:, slot])
            part -= part.max(axis=1, keepdims=True)
            value -= part[right].sum()
            np.exp(part, out=part)
            totals = part.sum(axis=1, keepdims=True)
            value += np.log(totals).sum()
            part /= totals
            part[right] -= 1.0
        logits /= len(logits)
        return float(value) / len(logits), logits

    return loss


def softmax_probabilities(sizes: tuple[int, ...], logits: np.ndarray) -> np.ndarray:
    """One softmax a slot over logits (b, sum of `sizes`)."""
    found = logits.copy()
    for own in _slots(sizes):
        part = found[:, own]
        part -= part.max(axis=1, keepdims=True)
        np.exp(part, out=part)
        part /= part.sum(axis=1, keepdims=True)
    return found


def _slots(sizes: tuple[int, ...]) -> list[slice]:
    """The columns of each slot."""
    return [slice(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]
