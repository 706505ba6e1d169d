"""What a study came to, read from its folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from degas_ray.config import Config, stored_config
from degas_ray.files import checked
from degas_ray.space import Genotype
from degas_ray.study import promote
from degas_ray.study.promote import Promotion, Rerun
from degas_ray.study.store import Row, StudyFolder, read_json


@dataclass(frozen=True)
class StudyResult:
    """What a study came to.

    Args:
        name: Of the study.
        folder: ``HOME/studies/NAME``.
        run_id: In MLflow.
        rows: One a trial, by number.
        reruns: The re-rankings.
        winner: The genotype, as text.
        promotion: The champion; ``None`` where ``study.promote`` is off.
        pictures: What they show, to their files.
        next_command: What to type next.
        seconds: Spent in all attempts together.
        front: Numbers of the trials on the Pareto front; none with one objective.
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
    rows, reruns = folder.rows(), read_reruns(folder)
    genotype = chosen or promote.winner(rows, reruns, config)
    promotion = read_promotion(folder, genotype) if genotype is not None else None
    if promotion is not None and promotion.model:
        command = f"degas-ray sample models:/{promotion.model}@{promote.ALIAS} --grid --out samples.png"
    elif genotype is not None:
        command = f"degas-ray promote {folder.name}"
    else:
        command = f"degas-ray tune --resume {folder.name}"
    return StudyResult(
        name=folder.name,
        folder=folder.root,
        run_id=state.get("run_id", ""),
        rows=tuple(rows),
        reruns=tuple(reruns),
        winner=str(genotype) if genotype is not None else "",
        promotion=promotion,
        pictures=promotion.pictures if promotion is not None else {},
        next_command=command,
        seconds=state["spent"]["seconds"],
        front=promote.on_front(rows, config),
    )


def read_reruns(folder: StudyFolder) -> list[Rerun]:
    """Return the re-rankings that are over."""
    files = sorted((folder.root / "rerank").glob("*/result.json"))
    found = [(path, read_json(path)) for path in files]
    return [checked(Rerun, value, path) for path, value in found if value is not None]


def read_promotion(folder: StudyFolder, genotype: Genotype) -> Promotion | None:
    """Return the promotion of a genotype, or ``None`` where there is none yet."""
    path = folder.root / "promotion" / genotype.hash / "result.json"
    value = read_json(path)
    return checked(Promotion, value, path) if value is not None else None
