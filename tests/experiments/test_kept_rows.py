"""The rows in the repository: settings and protocol fields that came later leave their keys and hashes as they were."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from degas_ray.config import Config, resolve
from degas_ray.experiments.rows import config_of, files_with_rows, read_rows, search_key, study_key, training_key
from degas_ray.scores import Protocol

FILES = files_with_rows(Path(__file__).parents[2] / "experiments" / "results")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_keys_and_protocols_of_kept_rows_come_out_as_they_were_written(file: Path) -> None:
    rows = read_rows(file)
    assert rows
    for row in rows:
        if row.protocol:
            assert Protocol.from_json(json.loads(row.protocol)).hash == row.protocol_hash
        if row.kind == "training":
            assert training_key(config_of(row), row.genotype) == row.key
        elif row.kind == "search":
            assert search_key(config_of(row)) == row.key
        elif row.kind == "study":
            assert study_key(config_of(row)) == row.key
        else:
            assert row.key.rpartition("-")[0] == study_key(config_of(row))


def test_kept_rows_are_of_every_kind() -> None:
    assert {row.kind for file in FILES for row in read_rows(file)} == {"search", "study", "trial", "training"}


@pytest.mark.parametrize(
    ("key_of", "setting", "same"),
    [
        (search_key, "search.mixed=plain", True),
        (search_key, "search.device=cpu", True),
        (search_key, "search.precision=bf16", False),
        (study_key, "study.max_failures=9", True),
        (study_key, "study.yardstick=false", True),
        (study_key, "scores.weights=own.pt", True),
        (study_key, "proxy.lr=0.5", False),
        (lambda config: training_key(config, "resnet"), "full.compile=on", True),
        (lambda config: training_key(config, "resnet"), "full.milestones=[0.5]", False),  # a row holds those distances
    ],
)
def test_a_key_changes_with_what_a_row_depends_on(key_of: Callable[[Config], str], setting: str, same: bool) -> None:
    assert (key_of(resolve(sets=[setting])) == key_of(resolve())) is same


def test_another_split_of_a_folder_is_other_work() -> None:
    keys = {
        training_key(resolve(sets=["dataset=folder:x", *more]), "resnet")
        for more in ([], ["split=test"], ["split=all"])
    }
    assert len(keys) == 3
