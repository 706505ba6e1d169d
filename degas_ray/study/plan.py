"""What a study would do and cost, before it does: its trials, seconds from a few measured steps, bytes on disk."""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from degas_ray.config import Config, TrainConfig
from degas_ray.cores import usable_cores
from degas_ray.data import SOURCES, Pack, held_out_count, prepare, split, write_pack
from degas_ray.errors import Interrupted
from degas_ray.gan import build_generator, generate, train
from degas_ray.loop import Progress
from degas_ray.precision import settled
from degas_ray.runs.jobs import Resources
from degas_ray.runs.work import try_config
from degas_ray.scores import extract, load_extractor
from degas_ray.search import search
from degas_ray.space import Space, count_parameters
from degas_ray.study.estimate import makespan
from degas_ray.study.neighbours import neighbours
from degas_ray.study.placement import Misfit, Placement, misfits, place, threads_of
from degas_ray.trials.proposals import Proposals
from degas_ray.trials.ranges import own_values, tuned
from degas_ray.trials.strategies import GLO_DARTS, make_strategy

SAMPLE_IMAGES = 512  # enough to measure a step, cheap to read
MEASURED = 6  # steps of each loop, at least
SECONDS = 1.5  # of each loop, at least: other programs take and give back a core from step to step
ARTIFACTS = 2 * 2**20  # figures, grids and stats of one run, roughly
BASE = 30 * 2**20  # MLflow's database, caches of the extractor
FLOAT = 4  # bytes
# Ray, its workers, MLflow's database and the promotion's worker take as long as so many processes that import torch:
# 88 s where one took 7.4 s, in a new home, beside five others on two cores.
STARTS = 12
INCEPTION_SECONDS = 0.076  # an image on two CPU cores


@dataclass(frozen=True)
class Plan:
    """What a study would do.

    Args:
        config: Resolved; its precision is that which the study would have here.
        images: How many there are; ``None`` where that is not known before they are packed.
        data: Where they stand: ``ready``, or why they cannot be read.
        trials: The values of what is tuned, one row a trial; those after the first ten are examples, since they depend
            on results.
        placement: What runs side by side.
        seconds: Of each phase once: search, proxy, score, full.
        total_seconds: Of the whole study.
        disk: Bytes, roughly, when it has ended.
        misfits: What it asks for and this machine does not have, by setting; another may.
    """

    config: Config
    images: int | None
    data: str
    trials: tuple[Mapping[str, Any], ...]
    placement: Placement
    seconds: Mapping[str, float]
    total_seconds: float
    disk: int
    misfits: tuple[Misfit, ...] = ()


def make_plan(config: Config, home: Path) -> Plan:
    """Open the data, sample the real sampler, run a few steps of each loop; nothing is written into ``home``.

    Args:
        config: Of the study.
        home: Data that are below it already are found.

    Raises:
        InputError: A fault in the settings.
    """
    space, first = tuned(config), own_values(config)
    config = settled(config, home.absolute(), threads_of(config), keep=home.is_dir())
    resources = _this_machine()
    placement = place(config, resources)
    # No results, hence a lag that reaches back to the first trial.
    lag = config.study.trials
    proposals = Proposals(
        None,
        space,
        first,
        objectives=len(config.study.objectives),
        seed=config.seed,
        lag=lag,
        strategy=make_strategy(config),
    )
    trials = tuple(proposals.ask().params for _ in range(config.study.trials))
    with tempfile.TemporaryDirectory(prefix="degas-ray-plan-") as scratch:
        pack, images, data = _open(config, home.absolute(), Path(scratch))
        seconds = _measure(config, pack, home.absolute() / "cache", images, trials, placement)
    rerank = config.study.rerank
    reruns = min(rerank.top, config.study.trials) * rerank.seeds if config.study.trials > 1 else 0
    alone = reruns + config.study.yardstick
    proxy = (seconds["proxy"] + seconds["score"]) * config.study.repeats
    total = makespan([], [placement.jobs(seconds["search"], proxy)] * config.study.trials)
    total += makespan([], [placement.jobs(0.0, proxy)] * alone)
    begun = config.proxy.steps / config.full.steps if config.study.continue_winner else 0.0
    total += (1 - begun) * seconds["full"] + seconds["score"] if config.study.promote else 0.0
    total += STARTS * seconds.pop("start")
    disk = _disk(config, images, pack.resolution, alone)
    missing = misfits(config, placement, resources)
    return Plan(config, images, data, trials, placement, seconds, total, disk, missing)


def _this_machine() -> Resources:
    """Return what a session on this machine would offer; that of a cluster is known only when it is there."""
    cpus, gpus = float(usable_cores()), float(torch.cuda.device_count())
    return Resources(cpus, gpus, 1, ((cpus, gpus),))


def _open(config: Config, home: Path, scratch: Path) -> tuple[Pack, int | None, str]:
    """Return some images of the data, how many there are in all, and where they stand; nothing is downloaded."""
    name, _, argument = config.dataset.partition(":")
    source = SOURCES.get({"stl10": "stl"}.get(name, name))
    limit = min(SAMPLE_IMAGES, config.limit or SAMPLE_IMAGES)
    folder = config.data_dir
    if source is not None and source.downloads and folder is None:
        places = [home / "cache" / "downloads" / source.name, *([source.system] if source.system else [])]
        folder = next((place for place in places if place.is_dir() and any(place.iterdir())), None)
        if folder is None:
            pack = _stand_in(scratch, config.resolution or source.resolution, limit)
            return pack, _least(source.size, config.limit), "to be downloaded"
    pack, _ = split(prepare(config.dataset, scratch, **{**config.images(), "data_dir": folder, "limit": limit}))
    assert source is not None, "prepare refuses unknown sources"
    size = source.size
    if source.local:
        size = source.open(Path(argument).expanduser(), None, pack.resolution, config.split).count
    return pack, _least(size, config.limit), "ready"


def _stand_in(scratch: Path, resolution: int, count: int) -> Pack:
    """Return noise of the right size: a step takes as long on it."""
    noise = np.random.default_rng(0).integers(0, 256, (count, resolution, resolution, 3), dtype=np.uint8)
    return write_pack(scratch / "stand-in.arrow", iter([(noise, None)]), name="stand-in", resolution=resolution)


def _least(size: int | None, limit: int | None) -> int | None:
    known = [value for value in (size, limit) if value is not None]
    return min(known) if known else None


def _measure(
    config: Config,
    pack: Pack,
    cache: Path,
    images: int | None,
    trials: Sequence[Mapping[str, Any]],
    placement: Placement,
) -> dict[str, float]:
    """Return the seconds that each phase takes, at the threads and beside the other workers that it will have.

    The last, ``start``, are those in which a process is ready for work, several at a time; 0 where only one would run.
    """
    threads = torch.get_num_threads()
    try:
        with neighbours(_others(placement), config.proxy, pack.path, placement.training.threads) as start:
            torch.set_num_threads(placement.search.threads)
            seconds = {"search": _search_seconds(config, pack, images, cache) * _breadth(config, trials)}
            torch.set_num_threads(placement.training.threads)
            seconds["proxy"] = _train_seconds(config.proxy, pack)
            seconds["score"] = _score_seconds(config, pack, cache)
        torch.set_num_threads(placement.promotion.threads)
        seconds["full"] = _train_seconds(config.full, pack)
    finally:
        torch.set_num_threads(threads)
    return {**seconds, "start": start}


def _others(placement: Placement) -> int:
    """Return how many workers run beside one, on this machine's CPUs; those on GPUs are not imitated."""
    if placement.training.gpus:
        return 0
    room = usable_cores() // placement.training.threads
    return max(0, min(placement.concurrent, room) - 1)


def _search_seconds(config: Config, pack: Pack, images: int | None, cache: Path) -> float:
    if config.study.strategy != GLO_DARTS:
        return 0.0
    if config.search.paths == "sampled":
        tried = _train_seconds(try_config(config), pack)
        judged = _score_seconds(config, pack, cache) * config.search.samples / config.scores.samples
        return config.search.networks * (tried + judged)
    # From the first step on as it is after the warm-up, and without the compiler, which pays for itself or is not used.
    settings = config.search.model_copy(update={"warmup": 0.0, "compile": "off"})
    pace = _Pace()
    pace.run(lambda: search(settings, pack, seed=0, on_progress=pace.note, should_stop=pace.stop))
    epochs = config.search.steps is None and images is not None
    return pace.seconds * ((images - held_out_count(images)) / len(pack) if epochs and images is not None else 1.0)


def _train_seconds(config: TrainConfig, pack: Pack) -> float:
    classes = len(pack.classes) if config.supervised else 0
    generator = build_generator(Space().random(0), config, pack.resolution, classes)
    pace = _Pace()
    pace.run(lambda: train(config, generator, pack, seed=0, on_progress=pace.note, should_stop=pace.stop))
    return pace.seconds


def _score_seconds(config: Config, pack: Pack, cache: Path) -> float:
    """Time one batch from latents to features; the rest of a score is a few seconds at most."""
    scores = config.scores
    if scores.extractor == "inception":  # its weights may still have to be fetched
        return INCEPTION_SECONDS * scores.samples
    extractor = load_extractor(
        scores.extractor, cache, scores.weights, precision=scores.precision, resizer=scores.resizer
    )
    generator = build_generator(Space().random(0), config.proxy, pack.resolution)
    began = time.monotonic()
    extract(generate(generator, scores.batch, seed=0, batch=scores.batch), extractor)
    return (time.monotonic() - began) * scores.samples / scores.batch


class _Pace:
    """Runs the first steps of a loop and says how long the whole of it takes."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._steps = 0
        self._whole = 0.0

    def run(self, loop: Callable[[], Any]) -> None:
        """Run ``loop`` until it is stopped."""
        self._times.append(time.monotonic())
        try:
            loop()
        except Interrupted:
            return
        self._whole = time.monotonic() - self._times[0]

    def stop(self) -> bool:
        """Take note of a step; end the loop after a few."""
        self._times.append(time.monotonic())
        return len(self._times) > MEASURED and self._times[-1] - self._times[1] > SECONDS

    def note(self, progress: Progress) -> None:
        """Take note of how many steps the loop has."""
        self._steps = progress.steps

    @property
    def seconds(self) -> float:
        """Of the whole loop."""
        # The first step pays for memory and kernels; a loop of one step has no later ones, and has been run to its end.
        later = self._times[1:]
        # The mean and not the median: what other programs take from a few steps, they take from the whole loop too.
        return (later[-1] - later[0]) / (len(later) - 1) * self._steps if len(later) > 1 else self._whole


def _breadth(config: Config, trials: Sequence[Mapping[str, Any]]) -> float:
    """Return how much wider the trials' supernets are than the config's own, on average."""
    own = len(Space(config.search.n).connections)
    widths = [len(Space(params.get("search.n", config.search.n)).connections) for params in trials]
    return statistics.fmean(widths) / own


def _disk(config: Config, images: int | None, resolution: int, reruns: int) -> int:
    """Return bytes: the pack, what each run leaves, and the checkpoints of those that run at the same time."""
    size = (images or 0) * resolution**2 * 3
    genotype = Space(config.search.n).random(0)
    weights = {
        name: FLOAT * count_parameters(build_generator(genotype, train_config, resolution))
        for name, train_config in (("proxy", config.proxy), ("full", config.full))
    }
    # Each run's generator is kept in its folder and in MLflow's; the promoted one is registered as well.
    runs = (config.study.trials + reruns) * (2 * weights["proxy"] + ARTIFACTS)
    latents = 2 * 2 * (images or 0) * config.search.latent_dim * FLOAT
    return size + runs + 3 * weights["full"] + ARTIFACTS + latents + BASE
