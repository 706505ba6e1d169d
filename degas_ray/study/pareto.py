"""Several objectives, all minimised: who is on the Pareto front, and which of them is the knee."""

from collections.abc import Sequence

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
