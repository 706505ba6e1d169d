"""How much of what a judge says is about the generator, and how much about the seed of its training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

LEVEL = 0.95
FEWEST = 3  # groups measured twice or more, below which a reliability says nothing


@dataclass(frozen=True)
class Reliability:
    """The intraclass correlation ICC(1) of repeated measurements, with its interval.

    Args:
        value: Share of the variance of one measurement that lies between the groups; 1 at best, negative where groups
            differ less than chance would have them differ.
        low: Lower end of the 95 % interval.
        high: Upper end.
        within: Standard deviation of one measurement within its group.
        count: Measurements in all.
    """

    value: float
    low: float
    high: float
    within: float
    groups: int
    count: int


def intraclass_correlation(groups: Sequence[Sequence[float]]) -> Reliability | None:
    """Return ICC(1), from the one-way random-effects analysis of variance.

    Shrout and Fleiss (1979), case 1; the interval is exact for groups of one size. For groups of different sizes their
    size is replaced by ``(N - sum of squares / N) / (groups - 1)`` (Searle, 1971), and the interval is approximate.

    Args:
        groups: Measurements of one thing each, such as the log distances of a genotype over its seeds.

    Returns:
        ``None`` where it is not defined: fewer than two groups, none measured twice, or no two values differ.
    """
    kept = [np.asarray(group, float) for group in groups if len(group)]
    sizes = np.array([len(group) for group in kept])
    total, between, within = int(sizes.sum()), len(kept) - 1, int(sizes.sum()) - len(kept)
    if between < 1 or within < 1:
        return None
    everything = np.concatenate(kept)
    means = np.array([group.mean() for group in kept])
    mean_between = float((sizes * (means - everything.mean()) ** 2).sum()) / between
    mean_within = float(sum(((group - group.mean()) ** 2).sum() for group in kept)) / within
    if mean_between + mean_within == 0:
        return None
    size = (total - float((sizes**2).sum()) / total) / between
    ratio = mean_between / mean_within if mean_within else math.inf
    tail = (1 + LEVEL) / 2
    low = ratio / float(scipy.stats.f.ppf(tail, between, within))
    high = ratio * float(scipy.stats.f.ppf(tail, within, between))
    value, low, high = (_share(each, size) for each in (ratio, low, high))
    return Reliability(value, low, high, math.sqrt(mean_within), len(kept), total)


def within_groups(groups: Sequence[Sequence[float]]) -> float | None:
    """Return the pooled standard deviation within groups, ``None`` where none has two values."""
    freedom = sum(len(group) - 1 for group in groups if len(group))
    if freedom < 1:
        return None
    return math.sqrt(sum(float(np.var(group)) * len(group) for group in groups if len(group)) / freedom)


def repeated(groups: Sequence[Sequence[float]]) -> int:
    """Return how many groups were measured twice or more."""
    return sum(len(group) > 1 for group in groups)


def _share(ratio: float, size: float) -> float:
    """Return ``(F - 1) / (F + k - 1)``."""
    return 1.0 if math.isinf(ratio) else (ratio - 1) / (ratio + size - 1)
