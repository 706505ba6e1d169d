"""Every way in, each with a stream of bad inputs: what is refused leaves a sentence and nothing else."""

import json
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count as numbers
from pathlib import Path
from types import FrameType

import numpy as np
import yaml
from click.testing import CliRunner
from damage import damaged
from tally import REFUSED, refused
from tiny_study import tiny_config

from degas_ray.cli.arguments import find_generator, find_genotype
from degas_ray.cli.main import main
from degas_ray.cluster import read_cluster
from degas_ray.config import Config, TrainConfig, dump, flatten, known_keys, resolve
from degas_ray.errors import DegasError, DegasWarning
from degas_ray.files import write_json
from degas_ray.gan import build_generator, export_generator, load_generator, save_generator
from degas_ray.report.entries import find_entries
from degas_ray.report.report import write_report
from degas_ray.report.result import load_study
from degas_ray.space import PUBLISHED

SECONDS = 20  # that one input may take on a busy machine before it counts as a hang
Case = Callable[[], object]


@dataclass(frozen=True)
class Way:
    """One way in.

    Args:
        cases: Makes calls that may refuse their input, from a folder and a seed, without end.
        long: How many of them the long tier takes.
        short: How many the fast suite takes.
    """

    cases: Callable[[Path, int], Iterator[Case]]
    long: int
    short: int = 30


@contextmanager
def no_hang(case: str) -> Iterator[None]:
    """Raise in a call that takes too long."""

    def late(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"{case} was still at work after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def try_all(name: str, cases: Iterator[Case], count: int, home: Path) -> int:
    """Make calls until ``count`` were refused or accepted; return how many were refused.

    Args:
        name: Of the way in.
        cases: The calls.
        count: How many of them.
        home: Must hold the same files after each.

    Raises:
        AssertionError: Where one hung or left something in ``home``; and whatever one raised that is no DegasError.
    """
    before, refused_before = _files(home), REFUSED[name]
    for number, case in zip(range(count), cases, strict=False):
        with warnings.catch_warnings(), no_hang(f"input {number}"):
            warnings.simplefilter("ignore", DegasWarning)
            with refused(name, DegasError):
                _spoken(case)
        left = _files(home) - before
        assert not left, f"input {number} left {sorted(left)[:5]}"
    return REFUSED[name] - refused_before


def _spoken(case: Case) -> None:
    """Make a call, whose refusal must say something."""
    try:
        case()
    except DegasError as error:
        if not str(error).strip():
            raise AssertionError("refused without a word") from error
        raise


def _files(home: Path) -> set[str]:
    return {str(path) for path in home.rglob("*") if path.name != "__pycache__"}


# Pieces that parsers trip over.
SCRAPS = [
    "", " ", "\0", "\ud800", "é", "𝄞", "'", '"', "`", ";", "=", "(", ")", "+", "{", "}", "[", "]", ":", ",", "-", "--",
    "/", "..", "../..", "~", "$HOME", "%s", "{}", "\n", "\t", "\\", "&a", "*a", "!!python/object:os.system", "null",
    "true", "nan", ".nan", ".inf", "-1", "0", "1e999", "9" * 400, "0x", "2026-01-01", "a" * 3000, "None", "<<", "|",
    ">", "@", "#", "?", "models:/", "~nobody/", "runs", "random", "N1a", "U0", "conv_3x3", "search", "study", "0" * 32,
    "f" * 32,
]  # fmt: skip


def scraps(rng: np.random.Generator, most: int = 6) -> str:
    """Return a text made of pieces that parsers trip over."""
    return "".join(str(rng.choice(SCRAPS)) for _ in range(int(rng.integers(1, most + 1))))


def value(rng: np.random.Generator, depth: int = 0) -> object:
    """Return any plain value, of any shape."""
    kind = int(rng.integers(10 if depth < 3 else 7))
    plain = [
        None,
        bool(rng.integers(2)),
        int(rng.integers(-(2**62), 2**62)),
        float(rng.normal() * 10.0 ** int(rng.integers(-9, 300))),
    ]
    if kind < 4:
        return plain[kind]
    if kind < 7:
        return [scraps(rng, 2), float("nan"), float("inf")][kind - 4]
    if kind < 9:
        return {scraps(rng, 1): value(rng, depth + 1) for _ in range(int(rng.integers(4)))}
    return [value(rng, depth + 1) for _ in range(int(rng.integers(4)))]


def _typable(text: str) -> str:
    """Return a text as a command line can hold it: no zero bytes, and what is not UTF-8 as Python reads it there."""
    return text.replace("\0", "").replace("\ud800", "\udcff")


def _put(tree: object, path: list[str], leaf: object) -> None:
    for name in path[:-1]:
        tree = tree.get(name) if isinstance(tree, dict) else None
    if isinstance(tree, dict):  # what was put before may have taken the section away
        tree[path[-1]] = leaf


YAML_TRAPS = [
    "a: &a [*a]\n", "a: &a\n  b: *a\n", "search: &s\n  full: *s\n", "dataset: &d [*d, *d]\n",
    "? [1, 2]\n: x\n", "? {a: b}\n: x\n", "!!set {a, b}\n", "!!binary aGk=\n", "search: !!python/tuple [1]\n",
    "search: !unknown 3\n", "<<: [1]\n", "<<: {search: 1}\n", "seed: 1_000\nlimit: 0b11\n", "seed: 1:30\n", "- - - -\n",
    "seed: 2026-11-24\n", "search:\n\twidth: 3\n", "a: b: c\n", "%YAML 9.9\n---\n", "--- 1\n--- 2\n", "\ufeffseed: 1\n",
    "a: " + "[" * 4000, "a: " + "{b: " * 2000, "full: [1]\n", "full: text\n", "full: {1: 2}\n", "1: {2: 3}\n",
    "a: &b " + "[x,x,x,x,x,x,x,x,x]\n" + "".join(f"{c}: &{d} [*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p}]\n"
        for c, d, p in zip("bcdefghij", "cdefghijk", "bcdefghij", strict=True)),
]  # fmt: skip


def config_files(folder: Path, seed: int) -> Iterator[Case]:
    """Settings as YAML: damaged, of other shapes, and the traps of YAML itself."""
    rng, file, good = np.random.default_rng(seed), folder / "config.yaml", dump(Config())

    def write(content: bytes) -> Case:
        file.write_bytes(content)
        return lambda: flatten(resolve(file))

    for trap in YAML_TRAPS:
        yield write(trap.encode())
    bytes_ = damaged(good.encode(), 10**9, seed)
    for number in numbers():
        if number % 2:
            yield write(next(bytes_))
            continue
        tree = yaml.safe_load(good)
        for _ in range(int(rng.integers(1, 4))):
            _put(tree, str(rng.choice(known_keys())).split(".")[: int(rng.integers(1, 3))], value(rng))
        yield write(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))


def sets(folder: Path, seed: int) -> Iterator[Case]:
    """Single settings: keys that are none, values that are none."""
    rng, keys = np.random.default_rng(seed), known_keys()

    def case(texts: list[str]) -> Case:
        return lambda: resolve(sets=texts)

    for trap in YAML_TRAPS:
        yield case([f"search={trap}"])
        yield case([f"dataset={trap}"])
    while True:
        texts = []
        for _ in range(int(rng.integers(1, 4))):
            key = str(rng.choice(keys)) if rng.integers(4) else scraps(rng, 3)
            texts.append(key + ("=" if rng.integers(9) else "") + scraps(rng, 3))
        yield case(texts)


def genotypes(folder: Path, seed: int) -> Iterator[Case]:
    """Genotypes as text: published ones with something done to them, and anything at all."""
    rng = np.random.default_rng(seed)
    names = [str(genotype) for genotype in PUBLISHED.values()]
    streams = [damaged(text.encode(), 10**9, seed + i) for i, text in enumerate(names)]

    def case(text: str) -> Case:
        return lambda: find_genotype(text, folder)

    for number in numbers():
        if number % 3 == 0:
            yield case(scraps(rng))
        else:
            yield case(next(streams[number % len(streams)]).decode("utf-8", "replace"))


def genotype_files(folder: Path, seed: int) -> Iterator[Case]:
    """Genotypes as JSON files."""
    rng, file = np.random.default_rng(seed), folder / "genotype.json"
    stream = damaged(json.dumps(PUBLISHED["degas-cifar10"].to_json()).encode(), 10**9, seed)
    for number in numbers():
        if number % 4 == 0:
            file.write_text(json.dumps({"genotype": value(rng), "n": value(rng)}))
        elif number % 401 == 1:
            file.write_text("[" * 100_000)
        else:
            file.write_bytes(next(stream))
        yield lambda: find_genotype(str(file), folder)


def checkpoints(folder: Path, seed: int) -> Iterator[Case]:
    """Generator files: ours and exported ones."""
    config = TrainConfig(width=2, latent_dim=2)
    good, other = folder / "good.ckpt", folder / "exported"
    for name in ("resnet", "degas-cifar10"):
        save_generator(good, build_generator(name, config, 8), name, config)
        export_generator(good, "safetensors", other)
        tensors = next(other.glob("*.safetensors"))
        for suffix, content in ((".ckpt", good.read_bytes()), (".safetensors", tensors.read_bytes())):
            (folder / f"{name}{suffix}").write_bytes(content)
    streams = [
        (folder / f"bad{suffix}", damaged((folder / f"{name}{suffix}").read_bytes(), 10**9, seed, head=1500))
        for name in ("resnet", "degas-cifar10")
        for suffix in (".ckpt", ".safetensors")
    ]
    for path, _ in streams:
        path.touch()
    for number in numbers():
        path, stream = streams[number % len(streams)]
        path.write_bytes(next(stream))
        yield lambda path=path: load_generator(path)


def names(folder: Path, seed: int) -> Iterator[Case]:
    """Names of runs, studies and models that are none."""
    rng = np.random.default_rng(seed)
    verbs = (
        find_generator,
        lambda text, home: find_entries((text,), home),
        lambda text, home: write_report(home, text),
    )
    for number in numbers():
        text, verb = _typable(scraps(rng, 4)), verbs[number % len(verbs)]
        yield lambda text=text, verb=verb: verb(text, folder)


def state_files(folder: Path, seed: int) -> Iterator[Case]:
    """A study's own files, damaged by a disk or an editor."""
    rng = np.random.default_rng(seed)
    root = folder / "studies" / "s"
    scores = dict.fromkeys(("fid", "kid", "is_mean", "is_std", "precision", "recall", "density", "coverage"), 1.5)
    protocol = {
        "extractor": "efficientnet-lite0", "weights_hash": "5", "resizer": "clean-bicubic-64", "n_fake": 20,
        "n_real": 20, "splits": 2, "reference": "9", "bn": "batch", "checkpoint": "last", "method": 1, "seed": 0,
        "version": "0.1.0",
    }  # fmt: skip
    genotype = str(PUBLISHED["degas-cifar10"])
    row = {
        "number": 0, "outcome": "completed", "params": {"search.lr": 0.1}, "seed": 1, "genotype": genotype, "n": 1,
        "scores": {**scores, "protocol": protocol}, "distances": [1.5], "parameters": 5, "macs": 5,
        "entropy": [1.0, 0.5], "seconds": 1.0,
    }  # fmt: skip
    study = {
        "version": 1, "name": "s", "config": tiny_config().model_dump(mode="json"), "images": "x", "trials": 1,
        "spent": {"seconds": 1.0, "gpu_seconds": 0.0}, "run_id": "", "status": "finished", "attempt": 1, "lag": 4,
    }  # fmt: skip
    files = {root / "study.json": study, root / "trials" / "0000" / "result.json": row}
    rerun = {"genotype": genotype, "index": 0, "seed": 1, "outcome": "completed", "scores": row["scores"]}
    files[root / "rerank" / f"{PUBLISHED['degas-cifar10'].hash}-0" / "result.json"] = rerun
    for path, content in files.items():
        write_json(path, content)
    verbs = (lambda: load_study(folder, "s"), lambda: find_entries((), folder), lambda: find_entries(("s",), folder))
    for _ in numbers():
        path = list(files)[int(rng.integers(len(files)))]
        content = json.loads(json.dumps(files[path]))
        if rng.integers(2):
            key = str(rng.choice(list(content)))
            if rng.integers(2):
                del content[key]
            else:
                content[key] = value(rng)
            path.write_text(json.dumps(content))
        else:
            path.write_bytes(next(damaged(path.read_bytes(), 1, seed=int(rng.integers(2**31)))))
        yield verbs[int(rng.integers(len(verbs)))]
        write_json(path, files[path])


def cluster_files(folder: Path, seed: int) -> Iterator[Case]:
    """A cluster's YAML."""
    rng, file = np.random.default_rng(seed), folder / "cluster.yaml"
    good = {
        "cluster_name": "c", "provider": {"type": "local", "head_ip": "10.0.0.1", "worker_ips": ["10.0.0.2"]},
        "auth": {"ssh_user": "me", "ssh_private_key": "~/.ssh/id"},
        "degas": {
            "settings": {"dataset": "digits"}, "budget": {"hours": 2}, "prices": {"head": 0.5}, "idle_shutdown": "30m",
            "storage": {"home": "/shared"}, "tracking": {"host": "10.0.0.1"},
        },
    }  # fmt: skip
    places = [[key] for key in good] + [
        [key, name] for key, part in good.items() if key != "cluster_name" for name in part
    ]
    stream = damaged(yaml.safe_dump(good).encode(), 10**9, seed)
    for trap in YAML_TRAPS:
        file.write_text(trap)
        yield lambda: read_cluster(file)
    for number in numbers():
        if number % 2:
            file.write_bytes(next(stream))
        else:
            tree = json.loads(json.dumps(good))
            _put(tree, places[int(rng.integers(len(places)))], value(rng))
            file.write_bytes(yaml.safe_dump(tree).encode("utf-8", "surrogatepass"))
        yield lambda: read_cluster(file)


VERBS = [
    ["show"], ["space", "-n"], ["data", "list"], ["data", "check"], ["export"], ["sample"], ["evaluate"], ["compare"],
    ["report"], ["promote"], ["train", "--resume"], ["search", "--resume"], ["tune", "--resume"], ["tune", "--set"],
    ["search", "--config"], ["train", "--preset"], ["ui", "--port"], ["doctor"],
]  # fmt: skip
HARMLESS = {"--help", "-h", "--version"}


def command_lines(folder: Path, seed: int) -> Iterator[Case]:
    """Whole command lines through click, with an environment that is no better; none of them means anything."""
    rng = np.random.default_rng(seed)
    for number in numbers():
        verb = VERBS[number % len(VERBS)]
        text = _typable(scraps(rng, 3)).replace("random", "x")
        arguments = [*verb, text or "x", *(["--home", str(folder / "h")] if number % 3 else [])]
        environment = {
            "DEGAS_RAY_HOME": str(folder / "h") + scraps(rng, 1).replace("\0", "").replace("/", "").replace("..", ""),
            str(rng.choice(["MLFLOW_TRACKING_URI", "RAY_ADDRESS", "COLUMNS", "NO_COLOR", "TERM", "LANG"])): "x"
            + scraps(rng, 1),
        }
        yield lambda arguments=arguments, environment=environment: _typed(arguments, environment)


def _typed(arguments: list[str], environment: dict[str, str]) -> None:
    clean = {key: _typable(text) for key, text in environment.items()}
    result = CliRunner().invoke(main, arguments, env=clean)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 1, 2), (arguments, result.exit_code)
    if result.exit_code == 2:
        assert result.stderr.startswith("Error: "), (arguments, result.stderr)
        raise DegasError(result.stderr)


WAYS = {
    "config files": Way(config_files, 4000),
    "--set": Way(sets, 4000, 150),
    "genotypes": Way(genotypes, 4000, 200),
    "genotype files": Way(genotype_files, 2000, 50),
    "checkpoints": Way(checkpoints, 3000, 40),
    "names": Way(names, 2000, 60),
    "state files": Way(state_files, 2000, 40),
    "cluster files": Way(cluster_files, 2000, 50),
    "command lines": Way(command_lines, 1000, 18),
}
