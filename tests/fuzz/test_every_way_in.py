"""No traceback, no hang, no partial file, whatever is given: a few hundred inputs here, 24,000 with make test-fuzz.

Images, packs and Parquet have their own thousands in tests/data/test_data_fuzz.py. The last lines are the counts.
"""

from itertools import chain
from pathlib import Path

import pytest
from ways import WAYS, try_all

LEAST = {"--set": 0.3, "names": 0.9, "genotypes": 0.6, "cluster files": 0.3}  # shares that must be refused


def attempt(name: str, count: int, seed: int, folder: Path) -> None:
    (folder / "home").mkdir()
    cases = WAYS[name].cases(folder / "home", seed)
    first = next(cases)  # the way's own files are there from now on
    refused = try_all(name, chain([first], cases), count, folder)
    assert refused >= LEAST.get(name, 0.2) * count, f"only {refused} of {count} were refused"


@pytest.mark.parametrize("name", WAYS)
def test_a_few_of_each(name: str, tmp_path: Path) -> None:
    attempt(name, WAYS[name].short, 0, tmp_path)


@pytest.mark.fuzz
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", WAYS)
def test_thousands_of_each(name: str, tmp_path: Path) -> None:
    attempt(name, WAYS[name].long, 1, tmp_path)
