"""Packages that import their public names on first use: type checkers and programs see the same ones."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FACES = ["degas_ray", "degas_ray.cluster", "degas_ray.experiments", "degas_ray.study"]
WRONG = """
from pathlib import Path
from degas_ray.cluster import Cluster
from degas_ray.config import Config
from degas_ray.experiments import cost_of
from degas_ray.study import Row, run_study

run_study(Config(), Path("home"), extand=3)
cost_of("digits")
reveal_type(Cluster)
reveal_type(Row.genotype)
"""


def typed_names(face: str) -> dict[str, str]:
    """Return the names that a type checker finds in a package's ``if TYPE_CHECKING`` block, and their modules."""
    file = importlib.import_module(face).__file__
    assert file is not None
    blocks = [node for node in ast.parse(Path(file).read_text(encoding="utf-8")).body if isinstance(node, ast.If)]
    (block,) = [node for node in blocks if ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


@pytest.mark.parametrize("face", FACES)
def test_a_type_checker_sees_the_names_that_a_program_gets(face: str) -> None:
    package = importlib.import_module(face)
    typed = typed_names(face)
    assert sorted(typed) == sorted(package.__all__)
    assert set(typed) <= set(dir(package))
    for name, module in typed.items():
        assert getattr(package, name) is getattr(importlib.import_module(module), name)
    with pytest.raises(AttributeError, match="has no attribute 'extand'"):
        _ = package.extand


@pytest.mark.slow
def test_mypy_finds_a_wrong_keyword_through_a_package(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(WRONG, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    told = done.stdout
    assert 'Unexpected keyword argument "extand" for "run_study"' in told
    assert 'Argument 1 to "cost_of" has incompatible type "str"; expected "Experiment"' in told
    assert "degas_ray.cluster.opened.Cluster" in told
    assert 'Revealed type is "str"' in told or 'Revealed type is "builtins.str"' in told


# From the lowest; a module imports from its own room or from a floor below (CONTRIBUTING.md).
FLOORS = (
    {"errors", "yamls", "cores", "lazy", "seeds"},
    {"space", "files", "checkpoint", "ports"},
    {"config", "data", "figures", "loop"},
    {"precision", "tracking", "cluster", "results"},
    {"search", "gan", "scores", "home"},
    {"runs", "doctor"},
    {"trials"},
    {"report"},
    {"study"},
    {"experiments"},
    {"cli"},
    {"__main__"},
)
ONLY_IN = {"ray": {"runs", "cluster"}, "mlflow": {"tracking"}, "optuna": {"trials", "report"}}


def test_rooms_import_from_floors_below() -> None:
    package = ROOT / "degas_ray"
    floor = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
    wrong = []
    for file in sorted(package.rglob("*.py")):
        room = file.relative_to(package).parts[0].removesuffix(".py")
        if room == "__init__":  # offers names of all floors
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                whole = node.module == "degas_ray"
                names = [f"degas_ray.{alias.name}" for alias in node.names] if whole else [str(node.module)]
            for first, *rest in (name.split(".") for name in names):
                if first == "degas_ray" and rest and rest[0] != room and floor[rest[0]] >= floor[room]:
                    wrong.append(f"{file.relative_to(package)} imports {rest[0]}")
                if room not in ONLY_IN.get(first, {room}):
                    wrong.append(f"{file.relative_to(package)} imports {first}")
    assert wrong == []
