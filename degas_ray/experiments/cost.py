"""What an experiment costs before it is run: multiply-adds counted in real steps of the loops, hours, bytes on disk.

A step's multiply-adds grow with its batch and nothing else, so one step with one image of each kind tells them all,
backward passes and gradient penalty included; a generator's own are counted from its genotype.
"""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from degas_ray.config import Config, PruneConfig, SearchConfig, TrainConfig
from degas_ray.data import Pack, held_out_count, write_pack
from degas_ray.experiments.counting import macs_of
from degas_ray.experiments.files import LAPTOP, Experiment, numbers
from degas_ray.experiments.images import classes_of, images_of, resolution_of
from degas_ray.gan import HANDMADE, build_generator, count_sizes
from degas_ray.gan.trainer import Trainer
from degas_ray.runs.work import try_config
from degas_ray.scores.networks import EfficientNetLite0
from degas_ray.search import unlearnt
from degas_ray.search.searcher import Searcher
from degas_ray.space import Space, find_genotype

GPU_RATE = 4.9e11
"""Multiply-adds a second: what the paper's 37 hours for its CIFAR-10 training on one TITAN X come to."""
CPU_RATE = 2.7e10
"""Of two CPU cores: degas-cifar10 at width 32, 300 steps of the paper's kind in 245 s. Searches are reckoned at this
rate everywhere: at their width a GPU waits for its kernels, and theirs took the paper's authors 28 hours."""
BACKWARD = 3  # a forward pass with its backward pass, in forward passes
TINY = 4  # width of the generator beside which a critic's step is counted
ARTIFACTS = 2 * 2**20  # figures, grids and stats of one run, roughly
BASE = 30 * 2**20  # MLflow's database, caches of the extractor
FLOAT = 4  # bytes
STAND_IN = 64  # images
MEMBERS = 8  # generators of a large group that are counted; the others are taken to be alike


@dataclass(frozen=True)
class Cost:
    """What an experiment costs.

    Args:
        searches: Searches, those of studies included.
        trainings: Trainings, those of studies included.
        search_macs: Multiply-adds of all searches.
        training_macs: Of all trainings.
        score_macs: Of all scores.
        disk: Bytes when it has ended, roughly, beside the images' original files.
        laptop: Whether it is meant for two CPU cores.
    """

    searches: int
    trainings: int
    search_macs: float
    training_macs: float
    score_macs: float
    disk: int
    laptop: bool

    @property
    def macs(self) -> float:
        """All multiply-adds."""
        return self.search_macs + self.training_macs + self.score_macs

    @property
    def known(self) -> bool:
        """Whether all could be counted; not where a search takes epochs of images that must be read to be counted."""
        return not math.isnan(self.macs)

    @property
    def hours(self) -> float:
        """Searches at :data:`CPU_RATE`, the rest at :data:`GPU_RATE` or, on a laptop, at the same."""
        rate = CPU_RATE if self.laptop else GPU_RATE
        return (self.search_macs / CPU_RATE + (self.training_macs + self.score_macs) / rate) / 3600

    def sentence(self) -> str:
        """Say it in one line, as it stands in the files' headers."""
        if not self.known:
            return "not counted: a search takes epochs of images yet to be counted; set search.steps, or limit"
        counts = (("search", "searches", self.searches), ("training", "trainings", self.trainings))
        work = [f"{count} {one if count == 1 else many}" for one, many, count in counts if count]
        rate = f"{CPU_RATE:.1e} a second"
        if not self.laptop:
            rate = f"{GPU_RATE:.1e} a second" + (f", searches at {rate}" if self.searches else "")
        unit = "hours on two CPU cores" if self.laptop else "GPU-hours"
        return (
            f"{self.hours:.3g} {unit} for {' and '.join(work)}: {self.macs:.2e} multiply-adds at {rate}; "
            f"{self.disk / 1e9:.2g} GB of disk"
        )


def cost_of(experiment: Experiment) -> Cost:
    """Count what an experiment costs; no data are needed and nothing is kept."""
    searches = trainings = 0
    search_macs = training_macs = score_macs = 0.0
    disk = float(BASE)
    packs: dict[tuple[str, int], int] = {}
    for name, group in experiment.generators.items():
        if group.kind in ("search", "study"):
            config, members = experiment.finding(name), len(group.members)
            _note_pack(packs, config)
            trials = config.study.trials if group.kind == "study" else 1
            if group.kind == "search" or config.study.strategy == "glo-darts":
                searches += members * trials
                search_macs += members * trials * search_cost(config)
            if group.kind == "study":
                rerank = config.study.rerank
                trials = trials * config.study.repeats + min(rerank.top, trials) * rerank.seeds
                trainings += members * trials
                training_macs += members * trials * _training(config, config.proxy, _stand_in(config))
                score_macs += members * trials * _score(config, config.proxy, _stand_in(config))
            disk += members * trials * ARTIFACTS
    for training in experiment.trainings:
        config = experiment.training(training)
        _note_pack(packs, config)
        for what, count in _trained(experiment, training, config):
            trainings += count
            training_macs += count * _training(config, config.full, what)
            score_macs += count * _score(config, config.full, what)
            # Each run's generator is kept in its folder and in MLflow's.
            disk += count * (2 * FLOAT * _sizes(config, config.full, what)[0] + ARTIFACTS)
    # Each image twice: in the whole pack, and in its training or held-out part.
    disk += sum(2 * images * resolution**2 * 3 for (_, resolution), images in packs.items())
    laptop = experiment.scale == LAPTOP or experiment.file.parent.name == LAPTOP
    return Cost(searches, trainings, search_macs, training_macs, score_macs, round(disk), laptop)


def search_cost(config: Config) -> float:
    """Return the multiply-adds of a search; of one by single networks, as if all were of middling size.

    Not a number where it takes epochs of images that must be read to be counted.
    """
    search = config.search
    if search.paths == "sampled":
        brief, what = try_config(config), _stand_in(config)
        judged = search.samples * (_sizes(config, brief, what)[1] + _extractor_macs(config.scores.extractor))
        return search.networks * (_training(config, brief, what) + judged)
    steps = search.steps
    if steps is None:
        images = images_of(config)
        if not images:
            return math.nan
        half = (images - held_out_count(images)) // (2 if search.arch_data == "split" else 1)
        steps = max(1, round(search.epochs * (half // search.batch)))
    # What changes a step's cost, and nothing else, so that equal ones are counted once.
    alike = {key: getattr(search, key) for key in ("n", "normal_ops", "upsample_ops", "width", "latent_dim", "order")}
    warm, moving = (_search_step(SearchConfig.model_validate(alike), resolution_of(config), moves) for moves in (0, 1))
    return steps * search.batch * (search.warmup * warm + (1 - search.warmup) * moving)


def training_cost(config: TrainConfig, generator_macs: float, resolution: int, classes: int) -> float:
    """Return the multiply-adds of a training.

    Args:
        config: Framework, sizes and lengths.
        generator_macs: Of one image.
        resolution: Of the images.
        classes: Of a conditional critic; 0 for an unconditional one.
    """
    alike = {key: getattr(config, key) for key in ("framework", "critic_width", "supervised", "critics")}
    critic, generator = _critic_images(TrainConfig.model_validate(alike), resolution, classes)
    step = config.critic_steps * config.batch * (critic + generator_macs)
    step += config.generator_batch * (generator + BACKWARD * generator_macs)
    return config.steps * step


def _trained(experiment: Experiment, training: str, config: Config) -> Iterator[tuple[str, int]]:
    """Yield stand-ins for the generators of a training, with how many trainings each stands for."""
    settings = experiment.trainings[training]
    seeds = len(numbers(settings.seeds))
    for name in experiment.groups_of(training):
        group = experiment.generators[name]
        members = len(group.members)
        if settings.leaders is not None:
            members = min(members, settings.leaders.top)
        if group.kind == "named" and members == len(group.members):
            yield from ((what, seeds) for what in group.names)
        elif group.kind == "random" and members == len(group.members):
            finding = experiment.finding(name)
            by_chance = unlearnt(finding.search, finding.prune)
            drawn = [str(by_chance(seed)) for seed in numbers(group.seeds)[:MEMBERS]]
            yield from ((what, seeds) for what in drawn[:-1])
            yield drawn[-1], seeds * (members - len(drawn) + 1)
        else:  # what will be found is not known
            yield _stand_in(experiment.finding(name)), members * seeds


def _stand_in(config: Config) -> str:
    """Return a generator of middling size in the place of one that is still to be found: the authors' own."""
    return {1: "degas-cifar10", 2: "degas-cifar10-n2"}.get(config.search.n) or str(Space(config.search.n).random(0))


def _training(config: Config, train: TrainConfig, what: str) -> float:
    return training_cost(train, _sizes(config, train, what)[1], resolution_of(config), classes_of(config, train))


def _score(config: Config, train: TrainConfig, what: str) -> float:
    """Return the multiply-adds of scoring once: samples drawn and judged. The real images' are in a cache."""
    scores = config.scores
    times = 1 + len(train.milestones)
    return times * scores.samples * (_sizes(config, train, what)[1] + _extractor_macs(scores.extractor))


def _sizes(config: Config, train: TrainConfig, what: str) -> tuple[int, int]:
    return _counted(
        what, train.width, train.latent_at(resolution_of(config)), resolution_of(config), classes_of(config, train)
    )


@lru_cache(maxsize=512)
def _counted(what: str, width: int, latent_dim: int, resolution: int, classes: int) -> tuple[int, int]:
    config = TrainConfig.model_validate({"width": width, "latent_dim": latent_dim})
    return count_sizes(build_generator(what if what in HANDMADE else find_genotype(what), config, resolution, classes))


@lru_cache(maxsize=64)
def _search_step(config: SearchConfig, resolution: int, moves: int) -> float:
    """Return the multiply-adds of one step of both kinds, an image, while the alphas move or stand."""
    once = {"batch": 1, "steps": 2, "warmup": 0.0 if moves else 0.99, "latent_start": "gaussian", "device": "cpu"}
    settings = config.model_copy(update={**once, "compile": "off"})
    with tempfile.TemporaryDirectory(prefix="degas-ray-cost-") as scratch:
        searcher = Searcher(settings, _noise(Path(scratch), resolution, 0), 0, PruneConfig())
        return macs_of(searcher.advance)


@lru_cache(maxsize=64)
def _critic_images(config: TrainConfig, resolution: int, classes: int) -> tuple[float, float]:
    """Return the critic's multiply-adds, a real image of its own step and a sample of the generator's step."""
    once = {"width": TINY, "latent_dim": TINY, "batch": 1, "generator_batch": 1, "device": "cpu"}
    counts = []
    with tempfile.TemporaryDirectory(prefix="degas-ray-cost-") as scratch:
        pack = _noise(Path(scratch), resolution, classes)
        for critic_steps in (1, 2):
            settings = config.model_copy(update={**once, "critic_steps": critic_steps})
            generator = build_generator("degas-cifar10", settings, resolution, classes)
            own = count_sizes(generator)[1]
            trainer = Trainer(settings, generator, pack, 0)
            counts.append(macs_of(trainer.advance) - own * (critic_steps + BACKWARD))
    critic = counts[1] - counts[0]
    return critic, counts[0] - critic


@lru_cache(maxsize=2)
def _extractor_macs(name: str) -> float:
    if name == "inception":
        from torchvision.models import Inception_V3_Weights

        return float(Inception_V3_Weights.IMAGENET1K_V1.meta["_ops"]) * 1e9
    network = EfficientNetLite0().to("meta")
    with torch.no_grad():
        return macs_of(lambda: network(torch.zeros(1, 3, network.size, network.size, device="meta")))


def _noise(scratch: Path, resolution: int, classes: int) -> Pack:
    """Return noise of the right size: a step costs as much on it."""
    images = np.random.default_rng(0).integers(0, 256, (STAND_IN, resolution, resolution, 3), dtype=np.uint8)
    labels = np.arange(STAND_IN) % classes if classes else None
    names = tuple(map(str, range(classes)))
    return write_pack(
        scratch / "noise.arrow", iter([(images, labels)]), name="noise", resolution=resolution, classes=names
    )


def _note_pack(packs: dict[tuple[str, int], int], config: Config) -> None:
    packs[config.dataset, resolution_of(config)] = images_of(config)
