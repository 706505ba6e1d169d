"""docs/cli.md is what click says."""

from pathlib import Path

from degas_ray.cli.reference import page


def test_docs_are_the_help() -> None:
    docs = Path(__file__).parents[2] / "docs" / "cli.md"
    assert docs.read_text(encoding="utf-8") == page(), "type: python -m degas_ray.cli.reference > docs/cli.md"
