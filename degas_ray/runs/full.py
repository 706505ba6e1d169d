"""A training to full length: what ``train`` does, what a promotion does, and what an experiment's training does."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from degas_ray import figures
from degas_ray.checkpoint import State
from degas_ray.config import Config, TrainConfig
from degas_ray.data import Pack
from degas_ray.home import BEST, GENERATOR
from degas_ray.runs.milestones import Best, keep_if_best
from degas_ray.runs.run import Place
from degas_ray.runs.work import (
    Trained,
    call_collapsed,
    record_genotype,
    record_size,
    sample_grid,
    scoring_work,
    show_beside,
    training_work,
)
from degas_ray.scores import Scores
from degas_ray.space import Genotype


@dataclass(frozen=True)
class TrainRun:
    """A training to full length that ended.

    Args:
        name: The folder's name.
        folder: Everything about it; the generator is ``generator.ckpt``.
        run_id: In MLflow.
        what: The genotype's text, or the generator's name.
        scores: With their protocol.
        outcome: completed or collapsed.
        collapsed_at: The step at which a collapse began.
        parameters: Of the generator.
        macs: Multiply-adds for one image.
        pictures: What they show, to their files.
        best: The best of the generators that were scored along the way and at the end, which ``best.ckpt`` holds;
            ``None`` without milestones.
    """

    name: str
    folder: Path
    run_id: str
    what: str
    scores: Scores
    outcome: str
    collapsed_at: int | None
    parameters: int
    macs: int
    pictures: Mapping[str, str]
    best: Best | None


def train_fully(
    config: Config,
    what: str | Genotype,
    pack: Pack,
    place: Place,
    *,
    seed: int,
    begin: State | None = None,
) -> TrainRun:
    """Train a generator under ``full``, score it, and record its pictures and its best state.

    Args:
        config: Its ``full`` and ``scores`` count.
        what: A genotype, or the name of a generator.
        pack: Real images.
        place: The run's; a group of workers may have trained it already.
        seed: Of the weights and every draw.
        begin: The end of another training that this one goes on with.
    """
    full, folder = config.full, place.folder
    parameters, macs = record_start(config, what, pack, place)
    trained = training_work(full, what, pack, place, phase="full", seed=seed, scores=config.scores, begin=begin)
    scores = scoring_work(trained.generator, config.scores, pack, place, phase="full", seed=seed, step=full.steps)
    trained = call_collapsed(trained, scores, config.scores, pack, place)
    show_beside(trained, pack, place, seed, full.steps)
    place.tracker.image(sample_grid(trained.generator, seed), "grid", full.steps)
    place.tracker.artifact(folder / GENERATOR)
    pictures = {
        "samples": folder / "images" / f"grid-{full.steps:06d}.png",
        "real beside generated": folder / "images" / f"real-beside-generated-{full.steps:06d}.png",
    }
    if isinstance(what, Genotype):
        pictures["diagram"] = folder / "diagram.svg"
    best = None
    if trained.milestones:
        best = _best_along_the_way(trained, full, str(what), scores, place)
        pictures["scores along the way"] = folder / "scores.png"
    return TrainRun(
        name=folder.name,
        folder=folder,
        run_id=place.tracker.run_id,
        what=str(what),
        scores=scores,
        outcome=trained.outcome,
        collapsed_at=trained.collapsed_at,
        parameters=parameters,
        macs=macs,
        pictures={title: str(path) for title, path in pictures.items()},
        best=best,
    )


def record_start(config: Config, what: str | Genotype, pack: Pack, place: Place) -> tuple[int, int]:
    """Record what is trained to full length; return its parameters and its multiply-adds for one image."""
    if isinstance(what, Genotype):
        record_genotype(what, pack.resolution, place)
    return record_size(what, config.full, pack, place, "full")


def _best_along_the_way(trained: Trained, config: TrainConfig, text: str, scores: Scores, place: Place) -> Best:
    """Draw the curve of the scores up to the last, and return the best of them; its generator is ``best.ckpt``."""
    name = scores.protocol.distance_name
    points = [(int(step), distance) for step, distance in trained.milestones.items()] + [(config.steps, scores.fid)]
    title = f"{name} on {scores.protocol.features_name}"
    place.keep(figures.curve([{"step": s, name: d} for s, d in points], "step", [name], title=title), "scores.png")
    best = keep_if_best(place.folder, trained.generator, text, config, Best(*points[-1]))
    place.tracker.artifact(place.folder / BEST)
    return best
