"""Which pieces of work an experiment has: each with its settings, its key and, once it is known, its generator."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from degas_ray.config import Config
from degas_ray.experiments.files import Experiment, numbers
from degas_ray.experiments.rows import Row, finished, search_key, study_key, training_key
from degas_ray.gan import HANDMADE
from degas_ray.search import unlearnt
from degas_ray.space import find_genotype


@dataclass(frozen=True)
class Member:
    """One generator of a group.

    Args:
        group: The group's name.
        name: A seed, or the generator's name.
        kind: search, study, random or named.
        config: Under which it is found.
        what: Its genotype's text or its name; empty where it is still to be found.
        key: Of the search or the study; empty without one.
    """

    group: str
    name: str
    kind: str
    config: Config
    what: str = ""
    key: str = ""


@dataclass(frozen=True)
class Task:
    """One training.

    Args:
        member: Of which generator.
        training: Its name.
        seed: Of the training.
        config: Only its ``full`` and ``scores`` are used.
        what: The genotype's text, or the generator's name.
        key: Hash of the settings and the generator; equal work has an equal key.
    """

    member: Member
    training: str
    seed: int
    config: Config
    what: str
    key: str


def members_of(experiment: Experiment) -> Iterator[Member]:
    """Yield all generators, found or not, in the file's order; the first seeds of every group come first."""
    groups = {name: list(_group(experiment, name)) for name in experiment.generators}
    for place in range(max(map(len, groups.values()))):
        for members in groups.values():
            yield from members[place : place + 1]


def found_by(member: Member, rows: Sequence[Row]) -> str:
    """Return the generator of a member: known from the start, or from the row of its search or study."""
    if member.what:
        return member.what
    row = finished(rows, member.key)
    return row.genotype if row is not None else ""


def tasks_of(experiment: Experiment, training: str, found: Mapping[tuple[str, str], str]) -> Iterator[Task]:
    """Yield the trainings of one name, all generators with one seed before the next seed.

    Args:
        experiment: Of which.
        training: Its name.
        found: Group and member to genotype or name, of those that are to be trained.
    """
    settings, base = experiment.trainings[training], experiment.training(training)
    groups = experiment.groups_of(training)
    chosen = [member for member in members_of(experiment) if member.group in groups]
    for seed in numbers(settings.seeds):
        config = base.model_copy(update={"seed": base.seed + seed})
        for member in chosen:
            what = found.get((member.group, member.name), "")
            if what:
                yield Task(member, training, seed, config, what, training_key(config, what))


def leaders(scores: Mapping[tuple[str, str], float], top: int) -> set[tuple[str, str]]:
    """Return the ``top`` members of every group with the smallest scores.

    Args:
        scores: Group and member to score.
        top: Of each group.
    """
    chosen: set[tuple[str, str]] = set()
    for group in dict.fromkeys(name for name, _ in scores):
        own = sorted((key for key in scores if key[0] == group), key=lambda key: (scores[key], key))
        chosen |= set(own[:top])
    return chosen


def planned_trainings(experiment: Experiment) -> int:
    """Return how many trainings there will be."""
    total = 0
    for name, training in experiment.trainings.items():
        sizes = [len(experiment.generators[group].members) for group in experiment.groups_of(name)]
        if training.leaders is not None:
            sizes = [min(size, training.leaders.top) for size in sizes]
        total += sum(sizes) * len(numbers(training.seeds))
    return total


def _group(experiment: Experiment, name: str) -> Iterator[Member]:
    group, base = experiment.generators[name], experiment.finding(name)
    if group.kind == "named":
        for what in group.names:
            yield Member(name, what, group.kind, base, what if what in HANDMADE else str(find_genotype(what)))
        return
    by_chance = unlearnt(base.search, base.prune) if group.kind == "random" else None
    for seed in numbers(group.seeds):
        config = base.model_copy(update={"seed": base.seed + seed})
        if by_chance is not None:
            yield Member(name, str(seed), group.kind, config, str(by_chance(config.seed)))
        elif group.kind == "search":
            yield Member(name, str(seed), group.kind, config, key=search_key(config))
        else:
            # The trainings that compare studies are the experiment's own.
            study = config.study.model_copy(update={"promote": False, "yardstick": False})
            config = config.model_copy(update={"study": study})
            yield Member(name, str(seed), group.kind, config, key=study_key(config))
