"""Names of tags: spelt in one module, one content each."""

import ast
from pathlib import Path

import degas_ray
from degas_ray.tracking import tags

PACKAGE = Path(degas_ray.__file__).parent
NAMES = {value for name, value in vars(tags).items() if name.isupper()}
OF_THE_CLUSTER_FILE = PACKAGE / "cluster"  # its keys begin with degas., too


def spelt(file: Path) -> set[str]:
    """Return the tags that a module spells in its strings, docstrings left out."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and id(node) not in docstrings]
    return {name for name in NAMES for text in texts if isinstance(text, str) and name in text}


def test_tags_are_spelt_in_one_module() -> None:
    files = [file for file in PACKAGE.rglob("*.py") if OF_THE_CLUSTER_FILE not in file.parents]
    assert {str(file.relative_to(PACKAGE)) for file in files if spelt(file)} == {"tracking/tags.py"}


def test_names_differ_and_no_name_hides_another_one_behind_a_prefix() -> None:
    named = [value for name, value in vars(tags).items() if name.isupper()]
    assert len(named) == len(set(named)) > 20
    prefixes = [value for value in named if value.endswith(".")]
    assert sorted(prefixes) == ["degas.now.", "degas.score.", "mlflow.sharedViewState."]
    hidden = [value for value in named if any(value != prefix and value.startswith(prefix) for prefix in prefixes)]
    assert hidden == []
