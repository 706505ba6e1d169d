"""What rows say: medians with bootstrap intervals, differences, rank agreement, noise.

A group's distance is the median over its generators, each with the mean of its training seeds. What is resampled is
what was drawn independently: the generators, or the seeds where a group has one generator.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from degas_ray.experiments.rows import Row
from degas_ray.scores.reliability import FEWEST, Reliability, intraclass_correlation, repeated

Quantity = Literal["fid", "parameters", "macs"]

RESAMPLES = 9999
RANK_RESAMPLES = 2000
LEVEL = 0.95
FEWEST_RANKED = 4  # generators, below which ranks say nothing


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Args:
        value: Of the sample.
        low: Lower end of the bootstrap interval; ``None`` where one value cannot tell.
        high: Upper end.
        count: Independent values.
    """

    value: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class Units:
    """The independent distances of one group under one training.

    Args:
        values: One a generator, the mean of its seeds; or one a seed where there is one generator.
        of_seeds: Whether they are one generator's seeds.
    """

    values: tuple[float, ...]
    of_seeds: bool = False

    def middle(self, values: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        """Return the group's distance for some values: of a generator the mean of its seeds counts, as of any other."""
        return np.asarray(np.mean(values, axis=axis) if self.of_seeds else np.median(values, axis=axis))


def units(rows: Sequence[Row]) -> Units:
    """Return the independent distances of one group under one training."""
    by_member: dict[str, list[float]] = {}
    for row in rows:
        if row.fid is not None:
            by_member.setdefault(row.member, []).append(row.fid)
    if len(by_member) == 1:
        return Units(tuple(*by_member.values()), of_seeds=True)
    return Units(tuple(float(np.mean(values)) for values in by_member.values()))


def median(own: Units) -> Estimate:
    """Return a group's distance with its percentile interval (Efron, 1979).

    Args:
        own: At least one.
    """
    values = np.asarray(own.values, float)
    middle = float(own.middle(values))
    if len(values) < 2:
        return Estimate(middle, None, None, len(values))
    found = scipy.stats.bootstrap(
        (values,),
        own.middle,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(middle, float(found.low), float(found.high), len(values))


def difference(own: Units, reference: Units) -> Estimate:
    """Return by what share a group's distance lies above that of ``reference``, with its interval."""

    def share(a: NDArray[np.float64], b: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return own.middle(a, axis) / reference.middle(b, axis) - 1

    a, b = np.asarray(own.values, float), np.asarray(reference.values, float)
    count = min(len(a), len(b))
    if count < 2:
        return Estimate(float(share(a, b)), None, None, count)
    found = scipy.stats.bootstrap(
        (a, b),
        share,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(float(share(a, b)), float(found.low), float(found.high), count)


def rank_agreement(first: Sequence[Row], second: Sequence[Row], by: Quantity = "fid") -> Estimate | None:
    """Return Spearman's correlation of what two trainings say of the generators that had both.

    A resample of equal values has no order and counts as 0.

    Args:
        first: Rows of one training.
        second: Rows of another, whose distances count.
        by: What is taken of the first.

    Returns:
        The correlation with its interval, or ``None`` where there are fewer than :data:`FEWEST_RANKED` generators.
    """
    a, b = _by_generator(first, by), _by_generator(second)
    shared = [key for key in a if key in b]
    if len(shared) < FEWEST_RANKED:
        return None
    x, y = np.array([a[key] for key in shared]), np.array([b[key] for key in shared])
    found = scipy.stats.bootstrap(
        (x, y),
        _spearman,
        paired=True,
        n_resamples=RANK_RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(float(_spearman(x, y)), float(found.low), float(found.high), len(shared))


def paired_difference(first: Sequence[Row], second: Sequence[Row]) -> Estimate | None:
    """Return by what share a generator's distance under the second training lies above that under the first.

    Returns:
        The median over the generators that had both, with its interval, or ``None`` where there are fewer than two.
    """
    a, b = _by_generator(first), _by_generator(second)
    ratios = [b[key] / a[key] - 1 for key in a if key in b]
    return median(Units(tuple(ratios))) if len(ratios) > 1 else None


def noise(rows: Sequence[Row]) -> tuple[float, float] | None:
    """Return the spread of one generator's training seeds, and of the generators, as shares of the mean.

    A judge that can tell generators apart has a first number well below the second.

    Returns:
        Both standard deviations, or ``None`` where no two generators have two seeds each.
    """
    by_member: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.fid is not None:
            by_member.setdefault((row.group, row.member), []).append(row.fid)
    several = [values for values in by_member.values() if len(values) > 1]
    if len(several) < 2:
        return None
    mean = float(np.mean([np.mean(values) for values in several]))
    within = float(np.sqrt(np.mean([np.var(values, ddof=1) for values in several])))
    between = float(np.std([np.mean(values) for values in several], ddof=1))
    return within / mean, between / mean


def reliability(rows: Sequence[Row]) -> Reliability | None:
    """Return how far one training seed can be trusted to tell generators apart: ICC(1) of the log distances.

    Returns:
        ``None`` where fewer than :data:`degas_ray.scores.reliability.FEWEST` generators have two seeds.
    """
    by_member: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.fid is not None and row.fid > 0:
            by_member.setdefault((row.group, row.member), []).append(math.log(row.fid))
    if repeated(list(by_member.values())) < FEWEST:
        return None
    return intraclass_correlation(list(by_member.values()))


def spread(rows: Sequence[Row]) -> float | None:
    """Return the standard deviation of all distances, as a share of their mean; ``None`` for fewer than two."""
    values = [row.fid for row in rows if row.fid is not None]
    return float(np.std(values, ddof=1) / np.mean(values)) if len(values) > 1 else None


def _by_generator(rows: Sequence[Row], quantity: Quantity = "fid") -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.fid is not None and (value := getattr(row, quantity)) is not None:
            found.setdefault(row.genotype, []).append(value)
    return {key: float(np.mean(values)) for key, values in found.items()}


def _spearman(x: NDArray[np.float64], y: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    """Return the correlation of ranks along an axis; 0 where all are equal."""
    a, b = (scipy.stats.rankdata(values, axis=axis) for values in (x, y))
    a, b = (ranks - ranks.mean(axis, keepdims=True) for ranks in (a, b))
    scale = np.sqrt((a * a).sum(axis) * (b * b).sum(axis))
    return np.asarray((a * b).sum(axis) / np.where(scale > 0, scale, 1))
