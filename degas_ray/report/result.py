"""What a study came to, read from its folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from degas_ray.config import Config, stored_config
from degas_ray.home import StudyFolder
from degas_ray.report.standing import standing
from degas_ray.report.verdict import verdict
from degas_ray.report.worth import Worth
from degas_ray.results import Promotion, Rerun, Row
from degas_ray.space import Genotype
from degas_ray.trials.order import on_front
from degas_ray.trials.promotion import ALIAS

EXTEND = 4  # trials more, where all candidates have collapsed


@dataclass(frozen=True)
class StudyResult:
    """What a study came to.

    Args:
        name: Of the study.
        folder: ``HOME/studies/NAME``.
        run_id: In MLflow.
        rows: One a trial, by number.
        reruns: The re-rankings.
        winner: The champion's genotype, or that of the candidate which comes first, as text.
        promotion: The champion, or the winner's training where all that were promoted have collapsed; ``None`` where
            ``study.promote`` is off.
        pictures: What they show, to their files.
        next_command: What to type next.
        seconds: Spent in all attempts together.
        front: Numbers of the trials on the Pareto front; none with one objective.
        collapsed: The promotions that are no champions, in order.
        verdict: How good the champion is, in sentences; the first words say where there is none.
        worth: What its distance is to be read against.
    """

    name: str
    folder: Path
    run_id: str
    rows: tuple[Row, ...]
    reruns: tuple[Rerun, ...]
    winner: str
    promotion: Promotion | None
    pictures: Mapping[str, str]
    next_command: str
    seconds: float
    front: frozenset[int] = frozenset()
    collapsed: tuple[Promotion, ...] = ()
    verdict: tuple[str, ...] = ()
    worth: Worth = field(default_factory=Worth)

    @property
    def crowned(self) -> bool:
        """Whether it has a champion, or was not asked for one."""
        return self.promotion is None or not self.promotion.collapsed


def load_study(home: Path, name: str) -> StudyResult:
    """Return what is known of a study from its folder, finished or not.

    Raises:
        InputError: Where there is none.
    """
    folder = StudyFolder(home.absolute(), name)
    state = folder.read()
    return collect(folder, state, stored_config(state, folder.file))


def collect(
    folder: StudyFolder, state: Mapping[str, Any], config: Config, chosen: Genotype | None = None
) -> StudyResult:
    """Read a study's folder.

    Args:
        folder: The study's.
        state: Its ``study.json``.
        config: Its settings.
        chosen: What was promoted; the winner by default.
    """
    now = standing(folder, config, chosen)
    genotype, promotion = now.winner, now.promotion
    if promotion is not None and promotion.model:
        command = f"degas-ray sample models:/{promotion.model}@{ALIAS} --grid --out samples.png"
    elif now.exhausted:
        command = f"degas-ray tune --resume {folder.name} --extend-trials {EXTEND}"
    elif now.unfinished:
        command = f"degas-ray tune --resume {folder.name}"
    elif genotype is not None:
        command = f"degas-ray promote {folder.name}"
    else:
        command = f"degas-ray tune --resume {folder.name}"
    return StudyResult(
        name=folder.name,
        folder=folder.root,
        run_id=state.get("run_id", ""),
        rows=now.rows,
        reruns=now.reruns,
        winner=str(genotype) if genotype is not None else "",
        promotion=promotion,
        pictures=promotion.pictures if promotion is not None else {},
        next_command=command,
        seconds=state["spent"]["seconds"],
        front=on_front(now.rows, config),
        collapsed=now.collapsed,
        verdict=tuple(verdict(now, config)),
        worth=now.worth,
    )
