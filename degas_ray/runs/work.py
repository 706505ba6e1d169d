"""The three kinds of work that a trial, a re-ranking and a verb share: search, training, scores.

Each has its place: a folder that it goes on from and that ends with its result, a tracker, callbacks. Done again, it
finds its result and returns at once; killed in the middle, it goes on from its last checkpoint.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from degas_ray import figures
from degas_ray.checkpoint import State, load_latest, save
from degas_ray.config import Config, ScoresConfig, TrainConfig
from degas_ray.data import Pack
from degas_ray.errors import DivergedError
from degas_ray.files import read_json, write_json
from degas_ray.gan import build_generator, count_sizes, generate, load_generator, save_generator, train
from degas_ray.gan.group import Group
from degas_ray.home import FOUND, GENERATOR, GENOTYPE, LAST, SCORES
from degas_ray.loop import OnProgress, Progress, ShouldStop, log_every, pick_device
from degas_ray.results import COLLAPSED
from degas_ray.runs.milestones import Milestones
from degas_ray.runs.run import Place, never, no_state
from degas_ray.scores import (
    Extractor,
    Reference,
    Scores,
    extract,
    floor,
    kernel_distance,
    load_extractor,
    reference_statistics,
    score,
    second_judge,
)
from degas_ray.scores.floor import is_collapsed
from degas_ray.search import search
from degas_ray.seeds import derive
from degas_ray.space import Genotype
from degas_ray.tracking import tags

GRIDS = 8  # sample grids over a training
GRID_IMAGES = 64
_BESIDE = 32  # real images beside as many generated ones


@dataclass(frozen=True)
class Found:
    """What a search found.

    Args:
        genotype: Pruned from its alphas.
        entropy: Mean entropy of softmax(alpha), as a share of the uniform one, at the beginning and at the end.
        skip_share: Share of ``skip_connect`` among the normal operations at the end.
        margin: Mean distance between first and second choice at the end.
        warnings: In words.
    """

    genotype: Genotype
    entropy: tuple[float, float]
    skip_share: float
    margin: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Trained:
    """What a training made.

    Args:
        generator: In evaluation mode; the averaged one where averaging is on.
        outcome: completed or collapsed.
        collapsed_at: The step at which a collapse began.
        milestones: Generator steps to Fréchet distances along the way.
    """

    generator: nn.Module
    outcome: str
    collapsed_at: int | None
    milestones: Mapping[str, float]


def search_work(config: Config, pack: Pack, place: Place, *, seed: int) -> Found:
    """Search and prune; the figures, the genotype of every report and the alphas are recorded."""
    file = place.folder / FOUND
    if (done := read_json(file)) is not None:
        return _found(done)
    result = search(
        config.search,
        pack,
        seed=seed,
        pruning=config.prune,
        attempt=make_try(config, pack, place.home, place.should_stop) if config.search.paths == "sampled" else None,
        resume=load_latest(place.folder / "search", "search"),
        on_progress=place.watch("search", config.search.checkpoint_seconds),
        should_stop=place.should_stop,
    )
    first, last = result.history[0], result.history[-1]
    entropy = (first["alpha_entropy"], last["alpha_entropy"])
    found = Found(result.genotype, entropy, last["skip_share"], last["margin"], result.warnings)
    place.keep(figures.alpha_heatmap(result.history), "alphas.png")
    rows = "".join(json.dumps({"step": row["step"], "genotype": row["genotype"]}) + "\n" for row in result.history)
    place.tracker.text(rows, "genotypes.jsonl")
    place.tracker.text(json.dumps(result.alphas, indent=2) + "\n", "alphas.json")
    record_genotype(found.genotype, pack.resolution, place)
    write_json(file, {**asdict(found), "genotype": str(found.genotype)})
    shutil.rmtree(place.folder / "search", ignore_errors=True)
    return found


def try_config(config: Config) -> TrainConfig:
    """Return the settings under which a search by single networks tries one: the proxy's, but short."""
    plain = {"supervised": False, "milestones": (), "device": config.search.device}
    return config.proxy.model_copy(update={"steps": config.search.try_steps, **plain})


def make_try(
    config: Config, pack: Pack, home: Path, should_stop: ShouldStop = never
) -> Callable[[str | Genotype, int], float]:
    """Return what tries a network with a seed: a short adversarial training, and the kernel distance of a few samples.

    That distance is unbiased, however few they are. A training that diverges is infinitely far.
    """
    brief = try_config(config)
    extractor, reference = judge(config.scores, pack, home, pick_device(config.search.device))

    def attempt(what: str | Genotype, seed: int) -> float:
        generator = build_generator(what, brief, pack.resolution, seed=derive(seed, "weights"))
        try:
            trained = train(brief, generator, pack, seed=seed, should_stop=should_stop)
        except DivergedError:
            return math.inf
        kept = trained.averaged if trained.averaged is not None else generator
        images = generate(kept, config.search.samples, seed=derive(seed, "samples"), batch=config.scores.batch)
        return kernel_distance(extract(images, extractor).features, reference.features)

    return attempt


def record_genotype(genotype: Genotype, resolution: int, place: Place) -> None:
    """Tag a run with its genotype and keep the diagram."""
    place.tracker.tags({tags.GENOTYPE: str(genotype), tags.GENOTYPE_HASH: genotype.hash})
    place.tracker.text(json.dumps(genotype.to_json(), indent=2) + "\n", GENOTYPE)
    diagram = figures.draw_genotype(genotype, resolution)
    place.keep(diagram, "diagram.png")
    place.keep(diagram, "diagram.svg")


def record_size(what: str | Genotype, config: TrainConfig, pack: Pack, place: Place, phase: str) -> tuple[int, int]:
    """Record how large the generator of a training is; return its parameters and its multiply-adds an image."""
    classes = len(pack.classes) if config.supervised else 0
    parameters, macs = count_sizes(build_generator(what, config, pack.resolution, classes))
    place.tracker.metrics({f"{phase}/parameters": parameters, f"{phase}/macs": macs}, 0)
    return parameters, macs


def training_work(
    config: TrainConfig,
    what: str | Genotype,
    pack: Pack,
    place: Place,
    *,
    phase: str,
    seed: int,
    scores: ScoresConfig,
    goes_on: Callable[[str, float], bool] | None = None,
    group: Group | None = None,
    begin: State | None = None,
    keep_last: bool = False,
) -> Trained:
    """Train a generator; sample grids and the scores at its milestones are recorded along the way.

    Args:
        config: Lengths and rates.
        what: A genotype, or the name of a generator.
        pack: Real images.
        place: Ends with ``generator.ckpt``.
        phase: ``proxy`` or ``full``; names checkpoints and metrics.
        seed: Of the weights and every draw.
        scores: How milestones are scored.
        goes_on: Asked at each milestone, with its step and distance.
        group: The workers that share each batch and all do this; the first records and writes for all.
        begin: The end of another training that this one goes on with.
        keep_last: Keep the end of this one in :data:`LAST`, for another to go on with.

    Raises:
        HalvedError: Where ``goes_on`` said no.
    """
    file, leads = place.folder / GENERATOR, group is None or group.leads
    if file.exists():
        generator, meta = load_generator(file)
        return Trained(generator, **meta["meta"])
    classes = len(pack.classes) if config.supervised else 0
    generator = build_generator(what, config, pack.resolution, classes, seed=derive(seed, "weights"))
    score_at = partial(_milestone, scores=scores, pack=pack, place=place, phase=phase, seed=seed)
    begun = begin.meta["step"] if begin is not None else 0
    milestones = Milestones(config, place.folder, str(what), score_at, goes_on, begun)
    report = place.watch(phase, config.checkpoint_seconds, config.checkpoint_quota)
    resume = load_latest(place.folder / phase, phase)
    if resume is None and begin is None and leads:  # where the slider over steps begins
        place.tracker.image(sample_grid(generator, seed), _series("samples", phase), 0)

    def on_progress(progress: Progress) -> None:
        # Milestones come before the checkpoint: whatever is skipped after a resumption has been scored.
        milestones.see(progress, generator)
        if _is_due(progress.step, config.steps):
            place.tracker.image(sample_grid(generator, seed), _series("samples", phase), progress.step)
        if keep_last and progress.step == config.steps:
            save(place.folder / LAST, progress.state(), phase)
        report(progress)

    result = train(
        config,
        generator,
        pack,
        seed=seed,
        resume=resume,
        begin=begin,
        group=group,
        on_progress=on_progress if leads else None,
        should_stop=place.should_stop,
    )
    kept = result.averaged if result.averaged is not None else result.generator
    facts = {"outcome": result.outcome, "collapsed_at": result.collapsed_at, "milestones": milestones.reached}
    if leads:
        save_generator(file, kept, str(what), config, facts)
        shutil.rmtree(place.folder / phase, ignore_errors=True)
    return Trained(kept, result.outcome, result.collapsed_at, milestones.reached)


def scoring_work(
    generator: nn.Module, config: ScoresConfig, pack: Pack, place: Place, *, phase: str, seed: int, step: int
) -> Scores:
    """Score a generator, once: the result is in ``scores.json``."""
    file = place.folder / SCORES
    if (done := read_json(file)) is not None:
        return Scores.from_json(done)
    result = measure(generator, config, pack, place, seed=seed)
    place.tracker.metrics({f"{phase}/{name}": value for name, value in result.recorded().items()}, step)
    if not _repeated(phase):
        place.tracker.tags(score_tags(result))
    place.tracker.text(json.dumps(result.to_json(), indent=2) + "\n", _series(SCORES, phase))
    write_json(file, result.to_json())
    return result


def call_collapsed(trained: Trained, scores: Scores, config: ScoresConfig, pack: Pack, place: Place) -> Trained:
    """Return what was trained, called collapsed where its scores say so."""
    if is_collapsed(scores, real_floor(config, pack, place.home)):
        return replace(trained, outcome=COLLAPSED)
    return trained


def show_beside(trained: Trained, pack: Pack, place: Place, seed: int, step: int) -> None:
    """Record real images beside generated ones."""
    count = min(_BESIDE, len(pack))
    (fake,) = generate(trained.generator, count, seed=derive(seed, "beside"), batch=count)
    picture = figures.real_beside_generated(pack.images[:count], fake)
    place.tracker.image(picture, "real-beside-generated", step)


def score_tags(scores: Scores) -> dict[str, str]:
    """Return the tags that say how good a generator is and how that was measured."""
    return {tags.SCORES: scores.sentence(), tags.PROTOCOL: json.dumps(asdict(scores.protocol))}


def drop_checkpoints(folder: Path) -> None:
    """Remove the step checkpoints of work that has ended before the step that they lead to."""
    for phase in {file.parent for file in folder.rglob("step-*.ckpt")}:
        shutil.rmtree(phase)


def measure(generator: nn.Module, config: ScoresConfig, pack: Pack, place: Place, *, seed: int) -> Scores:
    """Draw samples and let both judges score them: against the training part, and against the held-out images."""
    device = next(generator.parameters()).device
    extractor, reference = judge(config, pack, place.home, device)
    samples = generate(generator, config.samples, seed=derive(seed, "samples"), batch=config.batch, bn=config.bn)
    return score(
        _counted(samples, config.samples, place),
        extractor,
        reference,
        splits=config.splits,
        seed=derive(seed, "scores"),
        protocol={"bn": config.bn, "checkpoint": "last"},
        second=second_judge(pack, place.home),
    )


def judge(
    config: ScoresConfig, pack: Pack, home: Path, device: torch.device | str = "cpu"
) -> tuple[Extractor, Reference]:
    """Return the extractor and the real images' statistics, from the caches where they are there.

    Raises:
        InputError: Where the extractor's weights are missing, with where to put them.
    """
    extractor = find_extractor(config, home, device)
    count = config.real if config.real is not None else config.samples
    return extractor, reference_statistics(pack, extractor, count=count, cache=home / "cache", batch=config.batch)


def real_floor(config: ScoresConfig, pack: Pack, home: Path) -> Scores:
    """Return what real images get from both judges, from the cache where it is there."""
    return floor(pack, find_extractor(config, home), config, home)


def train_second_judge(pack: Pack, home: Path, on_progress: OnProgress) -> None:
    """Train the second judge's classifier where the home has none for these images; workers then only read it.

    Args:
        pack: The training part.
        home: The home directory.
        on_progress: Told of its steps.
    """
    second_judge(pack, home, lambda step, steps: on_progress(Progress("second judge", step, steps, {}, no_state)))


def find_extractor(config: ScoresConfig, home: Path, device: torch.device | str = "cpu") -> Extractor:
    """Return the network that scores are made with.

    Raises:
        InputError: Where its weights are missing, with where to put them.
    """
    return _extractor(config.extractor, home / "cache", config.weights, str(device), config.precision, config.resizer)


def sample_grid(generator: nn.Module, seed: int, columns: int = 8) -> NDArray[np.uint8]:
    """Return images of one generator as one image; a seed gives the same latents at every step of a training."""
    (images,) = generate(generator, GRID_IMAGES, seed=derive(seed, "grid"), batch=GRID_IMAGES)
    return figures.image_grid(images, columns)


@lru_cache(maxsize=2)
def _extractor(name: str, cache: Path, weights: Path | None, device: str, precision: str, resizer: str) -> Extractor:
    return load_extractor(name, cache, weights, device, precision, resizer)


def _milestone(
    generator: nn.Module, step: int, *, scores: ScoresConfig, pack: Pack, place: Place, phase: str, seed: int
) -> float:
    result = measure(generator, scores, pack, place, seed=seed)
    place.tracker.metrics({f"{phase}/milestone_{name}": value for name, value in result.recorded().items()}, step)
    return result.fid


def _repeated(phase: str) -> bool:
    """Return whether a training is one more of the same genotype, whose run shows the first."""
    return phase not in ("proxy", "full")


def _series(name: str, phase: str) -> str:
    """Return the name of a series of pictures or of a file; that of a repeated training is its own."""
    return f"{phase}-{name}" if _repeated(phase) else name


def _is_due(step: int, steps: int) -> bool:
    """Return whether one of the :data:`GRIDS` points lies between the last report and this one."""
    every = log_every(steps)
    before = (step - 1) // every * every
    return step * GRIDS // steps > before * GRIDS // steps


def _counted(batches: Iterator[NDArray[np.uint8]], count: int, place: Place) -> Iterator[NDArray[np.uint8]]:
    done = 0
    place.say("score", 0, count)
    for batch in batches:
        yield batch
        done += len(batch)
        place.say("score", done, count)


def _found(value: Mapping[str, Any]) -> Found:
    first, last = value["entropy"]
    return Found(
        Genotype.parse(value["genotype"]),
        (first, last),
        value["skip_share"],
        value["margin"],
        tuple(value["warnings"]),
    )
