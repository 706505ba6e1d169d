"""A trial: search, pruning, proxy training, scores. The only place that walks the whole way from images to a number."""

import hashlib
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from degas_ray.config import Config
from degas_ray.data import Pack
from degas_ray.errors import DivergedError, Interrupted
from degas_ray.files import read_json, write_json
from degas_ray.home import FOUND, GENERATOR, RESULT
from degas_ray.results import COLLAPSED, Row
from degas_ray.runs.milestones import HalvedError
from degas_ray.runs.run import Context, JobAttempt, Report
from degas_ray.runs.work import (
    drop_checkpoints,
    record_genotype,
    record_size,
    score_tags,
    search_work,
)
from degas_ray.scores import Scores
from degas_ray.seeds import derive
from degas_ray.space import Genotype
from degas_ray.tracking import tags
from degas_ray.trials.ranges import apply
from degas_ray.trials.short import proxy_facts, proxy_work
from degas_ray.trials.strategies import GLO_DARTS, genotype_of, space_of

RUNGS = (0.25, 0.5)  # milestones of early stopping where none are named
FEW = 2  # distances to compare with, below which nothing is ended


@dataclass(frozen=True)
class Judged:
    """What one proxy training came to.

    Args:
        outcome: completed or collapsed.
        scores: With their protocol.
        milestones: Generator steps to Fréchet distances along the way.
        source: Which work this was, as a person would name it.
    """

    outcome: str
    scores: Scores
    milestones: Mapping[str, float]
    source: str


def trial_task(context: Context, number: int, params: Mapping[str, Any], seen: int = 0) -> dict[str, Any]:
    """Return the task of a trial, all of it; with ``until`` set to ``search`` it leaves the rest to another job.

    Args:
        context: The study's.
        number: Optuna's.
        params: The tuned values.
        seen: Trials that have ended for certain, the first so many: early stopping compares with them alone, so that
            it does not depend on which trial happens to be faster.
    """
    folder = context.folder.trial(number)
    facts = {"number": number, "params": dict(params), "seen": seen}
    return {"kind": "trial", "folder": str(folder), **facts, "until": ""}


def run_trial(context: Context, pack: Pack, task: Mapping[str, Any], report: Report) -> None:
    """Do a trial and write ``result.json``; nothing happens where it is there already."""
    number, params, folder = task["number"], task["params"], Path(task["folder"])
    if (folder / RESULT).exists():
        return
    config = _with_milestones(apply(context.config, params))
    seed = derive(config.seed, "trial", number)
    row = Row(number, "completed", params, seed)
    with JobAttempt(context, folder, "trial", f"trial {number}", report, seed, config, trial=number) as attempt:
        try:
            row = _found(config, pack, attempt, row)
            if row.outcome == "completed" and task["until"] == "search":
                raise Interrupted("the search has ended; the training is a job of its own")
            row = _judged_by(config, pack, attempt, row, task["seen"]) if row.outcome == "completed" else row
        except HalvedError as error:
            row = replace(row, outcome="pruned", milestones=error.milestones, error=str(error))
        except DivergedError as error:
            row = replace(row, outcome="diverged", error=str(error))
        row = replace(row, seconds=round(attempt.seconds, 1), run_id=attempt.tracker.run_id)
        attempt.tracker.metrics({"trial/seconds": row.seconds}, 0)
        # The run ends before the result is there: a trial with a result is never looked at again.
        attempt.tracker.finish(row.outcome)
        write_json(folder / RESULT, row.to_json())
        drop_checkpoints(folder)  # of a training that diverged or was pruned


def _found(config: Config, pack: Pack, attempt: JobAttempt, row: Row) -> Row:
    """Search and prune, or take the genotype that was proposed; and look at its size."""
    if config.study.strategy == GLO_DARTS:
        told = (attempt.folder / FOUND).exists()
        found = search_work(config, pack, attempt.place(), seed=derive(row.seed, "search"))
        for warning in () if told else found.warnings:
            attempt.say(f"trial {row.number}: {warning}")
        genotype, row = found.genotype, replace(row, entropy=found.entropy)
    else:
        genotype = genotype_of(row.params, space_of(config))
        attempt.tracker.params(row.params)
        record_genotype(genotype, pack.resolution, attempt.place())
    parameters, macs = record_size(genotype, config.proxy, pack, attempt.place(), "proxy")
    row = replace(row, genotype=str(genotype), n=genotype.n, parameters=parameters, macs=macs)
    if config.study.max_parameters is not None and parameters > config.study.max_parameters:
        error = f"{parameters:,} parameters, more than study.max_parameters = {config.study.max_parameters:,}"
        return replace(row, outcome="pruned", error=error)
    return row


def _with_milestones(config: Config) -> Config:
    """Return ``config`` with milestones in the proxy training where early stopping needs some."""
    if not config.study.early_stop or config.proxy.milestones:
        return config
    return config.model_copy(update={"proxy": config.proxy.model_copy(update={"milestones": RUNGS})})


def better_half(rows: Sequence[Row], step: str, distance: float) -> bool:
    """Return whether a training may go on: its distance at ``step`` is in the better half of those that got there.

    Successive halving (Jamieson and Talwalkar, 2016) as it can be done with trials that come one after the other.
    """
    others = [row.milestones[step] for row in rows if step in row.milestones]
    return len(others) < FEW or distance <= statistics.median(others)


def _judged_by(config: Config, pack: Pack, attempt: JobAttempt, row: Row, seen: int) -> Row:
    """Train the genotype under the proxy settings and score it, as often as wanted."""
    name, genotype = f"trial {row.number}", Genotype.parse(row.genotype)
    goes_on = None
    if config.study.early_stop:
        goes_on = partial(better_half, [other for other in attempt.context.folder.rows() if other.number < seen])
    judged = [
        _judged(config, pack, attempt, genotype, repeat, name, goes_on if repeat == 0 else None)
        for repeat in range(config.study.repeats)
    ]
    reused = sorted({item.source for item in judged} - {name})
    if reused:
        attempt.tracker.tags({tags.REUSED: ", ".join(reused)})
    first = judged[0]
    return replace(
        row,
        outcome=COLLAPSED if any(item.outcome == COLLAPSED for item in judged) else "completed",
        scores=first.scores.to_json(),
        distances=tuple(item.scores.fid for item in judged),
        milestones=first.milestones,
        reused=", ".join(reused),
    )


def _judged(
    config: Config,
    pack: Pack,
    attempt: JobAttempt,
    genotype: Genotype,
    repeat: int,
    name: str,
    goes_on: Callable[[str, float], bool] | None,
) -> Judged:
    """Train and score a genotype, or find that this has been done."""
    # The seed is the genotype's own: training it again would give the same, so its scores can be reused exactly.
    seed = derive(config.seed, "proxy", genotype.hash, repeat)
    file = attempt.context.folder.trained(_key(config, pack, genotype, seed))
    if (done := read_json(file)) is not None:
        judged = Judged(done["outcome"], Scores.from_json(done["scores"]), done["milestones"], done["source"])
        phase = "proxy" if repeat == 0 else f"proxy{repeat + 1}"
        attempt.tracker.metrics(
            {f"{phase}/{key}": value for key, value in judged.scores.recorded().items()}, config.proxy.steps
        )
        if repeat == 0:
            attempt.tracker.tags(score_tags(judged.scores))
            _show_again(attempt, judged.source)
        return judged
    place = attempt.place(attempt.folder if repeat == 0 else attempt.folder / f"repeat-{repeat + 1}")
    phase = "proxy" if repeat == 0 else f"proxy{repeat + 1}"
    keep_last = config.study.continue_winner and repeat == 0
    trained, scores = proxy_work(config, pack, place, genotype, seed, phase, goes_on, keep_last)
    write_json(
        file,
        {
            "outcome": trained.outcome,
            "scores": scores.to_json(),
            "milestones": dict(trained.milestones),
            "source": name,
            "genotype": str(genotype),
        },
    )
    return Judged(trained.outcome, scores, trained.milestones, name)


def _show_again(attempt: JobAttempt, source: str) -> None:
    """Record the pictures and the generator of the training whose scores are reused: they are this one's too."""
    folder = attempt.context.folder.trial(int(source.rpartition(" ")[2]))
    for path in sorted((folder / "images").glob("*.png")):
        series, _, step = path.stem.rpartition("-")
        with Image.open(path) as picture:
            attempt.tracker.image(np.asarray(picture.convert("RGB")), series, int(step))
    if (file := folder / GENERATOR).exists():
        attempt.tracker.artifact(file)


def _key(config: Config, pack: Pack, genotype: Genotype, seed: int) -> str:
    facts = {**proxy_facts(config, pack), "genotype": genotype.hash, "seed": seed}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
