"""The simulation of mAP's intervals: what its estimates are of."""

from __future__ import annotations

import numpy as np

from benchmarks.map_intervals import binormal, halves, populations, truth
from hares.metrics import mean_average_precision


def test_map_of_few_clips_is_above_the_populations_and_the_binormal_model_finds_by_how_much() -> None:
    population = populations()["normal"]
    right = truth(population)
    plain, moved, split = [], [], []
    for number in range(6):
        random = np.random.default_rng(number)
        scores, targets = population.draw(500, random)
        plain.append(mean_average_precision(scores, targets))
        moved.append(binormal(plain[-1], scores, targets, random))
        split.append(halves(plain[-1], scores, targets, random))
    assert np.mean(plain) - right > 0.03
    assert abs(np.mean(moved) - right) < 0.02
    assert 0 < np.mean(split) - right < np.mean(plain) - right
