"""Mutants: small changes of the code that the tests should notice, and those that they do not.

Run ``python -m benchmarks.mutants``. A seeded sample of small changes in four rooms of the package is tried, each in a
copy of this tree. Every test runs once to record which lines it reaches. A mutant's tests are those that reach its
line; they run, the fastest first, until one fails. Results are kept in ``build/mutants.json``: a run that ends after
``--seconds`` continues when it is started again, and a survivor is tried again when the test files that reach it
change.
"""

import ast
import contextlib
import copy
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import click
import pytest

ROOMS = ("space", "search", "gan", "scores")
TESTS = ("tests/space", "tests/search", "tests/gan", "tests/scores", "tests/contracts")
KEPT = Path("build/mutants.json")
# Imported once, before each mutant's process is forked off; none of it starts threads.
LIBRARIES = (
    "torch", "torch._dynamo", "torch.utils.flop_counter", "torchvision", "scipy.stats", "scipy.ndimage", "hypothesis",
    "sklearn.decomposition", "sklearn.linear_model", "pyarrow", "pydantic", "matplotlib.pyplot", "yaml", "rich",
)  # fmt: skip
GUARDS = ("strict", "frozen")  # arguments against mistakes that the code does not make
LONGEST = 60.0  # seconds of tests for one mutant, by the times measured without it
CALLS = 50  # of a function in one test, after which its lines are taken to be known
SWAPS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.MatMult: ast.Add, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change: the text from ``start`` to ``stop`` of a file becomes ``new``."""

    file: str
    line: int
    column: int
    start: int
    stop: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}  {self.old!r} -> {self.new!r}"


def modules() -> list[str]:
    """Return the modules that are changed."""
    return sorted(str(path) for room in ROOMS for path in Path("degas_ray", room).rglob("*.py"))


def mutants_of(file: str, text: str) -> Iterator[Mutant]:
    """Yield every mutant of a module: operators, numbers, truth values, conditions, left-out arguments and calls."""
    source, starts = text.encode(), [0]
    for row in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(row))
    for node, new in _changes(ast.parse(text)):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start, stop = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        yield Mutant(file, node.lineno, node.col_offset + 1, start, stop, source[start:stop].decode(), new)


def _changes(tree: ast.AST) -> Iterator[tuple[Any, str]]:
    for node in ast.iter_child_nodes(tree):
        # Not code that decides anything: what an error says, a type, a docstring, a check for the type checker.
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert | ast.Import | ast.ImportFrom | ast.arg):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.keyword) and node.arg in GUARDS:
            continue
        if isinstance(node, ast.AnnAssign | ast.FunctionDef):
            node = copy.copy(node)
            unwanted = {"annotation": ast.Constant("")} if isinstance(node, ast.AnnAssign) else {"returns": None}
            for name, value in unwanted.items():
                setattr(node, name, value)
        yield from _of_node(node)
        yield from _changes(node)


def _of_node(node: ast.AST) -> Iterator[tuple[Any, str]]:
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPS:
        yield node, _written(node, op=SWAPS[type(node.op)]())
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield node, _written(node, ops=[SWAPS[type(node.ops[0])](), *node.ops[1:]])
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield node, f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield node, repr(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield node, repr(node.value + 1 if isinstance(node.value, int) else node.value * 2 or 1.0)
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        yield node.test, f"(not ({ast.unparse(node.test)}))"
    elif isinstance(node, ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield node, "pass"
    elif isinstance(node, ast.Call) and node.keywords:
        for dropped in (keyword for keyword in node.keywords if keyword.arg not in GUARDS):
            yield node, _written(node, keywords=[keyword for keyword in node.keywords if keyword is not dropped])


def _written(node: ast.AST, **changes: Any) -> str:
    changed = copy.copy(node)
    for name, value in changes.items():
        setattr(changed, name, value)
    return f"({ast.unparse(changed)})"


class Reached:
    """A pytest plugin that notes which lines of the rooms each test reaches, and how long it takes."""

    def __init__(self, root: Path) -> None:
        self.root = str(root) + os.sep
        self.files: dict[CodeType, str | None] = {}
        self.calls: Counter[CodeType] = Counter()
        self.lines: set[tuple[str, int]] = set()
        self.shared: set[tuple[str, int]] = set()  # by fixtures, which tests share
        self.tests: dict[str, dict[str, Any]] = {}

    def pytest_runtest_setup(self) -> None:
        self.lines = self.shared
        sys.settrace(self._call)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        self.lines, begin = set(), time.perf_counter()
        self.calls.clear()
        try:
            return (yield)
        finally:
            sys.settrace(None)
            self.tests[item.nodeid] = {"seconds": time.perf_counter() - begin, "lines": self.lines}

    def found(self) -> dict[str, dict[str, Any]]:
        """Return tests with their seconds and lines by file."""
        found = {}
        for name, test in self.tests.items():
            by_file: dict[str, list[int]] = {}
            for file, line in sorted(test["lines"] | self.shared):
                by_file.setdefault(file, []).append(line)
            found[name] = {"seconds": round(test["seconds"], 3), "lines": by_file}
        return found

    def _call(self, frame: FrameType, event: str, value: Any) -> Any:
        code = frame.f_code
        if code not in self.files:
            name = code.co_filename.removeprefix(self.root)
            ours = any(name.startswith(f"degas_ray/{room}/") for room in ROOMS) and code.co_name != "<module>"
            self.files[code] = name if ours else None
        self.calls[code] += 1
        return None if self.files[code] is None or self.calls[code] > CALLS else self._line

    def _line(self, frame: FrameType, event: str, value: Any) -> Any:
        self.lines.add((str(self.files[frame.f_code]), frame.f_lineno))
        return self._line


def forked(work: Callable[[], Any], seconds: float) -> Any:
    """Return what ``work`` returns in a process of its own, or None where that dies or takes longer."""
    with tempfile.NamedTemporaryFile() as answer:
        child = os.fork()
        if child == 0:
            os.setsid()
            # A mutant may do anything; where it gives no answer, it died.
            with contextlib.suppress(BaseException), open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 1), os.dup2(nowhere.fileno(), 2)
                Path(answer.name).write_text(json.dumps(work()))
            os._exit(0)
        end = time.monotonic() + seconds
        while os.waitpid(child, os.WNOHANG)[0] == 0:
            if time.monotonic() > end:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return None
            time.sleep(0.02)
        text = Path(answer.name).read_text()
    return json.loads(text) if text else None


def run_tests(root: Path, names: list[str], *plugins: Any, timeout: int = 100) -> int:
    """Run tests in the copy of the tree, each for so many seconds at most; return pytest's exit code."""
    os.chdir(root)
    sys.path.insert(0, str(root))
    sys.dont_write_bytecode = False
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--timeout", str(timeout), *names], list(plugins)))


def map_tests(root: Path, known: dict[str, Any], end: float) -> bool:
    """Run every test file that is not known as it is now; return whether time allowed for all."""
    files = [path for folder in TESTS for path in sorted(root.joinpath(folder).glob("test_*.py"))]
    code = b"".join(root.joinpath(file).read_bytes() for file in modules())
    for path in files:
        name, digest = str(path.relative_to(root)), hashlib.sha256(code + path.read_bytes()).hexdigest()
        if known.get(name, {}).get("digest") == digest:
            continue
        if time.monotonic() > end:
            return False
        reached = Reached(root)
        found = forked(lambda n=name, r=reached: (run_tests(root, [n], r, timeout=0), r.found()), 900)  # type: ignore[misc]
        if found is None or found[0] not in (0, 5):
            raise SystemExit(f"{name} does not pass as it is; mend it first")
        known[name] = {"digest": digest, "tests": found[1]}
        click.echo(f"mapped {name}: {len(found[1])} tests")
        _keep(known=known)
    return True


def tests_of(mutant: Mutant, known: dict[str, Any]) -> dict[str, float]:
    """Return the tests that reach a mutant, with their seconds, the fastest first, and no more than LONGEST of them.

    Code that runs at import is reached by no single test: its tests are all those that reach the module. A line that no
    test reaches in this process may run in others: its tests are those of the test file with the module's name.
    """
    tests = {name: test for file in known.values() for name, test in file["tests"].items()}
    lines = set(range(mutant.line, mutant.line + mutant.old.count("\n") + 1))
    in_module = {name: test for name, test in tests.items() if mutant.file in test["lines"]}
    reaching = {name: test for name, test in in_module.items() if lines & set(test["lines"][mutant.file])}
    inside = any(
        node.lineno < mutant.line <= (node.end_lineno or 0)
        for node in ast.walk(ast.parse(Path(mutant.file).read_text()))
        if isinstance(node, ast.FunctionDef)
    )
    own = {name: test for name, test in tests.items() if f"/test_{Path(mutant.file).stem}.py::" in name}
    tests = reaching or (own if inside else in_module)
    chosen: dict[str, float] = {}
    for name, test in sorted(tests.items(), key=lambda item: float(item[1]["seconds"])):
        if sum(chosen.values()) + test["seconds"] <= LONGEST:
            chosen[name] = test["seconds"]
    return chosen


def survives(root: Path, mutant: Mutant, tests: dict[str, float], number: int) -> bool:
    """Return whether a mutant's tests all pass."""
    path = root / mutant.file
    text = path.read_bytes()
    stamp = 1_000_000_000 + 2 * number  # compiled files are known by time and size
    try:
        path.write_bytes(text[: mutant.start] + mutant.new.encode() + text[mutant.stop :])
        os.utime(path, (stamp, stamp))
        return not tests or forked(lambda: run_tests(root, list(tests)), 60 + 5 * sum(tests.values())) == 0
    finally:
        path.write_bytes(text)
        os.utime(path, (stamp + 1, stamp + 1))


def _keep(**changes: Any) -> dict[str, Any]:
    kept: dict[str, Any] = {"known": {}, "tried": {}}
    if KEPT.exists():
        kept |= json.loads(KEPT.read_text())
    kept |= changes
    KEPT.parent.mkdir(exist_ok=True)
    part = KEPT.with_suffix(".part")
    part.write_text(json.dumps(kept))
    part.replace(KEPT)
    return kept


@click.command()
@click.option("--count", default=240, help="mutants in the sample")
@click.option("--seed", default=0, help="of the sample")
@click.option("--seconds", default=float("inf"), help="begin nothing new after so long")
def main(count: int, seed: int, seconds: float) -> None:
    """Try mutants and print those that survive."""
    end = time.monotonic() + seconds
    every = [mutant for file in modules() for mutant in mutants_of(file, Path(file).read_text())]
    sample = random.Random(seed).sample(every, min(count, len(every)))
    for name in LIBRARIES:
        importlib.import_module(name)
    kept = _keep()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "tree"
        shutil.copytree(".", root, ignore=shutil.ignore_patterns(".*", "build", "degas-runs", "__pycache__", "*.ckpt"))
        whole = map_tests(root, kept["known"], end)
        tried: dict[str, Any] = kept["tried"]
        for number, mutant in enumerate(sample):
            tests = tests_of(mutant, kept["known"]) if whole else {}
            digests = "".join(sorted({kept["known"][name.split("::")[0]]["digest"] for name in tests}))
            digest = hashlib.sha256(digests.encode()).hexdigest()
            last = tried.get(str(mutant))
            if not whole or time.monotonic() > end or (last and (last["died"] or last["digest"] == digest)):
                continue
            alive = survives(root, mutant, tests, number)
            tried[str(mutant)] = {"died": not alive, "digest": digest, "tests": len(tests)}
            _keep(tried=tried)
    done = [tried[str(mutant)] | {"mutant": str(mutant)} for mutant in sample if str(mutant) in tried]
    left = [row for row in done if not row["died"]]
    for row in left:
        click.echo(f"{row['mutant']}  ({row['tests']} tests)")
    click.echo(f"{len(left)} of {len(done)} mutants survive; sample of {len(sample)} of {len(every)}, seed {seed}")


if __name__ == "__main__":
    main()
