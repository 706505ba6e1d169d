"""Typed, frozen, validated settings: one tree for every command, all faults at once, by dotted path.

The defaults of the classes are plain ones (a training is CT-GAN's). :func:`defaults_for` lays over them what suits the
data set, the way to search and the framework, which is R3GAN unless another one is named; then come a YAML file and
``--set key=value``. The paper's own numbers are in ``experiments/*.yaml``.
"""

import difflib
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from degas_ray import yamls
from degas_ray.errors import SHOWN_FAULTS, ConfigError, InputError
from degas_ray.space import NORMAL_OPS, UPSAMPLE_OPS

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Betas = tuple[BelowOne, BelowOne]
Precision = Literal["auto", "float32", "bf16"]
_PRECISION_HELP = "float32, bf16, or auto: bf16 where this machine is faster in it"
LATENT_RESOLUTION = 32  # for which the paper names the length of a latent vector


def _on_off(value: Any) -> Any:
    """Take truth values for the words on and off, as older YAML means them."""
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


SHOWN = 60  # characters of a value that an error repeats
_LONGEST_VALUE, _LONGEST = 120, 500  # characters of a value and of a fault
# A few lines of YAML can mean a value of a billion parts, so no more of it is looked at than is shown.
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = SHOWN
_REPR.maxlevel = 2


def _setting(default: Any, description: str, *, free: bool = False) -> Any:
    """Return a field; a ``free`` one changes where, how fast or how often something is done, but no result."""
    return Field(default, description=description, json_schema_extra=UNCHANGED if free else None)


UNCHANGED: dict[str, Any] = {"affects_result": False}


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SearchConfig(Section):
    """The GLO-DARTS search (paper 3.2; defaults adapted to a short search, see docs/method.md)."""

    n: Annotated[int, Field(ge=1, le=3)] = _setting(1, "normal feature maps between up-sampled ones")
    normal_ops: tuple[str, ...] = _setting(NORMAL_OPS, "candidate operations that keep the size of a map")
    upsample_ops: tuple[str, ...] = _setting(UPSAMPLE_OPS, "candidate operations that enlarge a map")
    width: Count = _setting(16, "channels of every feature map during the search")
    latent_dim: Count = _setting(64, "length of a latent vector during the search")
    epochs: Positive = _setting(50, "passes over the images that train the weights; ignored if steps is set")
    steps: Count | None = _setting(300, "weight steps, and as many alpha steps; null: computed from epochs")
    paths: Literal["mixed", "sampled"] = _setting(
        "mixed", "mixed: one network of all operations (paper); sampled: single networks, each trained briefly"
    )
    networks: Count = _setting(24, "sampled: number of networks that are trained")
    try_steps: Count = _setting(300, "sampled: generator steps of a network's short adversarial training")
    samples: Annotated[int, Field(ge=6)] = _setting(500, "sampled: generated images that each network is scored on")
    batch: Count = _setting(32, "images of a weight step, and of an alpha step (paper: 64)")
    optimizer: Literal["sgd", "adamw"] = _setting("sgd", "optimiser of the weights (paper: sgd)")
    lr: Positive = _setting(0.1, "learning rate of the weights (paper: 0.3 CIFAR-10, 0.03 STL-10 and CelebA)")
    lr_min: NonNegative = _setting(0.001, "learning rate at the end of the cosine schedule")
    momentum: BelowOne = 0.9
    weight_decay: NonNegative = 3e-4
    clip: Positive = _setting(5.0, "maximum gradient norm of the weights")
    latent_lr: Positive = _setting(1.0, "SGD rate of the latents, for the loss summed over images")
    latent_start: Literal["pca", "gaussian"] = _setting("pca", "initial latents, inside the unit ball")
    lap1_share: Fraction = _setting(0.5, "Lap1's share of the loss; the rest is the squared error")
    lap1_levels: Literal["paper", "inverse"] = _setting("paper", "weight of level j: 2^(2j) or 2^(-2j)")
    alpha_lr: Positive = _setting(0.05, "Adam rate of the alphas (paper: 3e-4, for 19,550 steps)")
    alpha_weight_decay: NonNegative = _setting(0.0, "Adam L2 of the alphas (paper: 1e-3)")
    alpha_betas: Betas = (0.5, 0.999)
    warmup: BelowOne = _setting(0.2, "share of the steps before the alphas are trained")
    cost_penalty: NonNegative = _setting(0.0, "mixed: weight of the expected cost under softmax(alpha)")
    cost: Literal["macs", "parameters"] = _setting("macs", "what the cost of an operation counts")
    cost_limit: Positive | None = _setting(
        None, "upper bound on the genotype's cost, as a multiple of the blocks of CT-GAN's ResNet"
    )
    entropy_penalty: NonNegative = _setting(0.3, "weight of the alphas' final entropy; makes them decide")
    arch_data: Literal["split", "same"] = _setting(
        "split", "split: alphas have their own half of the images; same: all"
    )
    order: Literal["first", "second"] = _setting("first", "second: DARTS's unrolled step")
    mixed: Literal["merged", "plain"] = _setting(
        "merged", "merged: one convolution computes many operations; plain: one by one", free=True
    )
    compile: Annotated[Literal["auto", "on", "off"], BeforeValidator(_on_off)] = _setting(
        "auto", "whether torch.compile is used for the step", free=True
    )
    checkpoint_seconds: Positive = _setting(20.0, "minimum seconds between checkpoints", free=True)
    precision: Precision = _setting("float32", _PRECISION_HELP)
    device: str = _setting("auto", "auto, cpu, cuda or cuda:N", free=True)

    @model_validator(mode="after")
    def _ops(self) -> "SearchConfig":
        for field, known in (("normal_ops", NORMAL_OPS), ("upsample_ops", UPSAMPLE_OPS)):
            chosen = getattr(self, field)
            unknown = [op for op in chosen if op not in known]
            if not chosen or unknown or len(set(chosen)) != len(chosen):
                raise ValueError(f"{field} must name some of {', '.join(known)}, each once; got {list(chosen)}")
        if self.order == "second" and self.optimizer != "sgd":
            raise ValueError("order: second looks one step of SGD ahead; set optimizer to sgd, or order to first")
        return self


class PruneConfig(Section):
    """Alphas to a genotype (paper 3.2, pruning phase)."""

    compare: Literal["alpha", "weight"] = _setting(
        "alpha", "compared across connections: raw alphas or softmax weights"
    )
    pick: Literal["last", "best-margin"] = _setting(
        "last", "which report's genotype is kept: the last one, or the one with the largest margin"
    )


class TrainConfig(Section):
    """Adversarial training of one generator; ``proxy`` (short, a judge) and ``full`` (the result) are two of these."""

    framework: Literal["ctgan", "wgan-gp", "sngan", "cagan", "r3gan"] = "ctgan"
    supervised: bool = _setting(False, "conditional BN and an auxiliary classifier; needs labels")
    width: Count = _setting(32, "channels of the generator")
    critic_width: Count = _setting(32, "channels of the critic")
    latent_dim: Count = _setting(64, "length of z ~ N(0, I)")
    scale_latent: bool = _setting(False, "latent_dim is for 32x32; scale it by the resolution (48x48: 1.5)")
    steps: Count = _setting(200, "generator steps")
    critic_steps: Count = _setting(2, "critic steps before each generator step (paper: 5)")
    batch: Count = _setting(32, "real images in a critic step")
    generator_batch: Count = _setting(64, "samples in a generator step")
    lr: Positive = _setting(1e-3, "Adam rate of the generator (paper: 2e-4)")
    critic_lr: Positive = _setting(1e-3, "Adam rate of the critic (paper: 2e-4)")
    betas: Betas = (0.0, 0.9)
    beta2_end: BelowOne | None = _setting(None, "Adam's beta2 at the end of the schedule; null: unchanged")
    decay: Literal["linear", "cosine", "none"] = _setting("linear", "schedule of every setting that has an end value")
    decay_to: Fraction = _setting(0.0, "learning rates at the end of the schedule, as a share of lr and critic_lr")
    gradient_penalty: NonNegative = _setting(10.0, "weight of the gradient penalty (ctgan, wgan-gp, cagan)")
    gamma: NonNegative = _setting(1.0, "weight of the squared gradients on real and generated images (r3gan)")
    gamma_end: NonNegative | None = _setting(None, "gamma at the end of the schedule; null: unchanged")
    penalty: Literal["exact", "approximate"] = _setting("exact", "r3gan: exact gradients, or finite differences")
    consistency: NonNegative = _setting(2.0, "weight of the consistency term CT (ctgan, cagan)")
    consistency_features: NonNegative = _setting(0.1, "weight of the features' distance in CT")
    consistency_margin: NonNegative = _setting(0.0, "M of CT: the distance that costs nothing")
    critics: Count = _setting(2, "number of dropout critics that are made consistent (cagan)")
    auxiliary_critic: NonNegative = _setting(1.0, "weight of the classifier loss on real images")
    auxiliary_generator: NonNegative = _setting(0.1, "weight of the classifier loss on generated images")
    label_rate: Positive = _setting(1.0, "learning rate of the class scales and shifts, as a multiple of lr")
    ema: BelowOne = _setting(0.0, "decay of the averaged generator weights; 0: no average")
    clip: NonNegative = _setting(0.0, "maximum gradient norm; 0: no limit")
    precision: Precision = _setting("float32", _PRECISION_HELP)
    compile: Annotated[Literal["on", "off"], BeforeValidator(_on_off)] = _setting(
        "off", "whether torch.compile and CUDA graphs are used on a GPU", free=True
    )
    device: str = _setting("auto", "auto, cpu, cuda or cuda:N", free=True)
    milestones: tuple[Fraction, ...] = _setting((), "shares of the steps at which the generator is scored", free=True)
    checkpoint_seconds: Positive = _setting(20.0, "minimum seconds between checkpoints", free=True)
    checkpoint_quota: Count | None = _setting(None, "maximum bytes of a run's checkpoints", free=True)

    @model_validator(mode="after")
    def _ends(self) -> "TrainConfig":
        moving = {"gamma_end": self.gamma_end, "beta2_end": self.beta2_end, "decay_to": self.decay_to or None}
        given = [name for name, value in moving.items() if value is not None]
        if self.decay == "none" and given:
            raise ValueError(f"{', '.join(given)}: nothing moves under decay: none; set decay to linear or cosine")
        return self

    def latent_at(self, resolution: int) -> int:
        """Return the length of a latent vector for images of this resolution."""
        if not self.scale_latent:
            return self.latent_dim
        return max(1, round(self.latent_dim * resolution / LATENT_RESOLUTION))


class ScoresConfig(Section):
    """What is measured, on how many samples, with which network (paper 4; docs/method.md)."""

    extractor: Literal["inception", "efficientnet-lite0"] = "efficientnet-lite0"
    resizer: Literal["clean", "legacy"] = _setting(
        "clean", "clean-fid's, or inception's own in TensorFlow's graph, which published FIDs have"
    )
    weights: Path | None = _setting(None, "file of the extractor's weights, if it is not in the cache", free=True)
    samples: Annotated[int, Field(ge=2)] = _setting(1000, "generated images")
    real: Annotated[int, Field(ge=2)] | None = _setting(1000, "real images; null: as many as the samples")
    splits: Count = _setting(10, "splits of the inception score")
    batch: Annotated[int, Field(ge=2)] = _setting(100, "samples in a forward pass; batch statistics are over them")
    bn: Literal["batch", "running"] = _setting("batch", "BN statistics while sampling")
    precision: Precision = _setting(
        "float32", "precision of the extractor; scores of different precision are not ranked together"
    )


class RerankConfig(Section):
    """The best few once more, with fresh training seeds: the best of many noisy scores flatters itself."""

    top: Annotated[int, Field(ge=0)] = _setting(2, "number of distinct genotypes; 0: no re-ranking")
    seeds: Count = _setting(1, "fresh proxy trainings of each")


class BudgetConfig(Section):
    """The study asks for no more trials once any of these is spent; counted across resumes."""

    hours: Positive | None = None
    gpu_hours: Positive | None = None
    dollars: Positive | None = None
    dollars_per_hour: NonNegative = 0.0
    trials: Count | None = None


class StudyConfig(Section):
    """Trials, their placement and what is optimised."""

    trials: Count = _setting(4, "number of trials")
    concurrent: Count | None = _setting(None, "trials at the same time; null: as many as fit")
    cpus: Positive = _setting(1.0, "CPUs of a trial, and its number of threads")
    gpus: NonNegative | None = _setting(None, "GPUs of a trial, may be a fraction; null: 1 if there is one")
    search_cpus: Positive | None = _setting(None, "CPUs of a trial's search; null: as many as the trial")
    search_gpus: NonNegative | None = _setting(None, "GPUs of a trial's search; null: as many as the trial")
    promotion_gpus: NonNegative | None = _setting(
        None, "GPUs of the full-length training, which share each batch; null: 1 where there is one"
    )
    tune: tuple[str, ...] = _setting((), "tuned keys only; empty: all of docs/method.md's list")
    objectives: tuple[Literal["fid", "parameters", "macs"], ...] = ("fid",)
    early_stop: bool = _setting(False, "successive halving at proxy.milestones, or at 0.25 and 0.5")
    max_parameters: Count | None = _setting(None, "generators with more parameters are not trained")
    repeats: Count = _setting(1, "proxy trainings of every genotype, whose mean distance is its score")
    strategy: Literal["glo-darts", "random", "evolution", "reinforce"] = _setting(
        "glo-darts", "where genotypes come from: a search in every trial, chance, evolution, or a controller"
    )
    rerank: RerankConfig = RerankConfig()
    promote: bool = _setting(True, "train the winner to full length and register it as champion")
    promotions: Count = _setting(3, "maximum number of full trainings, if the earlier ones collapse")
    continue_winner: bool = _setting(False, "the promotion goes on with the winner's short training, whose steps count")
    yardstick: bool = _setting(
        True, "train the ResNet with the proxy settings too, once for these images and settings", free=True
    )
    budget: BudgetConfig = BudgetConfig()
    max_failures: Annotated[int, Field(ge=0)] = _setting(3, "restarts of a trial whose worker died", free=True)
    on_finish: str | None = _setting(None, "command to run when the study ends", free=True)


# What the promotion must have in common with the short training that it goes on with.
_CONTINUED = (
    "framework", "supervised", "width", "critic_width", "latent_dim", "scale_latent", "batch", "generator_batch",
    "critics",
)  # fmt: skip


# The settings, besides the data set, that decide which images there are.
IMAGES = ("resolution", "data_dir", "limit", "split", "allow_incomplete")


class Config(Section):
    """Everything that a command can be told."""

    dataset: str = _setting("digits", "digits, photos, fashion-mnist, cifar10, stl, celeba, folder:DIR, ...")
    resolution: Annotated[int, Field(ge=8, multiple_of=8)] | None = _setting(None, "null: the dataset's own")
    data_dir: Path | None = _setting(None, "where a dataset's original files are")
    limit: Count | None = _setting(None, "maximum number of images, drawn so that every class keeps its share")
    split: str | None = _setting(None, "folder: and parquet: train, test, ... or all; null: train if there")
    allow_incomplete: bool = _setting(False, "accept a known data set that is incomplete")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    search: SearchConfig = SearchConfig()
    prune: PruneConfig = PruneConfig()
    proxy: TrainConfig = TrainConfig()
    full: TrainConfig = TrainConfig(steps=600)
    scores: ScoresConfig = ScoresConfig()
    study: StudyConfig = StudyConfig()

    def images(self) -> dict[str, Any]:
        """Return the settings that decide which images there are: keyword arguments of ``degas_ray.data.prepare``."""
        return {name: getattr(self, name) for name in IMAGES}

    @model_validator(mode="after")
    def _continued(self) -> "Config":
        if not self.study.continue_winner:
            return self
        apart = [key for key in _CONTINUED if getattr(self.proxy, key) != getattr(self.full, key)]
        if bool(self.proxy.ema) != bool(self.full.ema):
            apart.append("ema")
        if apart:
            raise ValueError(f"study.continue_winner: proxy and full have another {', '.join(apart)}; make them equal")
        if self.full.steps <= self.proxy.steps:
            raise ValueError(f"study.continue_winner: full.steps must be more than proxy.steps = {self.proxy.steps}")
        return self


# What each framework trains with on a laptop: the best row of ``python -m benchmarks.recipes`` at 16x16, and the best
# at 32x32 too (docs/training.md). The steps are the data set's, whichever framework it is.
_STEADY: dict[str, Any] = {"decay": "none", "ema": 0.99}
_FEW: dict[str, Any] = {**_STEADY, "batch": 16, "generator_batch": 16}
_ONE_STEP: dict[str, Any] = {**_STEADY, "critic_steps": 1, "batch": 32, "generator_batch": 32}
FRAMEWORK = "r3gan"  # of trainings where none is asked for; CT-GAN, which the paper has, is far behind it on a laptop
RECIPES: dict[str, dict[str, Any]] = {
    "r3gan": {**_FEW, "critic_steps": 1, "lr": 2e-3, "critic_lr": 2e-3},
    "ctgan": _FEW,
    "wgan-gp": _ONE_STEP,
    "sngan": _ONE_STEP,
    "cagan": _ONE_STEP,
}
# Laid over the defaults for datasets at 32x32 and more (docs/method.md).
_PHOTO: dict[str, Any] = {
    "search": {"paths": "sampled", "steps": 1000, "latent_dim": 128},
    "proxy": {"latent_dim": 128, "steps": 500},
    "full": {"latent_dim": 128, "steps": 3000},
    "scores": {"samples": 2000, "real": 2000},
    "study": {"trials": 8, "rerank": {"top": 4, "seeds": 3}},  # three trainings take a fifth of a search
}
# With --supervised: the paper's weights of the classifier, 1.0 and 0.1, are for a training a hundred times as long.
_LABELS: dict[str, Any] = {"auxiliary_critic": 5.0, "auxiliary_generator": 1.0, "label_rate": 10.0}
DATASET_DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": {
        "proxy": {**_LABELS, "steps": 300},
        "full": {**_LABELS, "steps": 1500},
        "study": {"rerank": {"top": 3, "seeds": 1}},  # the fewest from which the reliability of a seed is computed
    }
}
# Laid over that where single networks are tried: what is found has no more weights than the ResNet.
_SAMPLED: dict[str, Any] = {"cost": "parameters", "cost_limit": 1.0}


def defaults_for(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that are laid over the class defaults for what ``tree`` asks for.

    They depend on the data set, the way to search, and the framework of each training.
    """
    dataset = tree.get("dataset", Config.model_fields["dataset"].default)
    if not isinstance(dataset, str):
        return {}
    name = dataset.partition(":")[0]
    base = DATASET_DEFAULTS.get(name, _PHOTO)
    paths = _within(tree, "search", "paths") or _within(base, "search", "paths")
    if paths == "sampled":
        base = merge(base, {"search": _SAMPLED})
    for section in ("proxy", "full"):
        framework = _within(tree, section, "framework") or FRAMEWORK
        recipe = RECIPES.get(framework, {}) if isinstance(framework, str) else {}
        base = merge({section: {"framework": FRAMEWORK, **recipe}}, base)
    return base


def _within(tree: Mapping[str, Any], section: str, key: str) -> Any:
    inner = tree.get(section)
    return inner.get(key) if isinstance(inner, Mapping) else None


def resolve(file: Path | None = None, sets: Iterable[str] = (), overrides: Mapping[str, Any] | None = None) -> Config:
    """Build the configuration from dataset defaults, a YAML file, ``key=value`` settings and overrides, in that order.

    Args:
        file: YAML with any part of the tree, or an experiment, whose ``config`` counts.
        sets: ``dotted.key=value``; the value is read as YAML.
        overrides: Dotted keys to values, from command-line options; ``None`` values are left out.

    Raises:
        ConfigError: With every fault, by dotted path.

    Example:
        >>> resolve(sets=["search.width=8"]).search.width
        8
    """
    faults: list[str] = []
    given: list[str] = []
    tree = {} if file is None else settings_in(file)
    for text in sets:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            faults.append(f"--set {_short(text)}: expected key=value, such as --set search.width=16")
            continue
        try:
            _put(tree, key.strip(), yamls.load(value), faults)
            given.append(key.strip())
        except yamls.YamlFault as fault:
            faults.append(f"--set {_short(text)}: the value {fault}; quote it, such as --set '{_short(key)}=\"text\"'")
    for key, value in (overrides or {}).items():
        if value is not None:
            _put(tree, key, value, faults)
            given.append(key)
    if faults:
        raise ConfigError(faults)
    try:
        return resolve_tree(tree)
    except ConfigError as error:
        if file is None:
            raise
        raise ConfigError(_placed(error.faults, file, given)) from None


def resolve_tree(tree: Mapping[str, Any]) -> Config:
    """Build the configuration from a nested mapping, laid over its dataset's defaults.

    Raises:
        ConfigError: With every fault, by dotted path.
    """
    return from_tree(merge(defaults_for(tree), tree))


def settings_in(file: Path) -> dict[str, Any]:
    """Return the settings that a YAML file holds: all of it, or what an experiment has below ``config``.

    Keys may be dotted, as on the command line.

    Raises:
        InputError: Where it cannot be read, or holds something else than keys, or one of them twice.
    """
    tree = read_yaml(file)
    inner = tree.get("config")
    faults: list[str] = []
    settings = _undotted(inner if isinstance(inner, dict) else tree, faults)
    if faults:
        raise ConfigError(f"{fault} ({file})" for fault in faults)
    return settings


def from_tree(tree: Mapping[str, Any]) -> Config:
    """Validate a nested mapping.

    Raises:
        ConfigError: With every fault, by dotted path.
    """
    # "full" keeps its own defaults where only a part of it is given.
    full = (
        {"steps": Config.model_fields["full"].default.steps} | dict(tree["full"]) if _is_map(tree.get("full")) else None
    )
    try:
        return Config.model_validate({**tree, **({"full": full} if full is not None else {})})
    except ValidationError as error:
        known = known_keys()  # a suggestion takes a millisecond, so it is made for the faults that are shown
        faults = [
            describe_fault(item, known if number < SHOWN_FAULTS else ()) for number, item in enumerate(error.errors())
        ]
        raise ConfigError(faults) from None


def stored_config(state: Mapping[str, Any], file: Path) -> Config:
    """Validate the configuration that a run or a study keeps.

    Args:
        state: What is in ``file``; its ``config`` counts.
        file: Named where another version wrote settings that this one does not have.

    Raises:
        InputError: With every setting that does not fit.
    """
    try:
        return from_tree(state["config"])
    except ConfigError as error:
        raise InputError(
            f"{file} has settings that this version of degas-ray does not take:\n"
            + "".join(f"  {fault}\n" for fault in error.faults)
            + "open it with the version that wrote it, which provenance.json beside it names, or begin anew under "
            "another name"
        ) from None


def flatten(config: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Return dotted keys to plain values, in the order of the classes: what MLflow shows as parameters."""
    flat: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def identity(section: BaseModel) -> dict[str, Any]:
    """Return a section's settings that its results depend on, as JSON-able values; equal ones give equal results."""
    extras = {name: field.json_schema_extra for name, field in type(section).model_fields.items()}
    return section.model_dump(mode="json", exclude={name for name, extra in extras.items() if extra == UNCHANGED})


def dump(config: Config) -> str:
    """Return YAML that :func:`resolve` reads back to an equal configuration."""
    return yamls.dump(config.model_dump(mode="json"))


def known_keys() -> list[str]:
    """Return every dotted key."""
    return list(flatten(Config()))


def read_yaml(file: Path) -> dict[str, Any]:
    """Return what a YAML file holds; nothing in it is executed.

    Raises:
        InputError: Where it cannot be read, or holds something else than keys.
    """
    try:
        tree = yamls.load(_text_of(file))
    except yamls.YamlFault as fault:
        raise InputError(f"{file} {fault}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InputError(f"{file} holds a {type(tree).__name__}; expected keys such as 'dataset: digits'")
    return tree


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read the configuration {file}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{file} is not a text file; expected YAML such as 'search: {{width: 16}}'") from None


def _undotted(tree: Mapping[str, Any], faults: list[str], prefix: str = "") -> dict[str, Any]:
    """Return settings whose dotted keys have become sections; what is set twice in that way is a fault."""
    settings: dict[str, Any] = {}
    sections = {key.rpartition(".")[0] for key in known_keys()} - {""}
    for key, value in tree.items():
        parts = key.split(".") if isinstance(key, str) else [key]
        if _is_map(value) and f"{prefix}{key}" in sections:
            value = _undotted(value, faults, f"{prefix}{key}.")
        place = settings
        for part in parts[:-1]:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                faults.append(f"{_short(prefix + str(key))}: {_short(part)} is a single value elsewhere, not a section")
                break
            place = inner
        else:
            known = place.get(parts[-1])
            if parts[-1] not in place:
                place[parts[-1]] = dict(value) if _is_map(value) else value
            elif isinstance(known, dict) and _is_map(value) and not set(known) & set(value):
                known.update(value)
            else:
                faults.append(f"{_short(prefix + str(key))}: set twice, dotted and in its section; keep one")
    return settings


def _placed(faults: Sequence[str], file: Path, given: Sequence[str]) -> list[str]:
    """Add the line to faults of a file's keys.

    Args:
        faults: Each begins with the dotted path.
        given: Keys that were set elsewhere.
    """
    line_of = yamls.lines_of(_text_of(file))
    placed = []
    for fault in faults[:SHOWN_FAULTS]:
        path = fault.partition(":")[0]
        line = None
        if not any(path == key or path.startswith(f"{key}.") for key in given):
            line = line_of(path) or line_of(f"config.{path}")
        placed.append(fault if line is None else f"{fault} ({file}, line {line})")
    return [*placed, *faults[SHOWN_FAULTS:]]


def _put(tree: dict[str, Any], dotted: str, value: Any, faults: list[str]) -> None:
    *parents, leaf = dotted.split(".")
    for parent in parents:
        child = tree.setdefault(parent, {})
        if not isinstance(child, dict):
            faults.append(f"{dotted}: {parent} is a single value, not a section")
            return
        tree = child
    tree[leaf] = value


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings laid over each other; what is no mapping is replaced."""
    merged = dict(base)
    for key, value in over.items():
        merged[key] = merge(base[key], value) if _is_map(value) and _is_map(base.get(key)) else value
    return merged


def _short(text: str) -> str:
    """Return ``text`` as an error can show it: not too long, and printable."""
    shown = text.encode("utf-8", "backslashreplace").decode()
    return shown if len(shown) <= SHOWN else shown[: SHOWN - 3] + "..."


def describe_fault(item: Any, known: Sequence[str]) -> str:
    """Return one of pydantic's errors as a sentence that begins with the dotted path.

    Args:
        known: The keys that a misspelt one may have meant.
    """
    path = ".".join(str(part) for part in item["loc"]) or "configuration"
    if item["type"] == "extra_forbidden":
        inner = item["input"]
        if _is_map(inner) and len(inner) == 1:  # as 'serach.steps=3' is: its last part tells what is meant
            path = f"{path}.{next(iter(inner))}"
        elif _is_map(inner):
            known = [*known, *(key.rpartition(".")[0] for key in known)]
        near = difflib.get_close_matches(path, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "see 'degas-ray tune --dry-run'"
        return f"{_short(path)}: no such key; {hint}"[:_LONGEST]
    if item["type"] == "value_error":
        return f"{path}: {item['ctx']['error']}"[:_LONGEST]
    shown = _REPR.repr(item["input"])[:_LONGEST_VALUE]
    return f"{_short(path)}: got {shown}, expected {item['msg'].removeprefix('Input should be ')}"[:_LONGEST]
