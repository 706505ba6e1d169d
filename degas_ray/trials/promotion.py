"""Promotion: the winner of a study trained to full length and registered in MLflow."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from degas_ray.checkpoint import load
from degas_ray.config import Config, flatten
from degas_ray.data import Pack
from degas_ray.errors import DegasError
from degas_ray.files import put, write_bytes, write_json
from degas_ray.home import GENERATOR, GENOTYPE, LAST, RESULT, SCORES, hold
from degas_ray.loop import ShouldStop
from degas_ray.results import Promotion
from degas_ray.runs.full import record_start, train_fully
from degas_ray.runs.jobs import Resources
from degas_ray.runs.parallel import train_in_parallel
from degas_ray.runs.run import Context, JobAttempt, Report, run_key
from degas_ray.runs.work import score_tags
from degas_ray.scores import Scores
from degas_ray.seeds import derive
from degas_ray.space import Genotype
from degas_ray.tracking import Tracking, model_card, tags
from degas_ray.trials.describe import found_by

ALIAS = "champion"
CARD = "README.md"


def promotion_task(context: Context, genotype: Genotype, turn: int = 1) -> dict[str, Any]:
    """Return the task that trains a genotype to full length.

    Args:
        context: The study's.
        genotype: Which.
        turn: 1 for the winner, 2 for the next where that has collapsed, and so on.
    """
    folder = context.folder.root / "promotion" / genotype.hash
    return {"kind": "promotion", "folder": str(folder), "genotype": str(genotype), "turn": turn}


def run_promotion(context: Context, pack: Pack, task: Mapping[str, Any], report: Report) -> None:
    """Train the winner with the full settings, score it, draw it, and write ``result.json``."""
    folder, genotype, config = Path(task["folder"]), Genotype.parse(task["genotype"]), context.config
    if (folder / RESULT).exists():
        return
    short = _short_training(context, genotype)
    begin = load(short, "proxy") if short is not None else None
    with _attempt(context, task, report) as attempt:
        done = train_fully(config, genotype, pack, attempt.place(), seed=_seed(config, genotype), begin=begin)
        attempt.tracker.finish(done.outcome)
        promotion = Promotion(
            str(genotype),
            str(folder),
            done.outcome,
            done.scores.to_json(),
            done.parameters,
            done.macs,
            attempt.tracker.run_id,
            pictures=done.pictures,
            best=asdict(done.best) if done.best is not None else None,
        )
        write_json(folder / RESULT, asdict(promotion))


def train_in_group(
    context: Context,
    pack: Pack,
    task: Mapping[str, Any],
    report: Report,
    *,
    workers: int,
    resources: Resources,
    should_stop: ShouldStop,
    again: str,
) -> None:
    """Train the winner on many workers, from the driver; :func:`run_promotion` finds the generator and does the rest.

    Args:
        context: The study's.
        pack: Real images.
        task: The promotion's.
        report: Takes what the driver should see.
        workers: How many share each batch.
        resources: Those of the session that is open.
        should_stop: Asked several times a second.
        again: The command that goes on with it.

    Raises:
        DegasError: Where another process trains it, or the training failed.
        Interrupted: When ``should_stop`` said so.
    """
    folder, genotype, config = Path(task["folder"]), Genotype.parse(task["genotype"]), context.config
    if (folder / GENERATOR).exists():
        return
    with hold(folder) as free:
        if not free:
            raise DegasError(f"another process works in {folder}; stop it, then type '{again}'")
        with _attempt(context, task, report) as attempt:
            place = replace(attempt.place(), should_stop=should_stop)
            record_start(config, genotype, pack, place)
            train_in_parallel(
                config,
                genotype,
                pack.path,
                place,
                workers=workers,
                seed=_seed(config, genotype),
                setting="study.promotion_gpus",
                again=f"'{again}'",
                begin=_short_training(context, genotype),
                resources=resources,
            )
            attempt.tracker.finish("interrupted")  # it is scored by a job of its own


def _attempt(context: Context, task: Mapping[str, Any], report: Report) -> JobAttempt:
    """Begin or go on with a promotion's run."""
    turn = task.get("turn", 1)
    seed = _seed(context.config, Genotype.parse(task["genotype"]))
    name = f"promotion{f' {turn}' if turn > 1 else ''}"
    return JobAttempt(context, Path(task["folder"]), "promotion", name, report, seed)


def _seed(config: Config, genotype: Genotype) -> int:
    return derive(config.seed, "full", genotype.hash)


def _short_training(context: Context, genotype: Genotype) -> Path | None:
    """Return the file of the end of the short training that a promotion goes on with, ``None`` where it begins anew."""
    if not context.config.study.continue_winner:
        return None
    own = [row for row in context.folder.rows() if row.genotype == str(genotype)]
    files = [context.folder.trial(row.number) / LAST for row in own]
    return next((file for file in files if file.exists()), None)


def model_name(study: str) -> str:
    """Return the name under which a study's generators are registered."""
    return f"degas-ray-{study}"


def register(
    tracking: Tracking,
    promotion: Promotion,
    config: Config,
    study: str,
    images: str,
    again: str,
    verdict: Sequence[str] = (),
) -> Promotion:
    """Register the promoted generator in MLflow as :data:`ALIAS`; doing it again gives the same version.

    Args:
        tracking: The door to MLflow.
        promotion: The winner.
        config: The study's.
        study: Its name.
        images: What it was trained on, in words.
        again: The command that tries it again.
        verdict: How good it is, in sentences.

    Returns:
        The promotion with its run, its model name and version, also in its ``result.json``.

    Raises:
        DegasError: Where MLflow cannot be reached, or does not have the run yet.
    """
    promotion = _with_run(tracking, promotion, study, again)
    folder, name = Path(promotion.folder), model_name(study)
    scores = Scores.from_json(promotion.scores)
    package = folder / "model"
    package.mkdir(exist_ok=True)
    for source in (folder / GENERATOR, folder / SCORES, folder / GENOTYPE):
        put(source, package / source.name)
    for title, picture in promotion.pictures.items():
        put(Path(picture), package / f"{title.replace(' ', '-')}{Path(picture).suffix}")
    card = model_card(
        name,
        genotype=promotion.genotype,
        words=Genotype.parse(promotion.genotype).describe(),
        scores=[*verdict, *_sentences(scores)],
        data=images,
        training={
            **flatten(config.full),
            "parameters": f"{promotion.parameters:,}",
            "multiply-adds an image": f"{promotion.macs:,}",
            "outcome": promotion.outcome,
        },
        run_id=promotion.run_id,
        version=ALIAS,
        found=found_by(config),
    )
    write_bytes(package / CARD, card.encode())
    told = {
        tags.GENOTYPE: promotion.genotype,
        tags.STUDY: study,
        **score_tags(scores),
        **({tags.VERDICT: " ".join(verdict)} if verdict else {}),
        **{tags.SCORE + metric: f"{value:.6g}" for metric, value in scores.recorded().items()},
    }
    version = tracking.register(promotion.run_id, package, name, ALIAS, told)
    done = replace(promotion, model=name, version=version)
    write_json(folder / RESULT, asdict(done))
    return done


def _with_run(tracking: Tracking, promotion: Promotion, study: str, again: str) -> Promotion:
    """Return the promotion with its run's id, which it did not get where MLflow was away while it was trained."""
    if promotion.run_id:
        return promotion
    folder = Path(promotion.folder)
    tracking.replay()  # what its worker could not send
    run = tracking.find_key(run_key(study, folder))
    if run is None:
        raise DegasError(
            f"the champion of {study} is trained and kept in {folder}, but MLflow has not taken its run yet, so it "
            f"cannot be registered; type '{again}' later"
        )
    known = replace(promotion, run_id=run.run_id)
    write_json(folder / RESULT, asdict(known))
    return known


def _sentences(scores: Scores) -> list[str]:
    """Return all scores in words, and last how they were measured."""
    protocol = ", ".join(f"{name} {value}" for name, value in asdict(scores.protocol).items())
    return [
        scores.sentence(),
        f"{scores.protocol.diversity_name.capitalize()} {scores.is_mean:.2f} ± {scores.is_std:.2f}, same features",
        f"Kernel distance {scores.kid:.4g}, precision {scores.precision:.2f}, recall {scores.recall:.2f}, "
        f"density {scores.density:.2f}, coverage {scores.coverage:.2f}, same features",
        *([f"Second judge: {scores.second.sentence()}"] if scores.second is not None else []),
        f"Protocol {scores.protocol.hash}: {protocol}",
    ]
