"""The order of a study's genotypes: by the objective or the Pareto front, by fresh seeds, and behind what collapsed."""

import math
from collections.abc import Sequence
from statistics import fmean

from degas_ray.config import Config
from degas_ray.results import COLLAPSED, Rerun, Row
from degas_ray.scores import Scores
from degas_ray.space import Genotype

Point = Sequence[float]


def front(points: Sequence[Point]) -> list[int]:
    """Return the indices of the points that no other one beats in every objective."""
    found: list[int] = []
    # What beats a point comes before it in this order, and so does a point of the front that beats it too.
    for index in sorted(range(len(points)), key=lambda index: tuple(points[index])):
        if not any(_dominates(points[other], points[index]) for other in found):
            found.append(index)
    return sorted(found)


def ranked(points: Sequence[Point]) -> list[int]:
    """Return all indices, best first: by value for one objective, else the front first, nearest to its ideal corner.

    The knee is the point of the front nearest to the corner that has the best value in every objective, each scaled to
    the front's range; with several fronts, those behind follow in the same way.
    """
    if all(len(point) == 1 for point in points):
        return sorted(range(len(points)), key=lambda index: (points[index][0], index))
    left, order = list(range(len(points))), []
    while left:
        chosen = [left[index] for index in front([points[index] for index in left])]
        order += sorted(chosen, key=lambda index: (_distance(points, chosen, index), index))
        gone = set(chosen)
        left = [index for index in left if index not in gone]
    return order


def _dominates(a: Point, b: Point) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def _distance(points: Sequence[Point], chosen: Sequence[int], index: int) -> float:
    total = 0.0
    for axis in range(len(points[index])):
        values = [points[other][axis] for other in chosen]
        low, high = min(values), max(values)
        total += ((points[index][axis] - low) / (high - low)) ** 2 if high > low else 0.0
    return total


def candidates(rows: Sequence[Row], config: Config) -> list[Genotype]:
    """Return the distinct genotypes with scores, best first: by the objective, or by closeness to the Pareto knee.

    Those that have collapsed come behind all others.
    """
    best: dict[str, Row] = {}
    for sound in (True, False):
        scored = [row for row in rows if row.score is not None and row.sound == sound]
        for index in ranked([row.objectives(config.study.objectives) for row in scored]):
            best.setdefault(Genotype.parse(scored[index].genotype).hash, scored[index])
    return [Genotype.parse(row.genotype) for row in best.values()]


def on_front(rows: Sequence[Row], config: Config) -> frozenset[int]:
    """Return the numbers of the trials on the Pareto front; none with one objective, where it would be the best."""
    objectives = config.study.objectives
    sound = [row for row in rows if row.sound]
    scored = sound or [row for row in rows if row.score is not None]
    if len(objectives) < 2:
        return frozenset()
    return frozenset(scored[index].number for index in front([row.objectives(objectives) for row in scored]))


def fresh_scores(reruns: Sequence[Rerun]) -> dict[str, list[float]]:
    """Return the distances that each genotype's fresh trainings came to, the best on average first."""
    found: dict[str, list[float]] = {rerun.genotype: [] for rerun in reruns}
    for rerun in reruns:
        if rerun.scores:
            found[rerun.genotype].append(Scores.from_json(rerun.scores).fid)
    return dict(sorted(found.items(), key=lambda item: fmean(item[1]) if item[1] else math.inf))


def promotion_order(rows: Sequence[Row], reruns: Sequence[Rerun], config: Config) -> list[Genotype]:
    """Return the genotypes with scores in the order in which they are promoted, each where those before collapse.

    First come those that were trained again, by their fresh seeds alone, since the best of many noisy scores flatters;
    then the others by their trials. Whatever collapsed, in most of its fresh trainings or without any in its trial,
    comes behind all that did not.

    Args:
        rows: The trials.
        reruns: The re-rankings; where there are none, the trials decide.
        config: Objectives.
    """
    order = candidates(rows, config)
    fresh = {genotype: found for genotype, found in fresh_scores(reruns).items() if found}
    known = [genotype for genotype in order if str(genotype) in fresh]
    sizes = {row.genotype: row for row in rows if row.score is not None}
    points = []
    for genotype in known:
        distances, row = fresh[str(genotype)], sizes[str(genotype)]
        values = {"fid": fmean(distances), "parameters": row.parameters, "macs": row.macs}
        points.append(tuple(float(values[name]) for name in config.study.objectives))
    again = [known[index] for index in ranked(points)]
    sound = {row.genotype for row in rows if row.sound} - fresh.keys()
    sound |= {genotype for genotype in fresh if not _mostly_collapsed(genotype, reruns)}
    whole = again + [genotype for genotype in order if str(genotype) not in fresh]
    return sorted(whole, key=lambda genotype: str(genotype) not in sound)


def winner(rows: Sequence[Row], reruns: Sequence[Rerun], config: Config) -> Genotype | None:
    """Return the first genotype of :func:`promotion_order`, ``None`` where no trial has a score."""
    return next(iter(promotion_order(rows, reruns, config)), None)


def _mostly_collapsed(genotype: str, reruns: Sequence[Rerun]) -> bool:
    outcomes = [rerun.outcome == COLLAPSED for rerun in reruns if rerun.genotype == genotype and rerun.scores]
    return 2 * sum(outcomes) > len(outcomes)
