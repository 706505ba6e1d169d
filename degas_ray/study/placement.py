"""Where the parts of a study run: what a search, a proxy training and the promotion need, and how many fit."""

from collections.abc import Iterator
from dataclasses import dataclass

from degas_ray.config import Config
from degas_ray.cores import usable_cores
from degas_ray.runs.jobs import Needs, Resources
from degas_ray.trials.strategies import GLO_DARTS

ROUNDING = 1e-9  # of sums of shares
CPU, GPU = "CPU", "GPU"
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
    def workers(self) -> int:
        """Processes that share each batch of the full-length training: one for each of its GPUs."""
        return max(1, int(self.promotion.gpus))

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


@dataclass(frozen=True)
class Misfit:
    """A setting that asks for more than any host has: Ray would wait for such a host for ever.

    Args:
        key: The setting's dotted path.
        wanted: What it asks for.
        room: The most that a host has.
        unit: CPU or GPU.
        beside: GPUs that the host must have too.
    """

    key: str
    wanted: float
    room: float
    unit: str
    beside: float = 0.0

    def __str__(self) -> str:
        beside = f" beside {_count(self.beside, GPU)}" if self.beside else ""
        return f"{self.key}: got {self.wanted:g}, but no host has more than {_count(self.room, self.unit)}{beside}"

    @property
    def fault(self) -> str:
        """The same with what to do about it."""
        return f"{self}; begin with --set {self.key}={self.room:g}, or where a host has as many"


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


def threads_of(config: Config) -> dict[str, int]:
    """Return the threads of a study's loops by section, before Ray is asked what there is: a promotion has them all."""
    study = config.study
    training = Needs(study.cpus).threads
    search = training if study.search_cpus is None else Needs(study.search_cpus).threads
    return {"search": search, "proxy": training, "scores": training, "full": usable_cores()}


def misfits(config: Config, placement: Placement, resources: Resources, *, trials: bool = True) -> tuple[Misfit, ...]:
    """Return what a study asks for and no host has, by setting.

    Args:
        config: The study's.
        placement: Of it on ``resources``.
        resources: What there is; nothing is said where its hosts are not known.
        trials: Whether there will be any, or the promotion alone.
    """
    return tuple(dict.fromkeys(_misfits(config, placement, resources.hosts, trials))) if resources.hosts else ()


def _misfits(
    config: Config, placement: Placement, hosts: tuple[tuple[float, float], ...], trials: bool
) -> Iterator[Misfit]:
    study = config.study
    parts: list[tuple[Needs, str, str]] = []
    if trials:
        parts.append((placement.training, "study.cpus", "study.gpus"))
    if trials and placement.apart:
        cpus_key = "study.cpus" if study.search_cpus is None else "study.search_cpus"
        gpus_key = "study.gpus" if study.search_gpus is None else "study.search_gpus"
        parts.append((placement.search, cpus_key, gpus_key))
    if study.promote or not trials:
        parts.append((placement.promotion, "", "study.promotion_gpus"))  # its CPUs are those of a host that there is
    for needs, cpus_key, gpus_key in parts:
        most = max(gpus for _, gpus in hosts)
        if needs.gpus > most:
            yield Misfit(gpus_key, needs.gpus, most, GPU)
            continue
        most = max(cpus for cpus, gpus in hosts if gpus >= needs.gpus)
        if cpus_key and needs.cpus > most:
            yield Misfit(cpus_key, needs.cpus, most, CPU, needs.gpus)


def _count(number: float, unit: str) -> str:
    return f"{number:g} {unit}{'' if number == 1 else 's'}"
