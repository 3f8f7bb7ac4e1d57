"""How often the interval of a drop in mAP holds the true drop: the figures of docs/accuracy.md.

A made-up detector and a slightly worse one see made-up images: boxes found with some error, some
missed, some invented, of eight classes of which few are common. Their true drop is taken from
many images, and the interval is then told on many small sets.

    PYTHONPATH=. .venv/bin/python scripts/simulate_drop_interval.py --sets 200 20 80
"""

import argparse
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from edgekit.bench.bootstrap import LEVEL, RESAMPLES, drop_interval, resample_counts
from edgekit.prepare.labels import ObjectLabel
from edgekit.prepare.metrics.coco import AveragePrecision, match_labels

SHARES = (0.5, 0.15, 0.1, 0.08, 0.07, 0.05, 0.03, 0.02)  # of the classes
FOUND, KEPT = 0.75, 0.98  # of the objects by the better detector; of those by the worse one
Rows = list[list[float]]
Image = tuple[tuple[ObjectLabel, ...], Rows, Rows]
Interval = tuple[float, float]


def main() -> None:
    """Print one line for each size of set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", type=int, nargs="*", default=[20, 80])
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--population", type=int, default=8000)
    options = parser.parse_args()
    random = np.random.default_rng(1)
    population = options.population
    true = drop(*tallies([image(random) for _ in range(population)]), population)
    print(f"the true drop, on {population} images: {true:.4f}", flush=True)
    for size in options.sizes:
        held: dict[str, int] = {}
        drops = []
        for number in range(options.sets):
            sides = tallies([image(random) for _ in range(size)])
            drops.append(drop(*sides, size))
            for name, (low, high) in intervals(*sides, size, number).items():
                held[name] = held.get(name, 0) + (low <= true <= high)
        shares = ", ".join(f"{name} {count / options.sets:.3f}" for name, count in held.items())
        print(
            f"{options.sets} sets of {size}: mean drop {np.mean(drops):.4f}; {shares}", flush=True
        )


def image(random: np.random.Generator) -> Image:
    """Draw labels, one detector's answers and those of the other, which is a little worse."""
    labels: list[ObjectLabel] = []
    better: Rows = []
    worse: Rows = []
    for _ in range(random.poisson(7)):
        x, y, width, height, kind = place(random)
        labels.append(ObjectLabel((x, y, width, height), kind))
        if random.random() < FOUND:
            size = np.array([width, height, width, height])
            found = [x, y, x + width, y + height] + random.normal(0, 0.06, 4) * size
            score = min(0.99, random.beta(3, 2))
            better.append([*found, score, kind])
            if random.random() < KEPT:
                moved = found + random.normal(0, 0.03, 4) * size
                worse.append([*moved, noisy(random, score), kind])
    for _ in range(random.poisson(15)):
        x, y, width, height, kind = place(random)
        score = random.beta(1, 4)
        better.append([x, y, x + width, y + height, score, kind])
        worse.append([x, y, x + width, y + height, noisy(random, score), kind])
    return tuple(labels), better, worse


def place(random: np.random.Generator) -> tuple[float, float, float, float, int]:
    """Draw a box and its class."""
    x, y, width, height = random.uniform([0, 0, 15, 15], [500, 400, 150, 150])
    return x, y, width, height, int(random.choice(len(SHARES), p=SHARES))


def noisy(random: np.random.Generator, score: float) -> float:
    """Shake a score."""
    return float(np.clip(score + random.normal(0, 0.05), 0.001, 0.99))


def tallies(images: list[Image]) -> tuple[AveragePrecision, AveragePrecision]:
    """Match both detectors' answers with the labels."""
    truth = [labels for labels, _, _ in images]
    return (
        match_labels([rows for _, rows, _ in images], truth),
        match_labels([rows for _, _, rows in images], truth),
    )


def drop(better: AveragePrecision, worse: AveragePrecision, images: int) -> float:
    """Return the drop on all images as they are."""
    ones = np.ones((1, images), np.int64)
    return float(better.scores(ones)[0] - worse.scores(ones)[0])


def intervals(
    better: AveragePrecision, worse: AveragePrecision, images: int, seed: int
) -> dict[str, Interval]:
    """Return the interval that edgekit tells, and others that it might."""
    counts = resample_counts(images, resamples=RESAMPLES, seed=seed)
    sides = better.scores(counts), worse.scores(counts)
    told = drop(better, worse, images)
    low, high = drop_interval(*sides)
    width = NormalDist().inv_cdf((1 + LEVEL) / 2) * float((sides[0] - sides[1]).std())
    return {
        "percentile": (low, high),
        "pivotal": (2 * told - high, 2 * told - low),
        "bias-corrected": bias_corrected(sides[0] - sides[1], told),
        "normal": (told - width, told + width),
    }


def bias_corrected(drops: NDArray[np.float64], told: float) -> Interval:
    """Return the bias-corrected percentile interval. Source: Efron and Tibshirani, chapter 14."""
    normal = NormalDist()
    below = ((drops < told).mean() + (drops <= told).mean()) / 2
    shift = 2 * normal.inv_cdf(float(np.clip(below, 1 / len(drops), 1 - 1 / len(drops))))
    tail = normal.inv_cdf((1 + LEVEL) / 2)
    low, high = np.percentile(drops, [100 * normal.cdf(shift + side) for side in (-tail, tail)])
    return float(low), float(high)


if __name__ == "__main__":
    main()
