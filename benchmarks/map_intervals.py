"""How often an interval of mAP holds the population's mAP: four intervals on made scores of known populations.

    python -m benchmarks.map_intervals [--simulations 60] [--clips 40 100 500 2000]

The population's mAP is what endlessly many test clips would give. On few clips mAP is above it, since the first
positive's own place counts as found and a precision is a ratio. Tried are

- `ours`: Wilson's interval around the score, from the standard error of the resamples (`hares.statistics`);
- `bootstrap`: the same, moved by how far the resamples' mean lies from the score;
- `halves`: the same around 2 mAP(n) - mAP(n/2), where halves keep each class's positives in proportion;
- `binormal`: the same, moved by the bias that a sample has under normal scores of positives and negatives, with each
  class's distance shrunk to the mean of all classes (empirical Bayes).

Two populations of 50 classes with 0.4% to 10% positives: `normal` is what `binormal` believes; in `mixed` three of ten
positives are not heard at all, and scores have heavy tails. A clip's loudness moves all its scores together.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri

from hares.metrics import RankedScores, chance_average_precision, mean_average_precision, share_of_positives
from hares.statistics import Resampled, interval, resample

CLASSES = 50
RESAMPLES = 60
HALVES = 10


@dataclass(frozen=True)
class Population:
    """Clips whose scores are known in law: (k,) shares of positives and distances of their scores."""

    shares: np.ndarray
    distances: np.ndarray
    unheard: float
    heavy: bool

    def draw(self, clips: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Scores and targets, (c, k)."""
        targets = random.random((clips, CLASSES)) < self.shares
        heard = targets & (random.random(targets.shape) >= self.unheard)
        noise = random.standard_t(4, targets.shape) if self.heavy else random.standard_normal(targets.shape)
        loudness = 0.3 * random.standard_normal((clips, 1))
        return noise + heard * self.distances + loudness, targets


def populations() -> dict[str, Population]:
    """The two that are simulated."""
    random = np.random.default_rng(0)
    shares = np.exp(random.uniform(np.log(0.004), np.log(0.1), CLASSES))
    distances = random.normal(2.0, 0.6, CLASSES)
    return {
        "normal": Population(shares, distances, 0.0, False),
        "mixed": Population(shares, distances + 1.0, 0.3, True),
    }


def truth(population: Population) -> float:
    """The population's mAP, from 400,000 clips."""
    random = np.random.default_rng(1)
    return float(np.mean([mean_average_precision(*population.draw(200_000, random)) for _ in range(2)]))


def moved(found: Resampled, centre: float) -> Resampled:
    """The same spread around another score."""
    return replace(found, score=min(1.0, max(0.0, centre)))


def halves(score: float, scores: np.ndarray, targets: np.ndarray, random: np.random.Generator) -> float:
    """2 mAP(n) - mAP(n/2), class by class; a class of one positive keeps its sample value."""
    apart = []
    for k in np.flatnonzero(targets.any(axis=0)):
        own, target = scores[:, k : k + 1], targets[:, k : k + 1]
        positives, negatives = np.flatnonzero(target), np.flatnonzero(~target)
        whole = mean_average_precision(own, target)
        if len(positives) < 2:
            apart.append(0.0)
            continue
        parts = []
        for _ in range(HALVES):
            size = len(positives) // 2 + (len(positives) % 2 and random.random() < 0.5)
            kept = np.concatenate(
                [
                    random.permutation(positives)[:size],
                    random.permutation(negatives)[: round(len(negatives) * size / len(positives))],
                ]
            )
            parts.append(mean_average_precision(own[kept], target[kept]))
        apart.append(whole - float(np.mean(parts)))
    return score + float(np.mean(apart))


def binormal(score: float, scores: np.ndarray, targets: np.ndarray, random: np.random.Generator) -> float:
    """The score less the bias of a sample as large under normal scores."""
    clips = len(scores)
    present = np.flatnonzero(targets.any(axis=0))
    positives = targets[:, present].sum(axis=0)
    means, within = [], []
    for k in present:
        negative = np.sort(scores[~targets[:, k], k])
        above = len(negative) - np.searchsorted(negative, scores[targets[:, k], k])
        deviates = ndtri(1 - (above + 0.5) / (len(negative) + 1))
        means.append(deviates.mean())
        within.append(((deviates - deviates.mean()) ** 2).sum())
    spread = math.sqrt(max(0.25, sum(within) / max(1, positives.sum() - len(present))))
    noise = spread**2 / positives
    centre = float(np.average(means, weights=positives))
    between = max(0.01, float(np.var(means) - noise.mean()))
    kept = between / (between + noise)
    shrunk = centre + kept * (np.asarray(means) - centre)
    posterior = np.sqrt(kept * noise)
    bias = []
    for distance, deviation, m in zip(shrunk, posterior, positives, strict=True):
        distances = distance + deviation * random.standard_normal((200, 1))
        own = distances + spread * random.standard_normal((200, m))
        heard, false = ndtr((distances - own) / spread), ndtr(-own)
        found = 1 + random.binomial(m - 1, heard)
        wrong = random.binomial(clips - m, false)
        sampled = (found / (found + wrong)).mean()
        known = m * heard / (m * heard + (clips - m) * false)
        bias.append(sampled - known.mean())
    return score - float(np.mean(bias))


def main() -> None:
    """Prints one line for each population and number of clips."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--simulations", type=int, default=60)
    parser.add_argument("--clips", type=int, nargs="+", default=[40, 100, 500, 2000])
    arguments = parser.parse_args()
    estimates: dict[str, Callable[..., float]] = {"halves": halves, "binormal": binormal}
    print(
        "population clips | truth, mean mAP, chance, share of positives | covered by, and mean distance to the truth"
    )
    for name, population in populations().items():
        right = truth(population)
        for clips in arguments.clips:
            inside = dict.fromkeys(("ours", "bootstrap", *estimates), 0)
            distance = dict.fromkeys(inside, 0.0)
            seen, own = np.zeros(3), []
            for number in range(arguments.simulations):
                random = np.random.default_rng((clips, number))
                scores, targets = population.draw(clips, random)
                ranked = RankedScores(scores, targets)
                found = resample(
                    lambda weights, ranked=ranked: np.asarray(
                        [ranked.mean_average_precision(w) for w in weights]
                    ),
                    [str(clip) for clip in range(clips)],
                    RESAMPLES,
                    number,
                )
                assert found is not None
                score = found.score
                seen += (score, chance_average_precision(targets), share_of_positives(targets))
                centres = {
                    "ours": score,
                    "bootstrap": 2 * score - float(found.values.mean()),
                    **{key: estimate(score, scores, targets, random) for key, estimate in estimates.items()},
                }
                for key, centre in centres.items():
                    bounds = interval(moved(found, centre))
                    assert bounds is not None
                    if key == "ours":
                        own.append((*bounds, score))
                    inside[key] += bounds[0] <= right <= bounds[1]
                    distance[key] += centre - right
            score, chance, share = 100 * seen / arguments.simulations
            low, high, scores_seen = np.transpose(own)
            same = 100 * ((low <= scores_seen.mean()) & (scores_seen.mean() <= high)).mean()
            of = 100 / arguments.simulations
            covered = ", ".join(
                f"{key} {of * inside[key]:.0f}% ({of * distance[key]:+.1f})" for key in inside
            )
            print(
                f"{name} {clips} | {100 * right:.1f}, {score:.1f}, {chance:.1f}, {share:.1f} | {covered}; "
                f"ours holds the mean of such test sets {same:.0f}%",
                flush=True,
            )


if __name__ == "__main__":
    main()
