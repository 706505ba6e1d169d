"""An experiment's file: what is compared, under which settings, at which scale; all faults at once."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from degas_ray.config import Config, Count, Section, describe_fault, merge, read_yaml, resolve_tree
from degas_ray.errors import ConfigError, InputError
from degas_ray.gan import HANDMADE
from degas_ray.precision import SECTIONS
from degas_ray.space import find_genotype

FULL = "full"  # the file's own numbers
LAPTOP = "laptop"
SCALES = (FULL, LAPTOP)
FOLDER = Path("experiments")
RESULTS = "results"
_OVERLAID = ("config", "generators", "trainings")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Generators(Section):
    """A group of generators; each has a member a seed, or a name."""

    kind: Literal["search", "study", "random", "named"] = Field(description="where they come from")
    seeds: Count | tuple[Seed, ...] = Field(1, description="so many from 0 on, or these; not of named ones")
    names: tuple[str, ...] = Field((), description="published genotypes, genotypes, resnet, dcgan")
    settings: dict[str, Any] = Field({}, description="dotted keys over config, for finding them alone")

    @model_validator(mode="after")
    def _named(self) -> "Generators":
        if (self.kind == "named") != bool(self.names):
            raise ValueError("names: expected with kind: named, and with no other kind")
        for name in self.names:
            if name not in HANDMADE:
                try:
                    find_genotype(name)
                except InputError as error:
                    raise ValueError(str(error)) from None
        return self

    @property
    def members(self) -> tuple[str, ...]:
        """The members' names: of the generators, or the seeds."""
        return self.names or tuple(map(str, numbers(self.seeds)))


class Leaders(Section):
    """The best members of every group, after another training."""

    of: Name = Field(description="the training that tells")
    top: Count = Field(description="members of each group")


class Training(Section):
    """A training that generators get, once a seed."""

    like: Literal["proxy", "full"] = Field("proxy", description="the section of config that is meant")
    seeds: Count | tuple[Seed, ...] = Field(1, description="so many from 0 on, or these")
    generators: tuple[Name, ...] = Field((), description="of these groups alone")
    leaders: Leaders | None = None
    settings: dict[str, Any] = Field({}, description="dotted keys over config, for this training alone")


class Claim(Section):
    """That one group's generators are better than another's, which the report decides."""

    better: Name
    than: Name
    trainings: tuple[Name, ...] = Field(
        min_length=1, description="whose distances count; those of one member are averaged"
    )


class _Body(Section):
    title: str
    question: str
    paper: str = Field(description="what the paper says of it")
    caveat: str = Field("", description="what the distances here do not say; reports show it with every verdict")
    config: dict[str, Any] = Field({}, description="the ordinary settings, as 'degas-ray tune --config' takes them")
    generators: dict[Name, Generators] = Field(min_length=1)
    trainings: dict[Name, Training]
    claims: tuple[Claim, ...] = Field((), description="what the report is to decide")


class _Numbers(Section):
    """The same experiment's numbers at another scale: laid over the file's own."""

    config: dict[str, Any] = Field({})
    generators: dict[Name, dict[str, Any]] = Field({})
    trainings: dict[Name, dict[str, Any]] = Field({})


class _File(_Body):
    scale: dict[Literal["laptop"], _Numbers] = Field({})


@dataclass(frozen=True)
class Experiment:
    """An experiment at one scale.

    Args:
        name: Of the file.
        file: Where it was read.
        scale: ``full`` or ``laptop``.
        title: In a few words.
        question: What it answers.
        paper: What the paper says.
        tree: The settings as a nested mapping.
        generators: Groups, by name; the others are compared with the first.
        trainings: In the order in which they are done.
        claims: What the report is to decide.
        caveat: What the distances here do not say.
    """

    name: str
    file: Path
    scale: str
    title: str
    question: str
    paper: str
    tree: Mapping[str, Any]
    generators: Mapping[str, Generators]
    trainings: Mapping[str, Training]
    claims: tuple[Claim, ...] = ()
    caveat: str = ""

    @cached_property
    def config(self) -> Config:
        """The settings that all rows share."""
        return resolve_tree(self.tree)

    @property
    def results(self) -> Path:
        """The file of its rows, beside the experiments."""
        folder = self.file.parent
        root = folder.parent if folder.name == LAPTOP else folder
        return root / RESULTS / (f"{self.name}.parquet" if self.scale == FULL else f"{self.name}.{self.scale}.parquet")

    @property
    def command(self) -> str:
        """What to type to run it."""
        return f"degas-ray experiment run {self.name}" + ("" if self.scale == FULL else f" --scale {self.scale}")

    def finding(self, group: str) -> Config:
        """Return the settings under which a group's generators are found."""
        return resolve_tree(_laid(self.tree, self.generators[group].settings))

    def training(self, name: str) -> Config:
        """Return the settings of a training, which are in ``full`` whatever it is like."""
        training = self.trainings[name]
        config = resolve_tree(_laid(self.tree, training.settings))
        return config.model_copy(update={"full": config.proxy}) if training.like == "proxy" else config

    def groups_of(self, training: str) -> tuple[str, ...]:
        """Return the groups that get a training."""
        return self.trainings[training].generators or tuple(self.generators)


def numbers(seeds: int | tuple[int, ...]) -> tuple[int, ...]:
    """Return seeds that are given as a number of them, or one by one."""
    return tuple(range(seeds)) if isinstance(seeds, int) else seeds


def load_experiment(file: Path, scale: str = FULL) -> Experiment:
    """Read an experiment and check all of it, at every scale that it has.

    Args:
        file: YAML.
        scale: ``full``, the file's own numbers, or ``laptop``.

    Raises:
        ConfigError: With every fault, by dotted path.
        InputError: Where the file cannot be read, or has no such scale.
    """
    found = load_scales(file)
    if scale not in found:
        raise InputError(f"{file} has no scale {scale!r}; it has: {', '.join(found)}")
    return found[scale]


def load_scales(file: Path) -> dict[str, Experiment]:
    """Read an experiment at every scale that it has.

    Raises:
        ConfigError: With every fault, by dotted path.
        InputError: Where the file cannot be read.
    """
    tree = read_yaml(file)
    try:
        parsed = _File.model_validate(tree)
    except ValidationError as error:
        known = list(_known(tree))
        raise ConfigError(describe_fault(item, known) for item in error.errors()) from None
    found = {FULL: _experiment(file, FULL, parsed)}
    faults = list(_faults(found[FULL], ""))
    for name, overlay in parsed.scale.items():
        base = {key: tree.get(key, {}) for key in _OVERLAID}
        prefix = f"scale.{name}."
        new = [
            f"{prefix}{section}.{key}: there is none called {key} to be changed"
            for section in ("generators", "trainings")
            for key in getattr(overlay, section)
            if key not in base[section]
        ]
        try:
            body = _Body.model_validate({**_without_scale(tree), **merge(base, overlay.model_dump(exclude_unset=True))})
        except ValidationError as error:
            faults += [*new, *(prefix + describe_fault(item, list(_known(tree))) for item in error.errors())]
            continue
        found[name] = _experiment(file, name, body)
        faults += [*new, *(fault for fault in _faults(found[name], prefix) if fault.removeprefix(prefix) not in faults)]
    if faults:
        raise ConfigError(faults)
    return found


def list_experiments(folder: Path) -> list[Path]:
    """Return the experiments' files below ``folder``: the paper's, then ours.

    Raises:
        InputError: Where there are none, as anywhere but in a clone.
    """
    places = (folder, folder / LAPTOP)
    found = [file for place in places for file in sorted(place.glob("*.yaml"), key=lambda file: file.stem)]
    if not found:
        raise InputError(
            f"there are no experiments in {folder.absolute()}; they come with degas-ray's repository: type this in a "
            "clone of it, or name their folder with --folder DIR; one file runs by its path from anywhere"
        )
    return found


def find_experiment(name: str, folder: Path) -> Path:
    """Return the file of an experiment, by its name or its path.

    Raises:
        InputError: Where there is none, with what there is.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    known = {path.stem: path for path in list_experiments(folder)}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? There is: " if near else "there is: "
    raise InputError(f"no experiment {name!r} in {folder}; {hint}{', '.join(known)}")


def _experiment(file: Path, scale: str, body: _Body) -> Experiment:
    return Experiment(
        name=file.stem,
        file=file,
        scale=scale,
        title=body.title,
        question=_one_line(body.question),
        paper=_one_line(body.paper),
        caveat=_one_line(body.caveat),
        tree=body.config,
        generators=body.generators,
        trainings=body.trainings,
        claims=body.claims,
    )


def _faults(experiment: Experiment, prefix: str) -> Iterator[str]:
    """Yield what only shows where parts are put together."""
    whole = list(_settings_faults(experiment.tree, {}, f"{prefix}config"))
    if whole:
        yield from whole
        return  # each group and training would say the same again
    for name, group in experiment.generators.items():
        yield from _settings_faults(experiment.tree, group.settings, f"{prefix}generators.{name}.settings")
    before: list[str] = []
    for name, training in experiment.trainings.items():
        path = f"{prefix}trainings.{name}"
        yield from _settings_faults(experiment.tree, training.settings, f"{path}.settings")
        for named in training.generators:
            if named not in experiment.generators:
                yield f"{path}.generators: no group {named!r}; there is: {', '.join(experiment.generators)}"
        if training.leaders is not None and training.leaders.of not in before:
            earlier = ", ".join(before) or "none"
            yield f"{path}.leaders.of: got {training.leaders.of!r}, expected an earlier training; there is: {earlier}"
        before.append(name)
    for place, claim in enumerate(experiment.claims):
        for named in (claim.better, claim.than):
            if named not in experiment.generators:
                yield f"{prefix}claims.{place}: no group {named!r}; there is: {', '.join(experiment.generators)}"
        for named in claim.trainings:
            if named not in experiment.trainings:
                yield f"{prefix}claims.{place}.trainings: no {named!r}; there is: {', '.join(experiment.trainings)}"


def _settings_faults(tree: Mapping[str, Any], settings: Mapping[str, Any], path: str) -> Iterator[str]:
    try:
        config = resolve_tree(_laid(tree, settings))
    except ConfigError as error:
        yield from (f"{path}.{fault}" for fault in error.faults)
        return
    for name in SECTIONS:  # rows of one key must be the same on every machine
        if getattr(config, name).precision == "auto":
            yield f"{path}.{name}.precision: got auto, which depends on the machine; expected float32 or bf16"


def _laid(tree: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    laid = dict(tree)
    for key, value in settings.items():
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        laid = merge(laid, nested)
    return laid


def _known(tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield every path that the file could have meant."""
    yield from _File.model_fields
    for section, model in (("generators", Generators), ("trainings", Training)):
        named = tree.get(section)
        for name in named if isinstance(named, Mapping) else ():
            yield from (f"{section}.{name}.{field}" for field in model.model_fields)
            yield from (f"{section}.{name}.leaders.{field}" for field in Leaders.model_fields)
    yield from (f"scale.{LAPTOP}.{field}" for field in _Numbers.model_fields)


def _without_scale(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tree.items() if key != "scale"}


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
