"""The pages that users read: their commands parse, their links lead somewhere, and the tutorial runs as it stands."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from degas_ray.cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/how-to/*.md")])
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)")
SECONDS = 1800  # two minutes of computing, on a machine that others may use too


def commands(page: Path) -> list[str]:
    """Return the degas-ray command lines of a page's sh blocks."""
    lines = [line for block in BLOCK.findall(page.read_text(encoding="utf-8")) for line in block.splitlines()]
    found = [re.sub(r"^(\w+=\S+ )+", "", line).partition(" #")[0].strip() for line in lines]
    return [line for line in found if line.startswith("degas-ray ")]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_command_of_a_page_parses(page: Path) -> None:
    for line in commands(page):
        _, verb, *arguments = shlex.split(line)
        command = main.get_command(click.Context(main), verb)
        assert command is not None, line
        while isinstance(command, click.Group):
            verb, *arguments = arguments
            command = command.get_command(click.Context(command), verb)
            assert command is not None, line
        command.make_context(verb, arguments)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    targets = [page.parent / target for target in LINK.findall(page.read_text(encoding="utf-8"))]
    assert [str(target) for target in targets if not target.exists()] == []


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
def test_the_tutorial_runs_from_top_to_bottom(tmp_path: Path) -> None:
    script = "set -ex\n" + "".join(BLOCK.findall((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")))
    home = tmp_path / "user"
    home.mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DEGAS_", "RAY_", "MLFLOW_"))}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**environment, "HOME": str(home), "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for name in ("genotype.svg", "digits.png", "tutorial.html", "samples.png", "generator/generator.py"):
        assert (tmp_path / name).stat().st_size > 0, name
    assert "torch.Size([2, 3, 16, 16])" in done.stdout
    assert list(home.iterdir()) == []  # nothing is written outside the home directory
