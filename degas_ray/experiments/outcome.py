"""From what a search, a study or a training returned to rows."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from degas_ray.config import Config
from degas_ray.experiments.images import resolution_of
from degas_ray.experiments.plan import Member, Task
from degas_ray.experiments.rows import Row, plain_settings
from degas_ray.results import Row as TrialRow
from degas_ray.scores import Scores
from degas_ray.space import Genotype
from degas_ray.study import SearchRun, StudyResult, TrainRun

DIGITS = 1  # of a study's seconds


def searched(base: Row, run: SearchRun, config: Config, seconds: float) -> Row:
    """Return the row of a search."""
    found = run.found
    return replace(
        base,
        **_genotype(str(found.genotype)),
        resolution=resolution_of(config),
        parameters=run.parameters,
        macs=run.macs,
        entropy_start=found.entropy[0],
        entropy_end=found.entropy[1],
        skip_share=found.skip_share,
        margin=found.margin,
        settings=plain_settings(config),
        seconds=seconds,
        run=f"runs/{run.name}",
        run_id=run.run_id,
    )


def trained(base: Row, run: TrainRun, task: Task, milestones: Mapping[str, float], seconds: float) -> Row:
    """Return the row of a training."""
    return replace(
        base,
        **_genotype(task.what),
        **_scores(run.scores),
        outcome=run.outcome,
        resolution=resolution_of(task.config),
        supervised=task.config.full.supervised,
        parameters=run.parameters,
        macs=run.macs,
        milestones=json.dumps(dict(milestones)),
        settings=plain_settings(task.config),
        seconds=seconds,
        run=f"runs/{run.name}",
        run_id=run.run_id,
    )


def studied(base: Row, result: StudyResult, config: Config) -> list[Row]:
    """Return the row of a study, and one of each of its trials."""
    won = next((row for row in result.rows if row.genotype == result.winner), None)
    winner = replace(
        base,
        **_genotype(result.winner),
        **(_trial_scores(won) if won is not None else {}),
        resolution=resolution_of(config),
        settings=plain_settings(config),
        seconds=round(result.seconds, DIGITS),
        run=f"studies/{result.name}",
        run_id=result.run_id,
    )
    return [winner, *(_trial(winner, row) for row in result.rows)]


def failed(base: Row, outcome: str, error: str, seconds: float, run: str) -> Row:
    """Return the row of what came to nothing; it is over all the same, since it would fail again."""
    return replace(base, outcome=outcome, error=error, seconds=seconds, run=run)


def shared(row: Row, task: Task) -> Row:
    """Return a training's row as that of ``task``, which is the same work."""
    return replace(shared_search(row, task.member), training=task.training, seed=task.seed)


def shared_search(row: Row, member: Member) -> Row:
    """Return a search's row as that of ``member``, which is found by the same work."""
    return replace(row, group=member.group, member=member.name)


def _trial(study: Row, trial: TrialRow) -> Row:
    blank = Row("", "trial", study.group, study.member, trial.outcome, study.dataset, version=study.version)
    return replace(
        blank,
        **_genotype(trial.genotype),
        **_trial_scores(trial),
        key=f"{study.key}-{trial.number}",
        resolution=study.resolution,
        seed=trial.seed,
        entropy_start=trial.entropy[0] if trial.entropy else None,
        entropy_end=trial.entropy[1] if trial.entropy else None,
        params=json.dumps(dict(trial.params), sort_keys=True),
        milestones=json.dumps(dict(trial.milestones)),
        settings=study.settings,
        seconds=trial.seconds,
        run=study.run,
        run_id=trial.run_id,
        error=trial.error,
    )


def _trial_scores(trial: TrialRow) -> dict[str, Any]:
    sizes = {"parameters": trial.parameters or None, "macs": trial.macs or None}
    if not trial.scores:
        return sizes
    return {**sizes, **_scores(Scores.from_json(trial.scores)), "fid": trial.score}


def _genotype(text: str) -> dict[str, Any]:
    if "=" not in text:
        return {"genotype": text}
    genotype = Genotype.parse(text)
    return {"genotype": text, "genotype_hash": genotype.hash, "n": genotype.n}


def _scores(scores: Scores) -> dict[str, Any]:
    protocol = scores.protocol
    return {
        **scores.metrics(),
        "distance_name": protocol.distance_name,
        "protocol": json.dumps(asdict(protocol), sort_keys=True),
        "protocol_hash": protocol.hash,
        "second": json.dumps(scores.second.to_json(), sort_keys=True) if scores.second is not None else "",
    }
