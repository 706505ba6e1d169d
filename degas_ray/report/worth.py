"""What a study's judge is worth: its floor, its yardstick, and how far a seed moves it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from degas_ray.files import read_json
from degas_ray.home import StudyFolder, read_result
from degas_ray.results import Rerun, Row, Yardstick
from degas_ray.scores import Scores
from degas_ray.scores.reliability import FEWEST, Reliability, intraclass_correlation, repeated, within_groups


@dataclass(frozen=True)
class Worth:
    """What a distance of a study is to be read against.

    The reliability is that of fresh seeds where :data:`degas_ray.scores.reliability.FEWEST` genotypes have two of them.
    Otherwise the trials' own seeds count too. Genotypes were chosen by those, so the estimate is biased, mostly down.

    Args:
        floor: Real images against other real ones; ``None`` in studies that did not measure it.
        yardstick: The ResNet under the same short training, where it was trained.
        reliability: Of the log distance of one seed; ``None`` where too few genotypes have two seeds.
        seed_moves: Standard deviation of a training's log distance over its seeds: 0.08 is 8 %.
        own_seeds: Whether both count the trials' own seeds.
    """

    floor: Scores | None = None
    yardstick: Yardstick | None = None
    reliability: Reliability | None = None
    seed_moves: float | None = None
    own_seeds: bool = False

    @property
    def resnet(self) -> float | None:
        """The distance of the yardstick."""
        return self.yardstick.distance if self.yardstick is not None else None

    def relative(self, distance: float | None) -> dict[str, float | None]:
        """Return a distance as multiples of the floor's and of the yardstick's, for the columns of tables."""
        return {
            FLOOR: _ratio(distance, self.floor.fid if self.floor is not None else None),
            RESNET: _ratio(distance, self.resnet),
        }

    def to_json(self) -> dict[str, Any]:
        """Return what a command prints with ``--json``."""
        icc = self.reliability
        return {
            "floor": self.floor.to_json() if self.floor is not None else None,
            "yardstick": {"name": self.yardstick.name, "outcome": self.yardstick.outcome, "distance": self.resnet}
            if self.yardstick is not None
            else None,
            "reliability": {"icc": icc.value, "low": icc.low, "high": icc.high, "genotypes": icc.groups}
            if icc is not None
            else None,
            "seed_moves": self.seed_moves,
            "own_seeds": self.own_seeds,
        }


FLOOR, RESNET = "×floor", "×ResNet"


def read_worth(folder: StudyFolder, rows: Sequence[Row], reruns: Sequence[Rerun]) -> Worth:
    """Return what is known of a study's judge from its folder."""
    floor = read_json(folder.floor)
    groups, own_seeds = _logs({}, reruns), False
    if repeated(groups) < FEWEST:
        groups, own_seeds = _logs({row.genotype: row.distances for row in rows if row.genotype}, reruns), True
    return Worth(
        Scores.from_json(floor) if floor is not None else None,
        read_result(Yardstick, folder.yardstick),
        intraclass_correlation(groups) if repeated(groups) >= FEWEST else None,
        within_groups(groups),
        own_seeds,
    )


def _logs(own: Mapping[str, Sequence[float]], reruns: Sequence[Rerun]) -> list[list[float]]:
    """Return the log distances of each genotype that was trained again, those of its trial before them."""
    found: dict[str, list[float]] = {}
    for rerun in reruns:
        if rerun.scores:
            distances = found.setdefault(rerun.genotype, list(own.get(rerun.genotype, ())))
            distances.append(Scores.from_json(rerun.scores).fid)
    return [[math.log(value) for value in values if value > 0] for values in found.values()]


def times(ratio: float | None) -> str:
    """Return a multiple of the floor's or the yardstick's distance as text."""
    if ratio is None:
        return ""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"


def _ratio(value: float | None, unit: float | None) -> float | None:
    return value / unit if value is not None and unit else None
