"""Where the parts of a study run: what a search, a proxy training and the promotion need, and how many fit."""

from dataclasses import dataclass

from degas_ray.config import Config
from degas_ray.study.jobs import Needs, Resources
from degas_ray.study.strategies import GLO_DARTS

ROUNDING = 1e-9  # of sums of shares
Piece = tuple[float, float]  # seconds of a job, and its share of all that is there


@dataclass(frozen=True)
class Placement:
    """What a trial's two halves need, and how many of each fit side by side.

    With equal needs a trial is one job. Otherwise it is two, one after the other, so that neither half holds what it
    does not use.

    Args:
        search: Of a trial's search.
        training: Of its proxy training and scores, and of a re-ranking.
        promotion: Of the full-length training.
        searches: So many fit.
        trainings: So many fit.
    """

    search: Needs
    training: Needs
    promotion: Needs
    searches: int
    trainings: int

    @property
    def apart(self) -> bool:
        """Whether a trial's halves are jobs of their own."""
        return self.search != self.training

    @property
    def concurrent(self) -> int:
        """Jobs side by side, at most."""
        return max(self.searches, self.trainings)

    def share(self, needs: Needs) -> float:
        """Return which part of all that is there a search or a training takes."""
        return 1 / (self.searches if needs == self.search else self.trainings)

    def jobs(self, search: float, training: float, between: float = 0.0) -> list[Piece]:
        """Return the jobs that a search and a training of so many seconds make, one after the other.

        Args:
            search: 0 where there is none, or none any more.
            training: With its scores.
            between: What each job takes besides.
        """
        if not self.apart or not search:
            return [(search + training + between, self.share(self.training))]
        return [(search + between, self.share(self.search)), (training + between, self.share(self.training))]

    def fits(self, running: list[Needs], needs: Needs) -> bool:
        """Return whether there is room for one more; the first always has it."""
        taken = sum(self.share(other) for other in running)
        return not running or taken + self.share(needs) <= 1 + ROUNDING


def place(config: Config, resources: Resources) -> Placement:
    """Return the placement of a study on what a session offers."""
    study = config.study
    whole = float(resources.gpus >= 1)
    training = Needs(study.cpus, whole if study.gpus is None else study.gpus)
    search = training
    if study.strategy == GLO_DARTS:
        search = Needs(
            training.cpus if study.search_cpus is None else study.search_cpus,
            training.gpus if study.search_gpus is None else study.search_gpus,
        )
    gpus = whole if study.promotion_gpus is None else study.promotion_gpus
    return Placement(
        search,
        training,
        Needs(resources.whole(gpus), gpus),
        study.concurrent or resources.fitting(search),
        study.concurrent or resources.fitting(training),
    )
