"""A study's beginning and end: whose folder it is, and what is kept whatever fails."""

from pathlib import Path
from typing import Any

import pytest
from tiny_study import tiny_config

from degas_ray.config import Config
from degas_ray.errors import InputError
from degas_ray.study import opened, run, run_study
from degas_ray.study.opened import Prepared
from degas_ray.study.store import StudyFolder, write_json

OTHERS = {"version": 1, "whose": "another command's"}


class BegunError(Exception):
    """A study was begun."""


def test_a_name_that_is_taken_while_images_are_prepared_is_not_used_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(config: Config | None, folder: StudyFolder) -> Prepared:
        write_json(folder.file, OTHERS)
        return opened.prepare_study(config, folder)

    def found(config: Config, folder: StudyFolder, *args: Any) -> None:
        raise BegunError(folder.name)

    monkeypatch.setattr(run, "prepare_study", meanwhile)
    monkeypatch.setattr(run, "_placed", found)
    with pytest.raises(BegunError, match="digits-2"):
        run_study(tiny_config(), tmp_path)
    with pytest.raises(InputError, match="there is a study mine already; go on with 'degas-ray tune --resume mine'"):
        run_study(tiny_config(), tmp_path, name="mine")
    for name in ("digits-1", "mine"):
        assert opened.read_json(StudyFolder(tmp_path, name).file) == OTHERS
