"""The rows in the repository: settings and protocol fields that came later leave their keys and hashes as they were."""

import json
from pathlib import Path

import pytest

from degas_ray.config import resolve
from degas_ray.experiments.rows import config_of, files_with_rows, read_rows, search_key, training_key
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


def test_another_split_of_a_folder_is_other_work() -> None:
    keys = {
        training_key(resolve(sets=["dataset=folder:x", *more]), "resnet")
        for more in ([], ["split=test"], ["split=all"])
    }
    assert len(keys) == 3
