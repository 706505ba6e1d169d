"""docs/cli.md is what click says."""

import subprocess
import sys
from pathlib import Path


def test_docs_are_the_help() -> None:
    docs = Path(__file__).parents[2] / "docs" / "cli.md"
    command = [sys.executable, "-m", "degas_ray.cli.reference"]
    # In a process of its own: click keeps a command's help option as the first test made it.
    page = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8").stdout
    assert docs.read_text(encoding="utf-8") == page, "type: python -m degas_ray.cli.reference > docs/cli.md"
