"""What can be compared: a study's champion, a training, a trial, a genotype; each with its scores and its size."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from degas_ray.config import Config, TrainConfig, stored_config
from degas_ray.errors import GenotypeError, InputError
from degas_ray.files import path_of, read_json
from degas_ray.gan import build_generator, count_sizes, load_generator
from degas_ray.home import GENERATOR, RESULT, SCORES, STUDY, TASK, StudyFolder, list_studies
from degas_ray.report.result import load_study
from degas_ray.scores import Scores
from degas_ray.space import find_genotype
from degas_ray.tracking import open_tracking, tags

OURS = "this home"
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_SHOWN = 8  # names that an error lists


@dataclass(frozen=True)
class Entry:
    """One line of a comparison.

    Args:
        name: Of the run, the study or the method.
        source: Who says so: :data:`OURS` for what is read here.
        dataset: The images; empty for a genotype that was not trained.
        supervised: Whether labels were used.
        is_mean: Inception score; ``None`` where other classes than Inception's gave it, for then it is none.
        is_std: Its spread over the splits.
        distance: Fréchet distance, FID where the protocol says so.
        measured: How, in words.
        parameters: Of the generator.
        macs: Multiply-adds for one image.
        gpu_days: Of the search, where GPUs did it.
        hours: Of the search, on whatever machine.
        scores: With their protocol; ``None`` for published lines and where there are none.
    """

    name: str
    source: str
    dataset: str = ""
    supervised: bool = False
    is_mean: float | None = None
    is_std: float | None = None
    distance: float | None = None
    measured: str = ""
    parameters: int | None = None
    macs: int | None = None
    gpu_days: float | None = None
    hours: float | None = None
    scores: Scores | None = None

    @property
    def ours(self) -> bool:
        """Whether it was read here."""
        return self.source.startswith(OURS)

    @property
    def protocol_hash(self) -> str:
        """Entries with the same one may be ranked; empty where it is not known."""
        return self.scores.protocol.hash if self.scores is not None else ""

    @property
    def protocol_json(self) -> str | None:
        """The whole protocol."""
        return json.dumps(asdict(self.scores.protocol)) if self.scores is not None else None


def find_entries(names: tuple[str, ...], home: Path) -> list[Entry]:
    """Return the entries that names mean: runs, studies, MLflow run ids, genotypes; without names all of the home's.

    Raises:
        InputError: Where a name means nothing, with what there is.
    """
    if names:
        return [_find(name, home) for name in dict.fromkeys(names)]
    studies = [study_entry(home, name) for name in list_studies(home) if _has_generator(home, name)]
    return [*studies, *(_of_training(home / "runs" / name) for name in _trainings(home))]


def _find(name: str, home: Path) -> Entry:
    path_of(name)
    plain = name.replace(".", "").replace("-", "").replace("_", "").isalnum()  # a folder's name and no path
    if plain and (home / "runs" / name / TASK).is_file():
        return _of_training(home / "runs" / name)
    if plain and (home / "studies" / name / STUDY).is_file():
        return study_entry(home, name)
    if _RUN_ID.fullmatch(name):
        return _of_run(name, home)
    try:
        genotype = find_genotype(name)
    except GenotypeError as error:
        if "=" in name or Path(name).suffix == ".json":
            raise
        known = [*list_studies(home), *_trainings(home)]
        there = ", ".join(known[:_SHOWN]) or "none yet; 'degas-ray tune' makes one"
        raise InputError(
            f"got {name[:80]!r}, expected a run, a study, an MLflow run id or a genotype; runs and studies in {home}: "
            f"{there}"
        ) from error
    parameters, macs = count_sizes(build_generator(genotype, TrainConfig.model_validate(_PAPER), 32))
    return Entry(name, f"{OURS}; width 128, 32x32", parameters=parameters, macs=macs)


_PAPER = {"width": 128, "latent_dim": 128}


def _trainings(home: Path) -> list[str]:
    return sorted(path.parent.name for path in (home / "runs").glob(f"*/{SCORES}"))


def _has_generator(home: Path, name: str) -> bool:
    return bool(load_study(home, name).winner)


def _of_training(folder: Path) -> Entry:
    task, scores = read_json(folder / TASK) or {}, read_json(folder / SCORES)
    if not isinstance(task.get("config"), dict) or task.get("role") != "train":
        raise InputError(f"{folder.name} is no training; compare trainings, studies or genotypes")
    if scores is None or not (folder / GENERATOR).is_file():
        raise InputError(f"{folder.name} has no scores yet; go on with 'degas-ray train --resume {folder.name}'")
    generator, _ = load_generator(folder / GENERATOR)
    parameters, macs = count_sizes(generator)
    sizes, config = {"parameters": parameters, "macs": macs}, stored_config(task, folder / TASK)
    return _scored(folder.name, OURS, config, "full", Scores.from_json(scores), sizes)


def study_entry(home: Path, name: str) -> Entry:
    """Return the line of a study: its champion, or its winner after the short training.

    Raises:
        InputError: Where there is no such study, or none of its trials has a score.
    """
    study = StudyFolder(home.absolute(), name)
    result, state = load_study(home, name), study.read()
    spent, config = state["spent"], stored_config(state, study.file)
    cost = {"hours": spent["seconds"] / 3600, "gpu_days": spent["gpu_seconds"] / 86400 or None}
    if result.promotion is not None:
        sizes = {"parameters": result.promotion.parameters, "macs": result.promotion.macs}
        scores = Scores.from_json(result.promotion.scores)
        source = f"{OURS}; champion of {name}" if result.crowned else f"{OURS}; COLLAPSED, no champion of {name}"
        return _scored(name, source, config, "full", scores, sizes | cost)
    row = next((row for row in result.rows if row.genotype == result.winner and row.scores), None)
    if row is None:
        raise InputError(f"study {name} has no scores yet; go on with 'degas-ray tune --resume {name}'")
    sizes = {"parameters": row.parameters, "macs": row.macs}
    source = f"{OURS}; winner of {name}, short training"
    return _scored(name, source, config, "proxy", Scores.from_json(row.scores), sizes | cost)


def _of_run(run_id: str, home: Path) -> Entry:
    if not (home / "mlflow.db").exists():
        raise InputError(f"{run_id} is looked up in MLflow, but {home} holds no runs; give the right --home")
    run = open_tracking(home).find_run(run_id)
    folder = Path(run.tags.get(tags.FOLDER, ""))
    if run.role == "study":
        return study_entry(home, run.key)
    if run.role == "train" and (folder / TASK).is_file():
        return _of_training(folder)
    value = read_json(folder / RESULT) if folder.is_absolute() else None
    if value is None or not value.get("scores"):
        raise InputError(f"run {run_id} ({run.name}) has no scores; choose a trial, a training or a study")
    study = StudyFolder(home.absolute(), run.tags.get(tags.STUDY, ""))
    phase: Literal["proxy", "full"] = "full" if run.role == "promotion" else "proxy"
    sizes = {key: value[key] for key in ("parameters", "macs") if value.get(key)}
    config = stored_config(study.read(), study.file)
    return _scored(run.name, OURS, config, phase, Scores.from_json(value["scores"]), sizes)


def _scored(
    name: str, source: str, config: Config, phase: Literal["proxy", "full"], scores: Scores, facts: Mapping[str, Any]
) -> Entry:
    protocol = scores.protocol
    words = f"{protocol.distance_name} on {protocol.features_name}" if not protocol.is_fid else "FID"
    words += f", {protocol.n_fake:,} against {protocol.n_real:,}, {protocol.splits} splits [{protocol.hash}]"
    return Entry(
        name=name,
        source=source,
        dataset=config.dataset,
        supervised=getattr(config, phase).supervised,
        is_mean=scores.is_mean if protocol.is_fid else None,
        is_std=scores.is_std if protocol.is_fid else None,
        distance=scores.fid,
        measured=words,
        scores=scores,
        **facts,
    )
