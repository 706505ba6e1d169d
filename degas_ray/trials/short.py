"""Short trainings under the proxy's settings: of a trial, of a re-ranking, of the yardstick.

The yardstick is the hand-designed ResNet. Its training depends on the images, the proxy's settings and the scores'
alone, so it is trained once for all studies of a home.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from degas_ray.config import Config, identity
from degas_ray.data import Pack
from degas_ray.errors import DivergedError
from degas_ray.files import checked, read_json, write_json
from degas_ray.home import GENERATOR, RESULT, StudyFolder
from degas_ray.results import Rerun, Yardstick
from degas_ray.runs.run import Context, JobAttempt, Place, Report
from degas_ray.runs.work import (
    Trained,
    call_collapsed,
    drop_checkpoints,
    record_genotype,
    record_size,
    scoring_work,
    show_beside,
    training_work,
)
from degas_ray.scores import Scores
from degas_ray.scores.extractors import sha256_of
from degas_ray.seeds import derive
from degas_ray.space import Genotype

YARDSTICK = "resnet"
KEY = "yardstick"  # of its job


def proxy_work(
    config: Config,
    pack: Pack,
    place: Place,
    what: str | Genotype,
    seed: int,
    phase: str,
    goes_on: Callable[[str, float], bool] | None = None,
    keep_last: bool = False,
) -> tuple[Trained, Scores]:
    """Train a generator under the proxy settings and score it, with a picture of real beside generated images."""
    trained = training_work(
        config.proxy,
        what,
        pack,
        place,
        phase=phase,
        seed=seed,
        scores=config.scores,
        goes_on=goes_on,
        keep_last=keep_last,
    )
    scores = scoring_work(
        trained.generator, config.scores, pack, place, phase=phase, seed=seed, step=config.proxy.steps
    )
    trained = call_collapsed(trained, scores, config.scores, pack, place)
    if phase == "proxy":  # a repeated training is measured, not shown
        show_beside(trained, pack, place, seed, config.proxy.steps)
        place.tracker.artifact(place.folder / GENERATOR)
    return trained, scores


def proxy_facts(config: Config, pack: Pack) -> dict[str, Any]:
    """Return all that the scores of a short training depend on, besides its generator and its seed."""
    weights = config.scores.weights  # a setting that says where they are; what they are is in the file
    return {
        **({"weights": sha256_of(weights)} if weights is not None else {}),
        # With the milestones: the distances there are kept beside the scores.
        "proxy": identity(config.proxy) | {"milestones": list(config.proxy.milestones)},
        "scores": identity(config.scores),
        "images": pack.fingerprint,
    }


def rerank_tasks(context: Context, genotypes: Sequence[Genotype]) -> list[dict[str, Any]]:
    """Return the tasks that train each of the first few genotypes with fresh seeds."""
    rerank = context.config.study.rerank
    return [
        {
            "kind": "rerank",
            "folder": str(context.folder.root / "rerank" / f"{genotype.hash}-{index}"),
            "genotype": str(genotype),
            "index": index,
        }
        for genotype in genotypes[: rerank.top]
        for index in range(rerank.seeds)
    ]


def run_rerank(context: Context, pack: Pack, task: Mapping[str, Any], report: Report) -> None:
    """Train and score a genotype once more and write its result."""
    folder, genotype, index = Path(task["folder"]), Genotype.parse(task["genotype"]), task["index"]
    if (folder / RESULT).exists():
        return
    seed = derive(context.config.seed, "rerank", genotype.hash, index)
    name = f"re-rank {genotype.hash[:8]} {index + 1}"
    with JobAttempt(context, folder, "train", name, report, seed) as attempt:
        outcome, scores, _ = _measured(attempt, pack, genotype, seed, "re-ranking")
        seconds, run_id = round(attempt.seconds, 1), attempt.tracker.run_id
        write_json(folder / RESULT, asdict(Rerun(str(genotype), index, seed, outcome, scores, seconds, run_id)))
        drop_checkpoints(folder)  # of a training that diverged


def yardstick_task(folder: StudyFolder) -> dict[str, Any]:
    """Return the task that trains it."""
    return {"kind": KEY, "folder": str(folder.yardstick)}


def take_known(config: Config, pack: Pack, folder: StudyFolder) -> None:
    """Give a study the yardstick that another one of this home has trained, if there is one."""
    file = folder.yardstick / RESULT
    known = read_json(_cache(config, pack, folder.home))
    if known is not None and not file.exists():
        write_json(file, asdict(checked(Yardstick, known, file)))


def run_yardstick(context: Context, pack: Pack, task: Mapping[str, Any], report: Report) -> None:
    """Train and score the yardstick and write its result, here and for the studies to come."""
    folder = Path(task["folder"])
    if (folder / RESULT).exists():
        return
    seed = derive(0, KEY, YARDSTICK)  # not the study's: other studies use it too
    with JobAttempt(context, folder, "train", KEY, report, seed, what=YARDSTICK) as attempt:
        outcome, scores, size = _measured(attempt, pack, YARDSTICK, seed, KEY)
        found = asdict(Yardstick(YARDSTICK, outcome, scores, *size, round(attempt.seconds, 1), context.study))
        write_json(_cache(context.config, pack, context.home), found)
        write_json(folder / RESULT, found)
        drop_checkpoints(folder)  # of a training that diverged


def _measured(
    attempt: JobAttempt, pack: Pack, what: str | Genotype, seed: int, name: str
) -> tuple[str, Mapping[str, Any], tuple[int, int]]:
    """Train a generator and score it, and end its run; return its outcome, its scores if it has some, and its size."""
    config, place = attempt.context.config, attempt.place()
    if isinstance(what, Genotype):
        record_genotype(what, pack.resolution, place)
    size = record_size(what, config.proxy, pack, place, "proxy")
    outcome, scores = "diverged", dict[str, Any]()
    try:
        trained, result = proxy_work(config, pack, place, what, seed, "proxy")
        outcome, scores = trained.outcome, result.to_json()
    except DivergedError as error:
        attempt.say(f"{name}: {error}")
    attempt.tracker.finish(outcome)
    return outcome, scores, size


def _cache(config: Config, pack: Pack, home: Path) -> Path:
    facts = {**proxy_facts(config, pack), "what": YARDSTICK}
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return home / "cache" / "yardsticks" / f"{key}.json"
