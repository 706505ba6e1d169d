"""After the trials: the best few once more with fresh seeds, and the winner trained to full length and registered."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from degas_ray.checkpoint import load
from degas_ray.config import Config, dump, flatten
from degas_ray.data import Pack
from degas_ray.errors import DegasError, DivergedError
from degas_ray.files import put, write_bytes
from degas_ray.loop import ShouldStop
from degas_ray.scores import Scores
from degas_ray.space import Genotype
from degas_ray.study.attempt import Attempt, Context, Report, run_key
from degas_ray.study.full import record_start, train_fully
from degas_ray.study.introduction import found_by
from degas_ray.study.jobs import Resources
from degas_ray.study.parallel import train_in_parallel
from degas_ray.study.pareto import front, ranked
from degas_ray.study.seeds import derive
from degas_ray.study.store import COLLAPSED, Row, Size, hold, write_json
from degas_ray.study.trial import proxy_work
from degas_ray.study.work import (
    LAST,
    drop_checkpoints,
    record_genotype,
    score_tags,
    size_of,
)
from degas_ray.tracking import Tracking, model_card, tags

ALIAS = "champion"
CARD = "README.md"


@dataclass(frozen=True)
class Rerun:
    """A re-ranking: one more proxy training of a genotype.

    Args:
        genotype: Its text.
        index: Which of its fresh seeds.
        seed: The training's.
        outcome: completed, collapsed or diverged.
        scores: As JSON; empty where it diverged.
        seconds: Spent in all attempts together.
        run_id: In MLflow.
    """

    genotype: str
    index: int
    seed: int
    outcome: str
    scores: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    run_id: str = ""


@dataclass(frozen=True)
class Promotion:
    """The winner at full length.

    Args:
        genotype: Its text.
        folder: Its files: ``generator.ckpt``, ``scores.json``, pictures, a card.
        outcome: completed or collapsed.
        scores: As JSON.
        parameters: At full width.
        macs: Multiply-adds for one image.
        run_id: In MLflow.
        model: The registered model's name; empty before it is registered.
        version: Its version there.
        pictures: What they show, to their files.
        best: Step and Fréchet distance of ``best.ckpt``, the best of the generators that were scored along the way and
            at the end; ``None`` without milestones.
    """

    genotype: str
    folder: str
    outcome: str
    scores: Mapping[str, Any]
    parameters: Size
    macs: Size
    run_id: str
    model: str = ""
    version: int = 0
    pictures: Mapping[str, str] = field(default_factory=dict)
    best: Mapping[str, float] | None = None

    @property
    def collapsed(self) -> bool:
        """Whether it is no champion: its images are a few, over and over."""
        return self.outcome == COLLAPSED


def candidates(rows: Sequence[Row], config: Config) -> list[Genotype]:
    """Return the distinct genotypes with scores, best first: by the objective, or by closeness to the Pareto knee.

    Those that have collapsed come behind all others.
    """
    best: dict[str, Row] = {}
    for sound in (True, False):
        scored = [row for row in rows if row.score is not None and row.sound == sound]
        for index in ranked([row.objectives(config.study.objectives) for row in scored]):
            best.setdefault(Genotype.parse(scored[index].genotype).hash, scored[index])
    return [Genotype.parse(row.genotype) for row in best.values()]


def on_front(rows: Sequence[Row], config: Config) -> frozenset[int]:
    """Return the numbers of the trials on the Pareto front; none with one objective, where it would be the best."""
    objectives = config.study.objectives
    sound = [row for row in rows if row.sound]
    scored = sound or [row for row in rows if row.score is not None]
    if len(objectives) < 2:
        return frozenset()
    return frozenset(scored[index].number for index in front([row.objectives(objectives) for row in scored]))


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
    """Train and score a genotype once more and write ``result.json``."""
    folder, genotype, index = Path(task["folder"]), Genotype.parse(task["genotype"]), task["index"]
    if (folder / "result.json").exists():
        return
    config = context.config
    seed = derive(config.seed, "rerank", genotype.hash, index)
    name = f"{context.study} re-rank {genotype.hash[:8]} {index + 1}"
    with Attempt(context, folder, "train", name, report, seed) as attempt:
        attempt.tracker.params({**flatten(config), "study.seed": config.seed, "seed": seed})
        attempt.tracker.text(dump(config), "config.yaml")
        outcome, scores = "diverged", {}
        place = attempt.place()
        record_genotype(genotype, pack.resolution, place)
        classes = len(pack.classes) if config.proxy.supervised else 0
        parameters, macs = size_of(genotype, config.proxy, pack.resolution, classes)
        attempt.tracker.metrics({"proxy/parameters": parameters, "proxy/macs": macs}, 0)
        try:
            trained, result = proxy_work(config, pack, place, genotype, seed, "proxy")
            outcome, scores = trained.outcome, result.to_json()
        except DivergedError as error:
            attempt.say(f"re-ranking: {error}")
        attempt.tracker.finish(outcome)
        rerun = Rerun(str(genotype), index, seed, outcome, scores, round(attempt.seconds, 1), attempt.tracker.run_id)
        write_json(folder / "result.json", asdict(rerun))
        drop_checkpoints(folder)  # of a training that diverged


def fresh_scores(reruns: Sequence[Rerun]) -> dict[str, list[float]]:
    """Return the distances that each genotype's fresh trainings came to, the best on average first."""
    found: dict[str, list[float]] = {rerun.genotype: [] for rerun in reruns}
    for rerun in reruns:
        if rerun.scores:
            found[rerun.genotype].append(Scores.from_json(rerun.scores).fid)
    return dict(sorted(found.items(), key=lambda item: fmean(item[1]) if item[1] else math.inf))


def promotion_order(rows: Sequence[Row], reruns: Sequence[Rerun], config: Config) -> list[Genotype]:
    """Return the genotypes with scores in the order in which they are promoted, each where those before collapse.

    First come those that were trained again, by their fresh seeds alone, since the best of many noisy scores flatters;
    then the others by their trials. Whatever collapsed, in most of its fresh trainings or without any in its trial,
    comes behind all that did not.

    Args:
        rows: The trials.
        reruns: The re-rankings; where there are none, the trials decide.
        config: Objectives.
    """
    order = candidates(rows, config)
    fresh = {genotype: found for genotype, found in fresh_scores(reruns).items() if found}
    known = [genotype for genotype in order if str(genotype) in fresh]
    sizes = {row.genotype: row for row in rows if row.score is not None}
    points = []
    for genotype in known:
        distances, row = fresh[str(genotype)], sizes[str(genotype)]
        values = {"fid": fmean(distances), "parameters": row.parameters, "macs": row.macs}
        points.append(tuple(float(values[name]) for name in config.study.objectives))
    again = [known[index] for index in ranked(points)]
    sound = {row.genotype for row in rows if row.sound} - fresh.keys()
    sound |= {genotype for genotype in fresh if not _mostly_collapsed(genotype, reruns)}
    whole = again + [genotype for genotype in order if str(genotype) not in fresh]
    return sorted(whole, key=lambda genotype: str(genotype) not in sound)


def winner(rows: Sequence[Row], reruns: Sequence[Rerun], config: Config) -> Genotype | None:
    """Return the first genotype of :func:`promotion_order`, ``None`` where no trial has a score."""
    return next(iter(promotion_order(rows, reruns, config)), None)


def _mostly_collapsed(genotype: str, reruns: Sequence[Rerun]) -> bool:
    outcomes = [rerun.outcome == COLLAPSED for rerun in reruns if rerun.genotype == genotype and rerun.scores]
    return 2 * sum(outcomes) > len(outcomes)


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
    if (folder / "result.json").exists():
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
        write_json(folder / "result.json", asdict(promotion))


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
    if (folder / "generator.ckpt").exists():
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


def _attempt(context: Context, task: Mapping[str, Any], report: Report) -> Attempt:
    """Begin or go on with a promotion's run, with its settings recorded."""
    config, turn = context.config, task.get("turn", 1)
    seed = _seed(config, Genotype.parse(task["genotype"]))
    name = f"{context.study} promotion{f' {turn}' if turn > 1 else ''}"
    attempt = Attempt(context, Path(task["folder"]), "promotion", name, report, seed)
    attempt.tracker.params({**flatten(config), "study.seed": config.seed, "seed": seed})
    attempt.tracker.text(dump(config), "config.yaml")
    return attempt


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
    for source in (folder / "generator.ckpt", folder / "scores.json", folder / "genotype.json"):
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
    write_json(folder / "result.json", asdict(done))
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
    write_json(folder / "result.json", asdict(known))
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
