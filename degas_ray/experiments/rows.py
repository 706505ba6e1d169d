"""Rows: what each search, study and training came to, in one Parquet file that is always whole."""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from degas_ray.config import Config, TrainConfig, from_tree, identity
from degas_ray.errors import InputError
from degas_ray.files import write_bytes

KEY_DIGITS = 12
_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
# A study of an experiment promotes nothing.
_PROMOTION = {"promotions", "continue_winner"}
# Settings that change no result, and yet are in the keys of the first rows, with the value that all of those have.
_ALWAYS: dict[str, dict[str, Any]] = {
    "search": {"mixed": "merged"},
    "study": {"max_failures": 3, "on_finish": None},
}
# Settings that are younger than the first rows, with what was done before: so they are left out of keys, and rows keep
# theirs.
_TRAINING = {"beta2_end": None, "decay_to": 0.0, "gamma": 1.0, "gamma_end": None, "penalty": "exact"}
_AS_BEFORE: dict[str, dict[str, Any]] = {
    "images": {"split": None, "allow_incomplete": False},
    "proxy": _TRAINING,
    "full": _TRAINING,
    "scores": {"precision": "float32", "resizer": "clean"},
}


@dataclass(frozen=True)
class Row:
    """One piece of work.

    Args:
        key: Hash of all settings that it depends on: the same work has the same key in every experiment.
        kind: search, study, trial (of a study) or training.
        group: The generators' group.
        member: Which of them: a seed or a name.
        outcome: completed, collapsed, pruned, diverged or failed.
        dataset: Of the images.
        resolution: Of the images; 0 where the work ended before they were opened.
        training: Its name; empty for what is not one.
        seed: Of the search, the study or the training.
        genotype: Text, or the name of a generator designed by hand.
        genotype_hash: Of a genotype.
        n: Normal maps between up-sampled ones; 0 without a genotype.
        supervised: Whether labels were used.
        parameters: Of the generator.
        macs: Multiply-adds for one image.
        fid: Fréchet distance.
        kid: Kernel distance.
        is_mean: Inception score.
        is_std: Its spread over the splits.
        precision: Share of generated images that look real.
        recall: Share of real images that could have been generated.
        density: How deep generated images lie among real ones.
        coverage: Share of real images with a generated one near by.
        distance_name: What ``fid`` is called before a person.
        protocol: How the scores were measured, as JSON.
        protocol_hash: Scores with the same one may be ranked.
        second: Scores of the second judge, as JSON; empty without one.
        milestones: Steps to distances along the way, as JSON.
        entropy_start: Mean entropy of softmax(alpha) at the beginning, as a share of the uniform one.
        entropy_end: And at the end.
        skip_share: Share of ``skip_connect`` at the end.
        margin: Mean distance between first and second choice at the end.
        params: A trial's tuned values, as JSON.
        settings: All settings, as JSON.
        seconds: Spent in all attempts together.
        run: The run's or study's folder in the home directory.
        run_id: In MLflow.
        version: Of this package.
        error: Why it has no score.
    """

    key: str
    kind: str
    group: str
    member: str
    outcome: str
    dataset: str
    resolution: int = 0
    training: str = ""
    seed: int = 0
    genotype: str = ""
    genotype_hash: str = ""
    n: int = 0
    supervised: bool = False
    parameters: int | None = None
    macs: int | None = None
    fid: float | None = None
    kid: float | None = None
    is_mean: float | None = None
    is_std: float | None = None
    precision: float | None = None
    recall: float | None = None
    density: float | None = None
    coverage: float | None = None
    distance_name: str = ""
    protocol: str = ""
    protocol_hash: str = ""
    second: str = ""
    milestones: str = "{}"
    entropy_start: float | None = None
    entropy_end: float | None = None
    skip_share: float | None = None
    margin: float | None = None
    params: str = "{}"
    settings: str = "{}"
    seconds: float = 0.0
    run: str = ""
    run_id: str = ""
    version: str = ""
    error: str = ""


def _schema() -> pa.Schema:
    return pa.schema([(field.name, _TYPES[(get_args(field.type) or (field.type,))[0]]) for field in fields(Row)])


def read_rows(file: Path) -> list[Row]:
    """Return the rows of a file; none where there is no file.

    Raises:
        InputError: Where it holds something else.
    """
    if not file.exists():
        return []
    try:
        table = pq.read_table(io.BytesIO(file.read_bytes()))
        return [Row(**value) for value in table.to_pylist()]
    except (pa.ArrowException, TypeError, OSError) as error:
        raise InputError(f"{file} is not a file of an experiment's rows: {error}; restore it or remove it") from None


def files_with_rows(folder: Path) -> list[Path]:
    """Return a folder's files of experiments' rows, by name; tables of benchmarks beside them are none.

    A file that is damaged is among them, so that reading it says so.
    """
    found = []
    for file in sorted(folder.glob("*.parquet")):
        try:
            names = pq.read_schema(file).names
        except (pa.ArrowException, OSError):
            names = ["key", "kind"]
        if {"key", "kind"} <= set(names):
            found.append(file)
    return found


def write_rows(file: Path, rows: Iterable[Row], facts: Mapping[str, str]) -> None:
    """Write rows so that ``file`` is either the old one or the whole new one.

    Args:
        file: Parquet.
        rows: All of them.
        facts: Kept as the file's metadata.

    Raises:
        DegasError: Where it cannot be written.
    """
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=_schema().with_metadata(dict(facts)))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_bytes(file, buffer.getvalue())


def finished(rows: Sequence[Row], key: str) -> Row | None:
    """Return the row of a piece of work that is over, or ``None``."""
    return next((row for row in rows if row.key == key), None)


def search_key(config: Config) -> str:
    """Return the key of a search; one by single networks trains and scores them as the proxy does."""
    trained = ("proxy", "scores") if config.search.paths == "sampled" else ()
    return _key("search", config, "search", "prune", *trained)


def study_key(config: Config) -> str:
    """Return the key of a study, which depends on everything."""
    return _key("study", config, "search", "prune", "proxy", "scores", "study")


def training_key(config: Config, what: str) -> str:
    """Return the key of a training with its scores.

    Args:
        config: Its ``full`` counts.
        what: The genotype's text, or a generator's name.
    """
    return _key(f"training {what}", config, "full", "scores")


def config_of(row: Row) -> Config:
    """Return the settings that a row keeps."""
    return from_tree(json.loads(row.settings))


def plain_settings(config: Config) -> str:
    """Return all settings as JSON, without where things are on this machine."""
    tree = config.model_dump(mode="json", exclude={"data_dir": True, "scores": {"weights"}})
    return json.dumps(tree, sort_keys=True)


def _key(kind: str, config: Config, *sections: str) -> str:
    facts: dict[str, Any] = {"kind": kind, "seed": config.seed}
    facts |= {name: getattr(config, name) for name in ("dataset", "resolution", "limit")}
    facts |= _news("images", {name: getattr(config, name) for name in _AS_BEFORE["images"]})
    for name in sections:
        facts[name] = _news(name, _key_facts(name, getattr(config, name)))
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:KEY_DIGITS]


def _key_facts(name: str, section: BaseModel) -> dict[str, Any]:
    facts = {key: value for key, value in identity(section).items() if key not in _PROMOTION}
    if isinstance(section, TrainConfig):
        facts["milestones"] = list(section.milestones)  # a row holds the distances there
    return facts | _ALWAYS.get(name, {})


def _news(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without those of :data:`_AS_BEFORE` that have the value of before."""
    before = _AS_BEFORE.get(section, {})
    return {key: value for key, value in values.items() if key not in before or before[key] != value}
