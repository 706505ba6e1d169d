"""A study's beginning and end: whose folder it is, and what is kept whatever fails."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from tiny_study import Notes, tiny_config

from degas_ray.config import Config
from degas_ray.data import prepare
from degas_ray.errors import DegasWarning, InputError
from degas_ray.files import write_json
from degas_ray.home import StudyFolder
from degas_ray.results import Ledger
from degas_ray.runs.jobs import Resources
from degas_ray.runs.run import Context
from degas_ray.study import opened, run, run_study
from degas_ray.study.events import Event, OnEvent
from degas_ray.study.opened import Opened, Prepared, end

OTHERS = {"version": 1, "whose": "another command's"}


class BegunError(Exception):
    """A study was begun."""


def test_a_name_that_is_taken_while_images_are_prepared_is_not_used_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(config: Config | None, folder: StudyFolder, on_event: OnEvent) -> Prepared:
        write_json(folder.file, OTHERS)
        return opened.prepare_study(config, folder, on_event)

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


def test_a_set_that_is_not_worth_training_on_is_warned_of(tmp_path: Path) -> None:
    images = np.repeat(np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8), 2, axis=0)
    (tmp_path / "d").mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"d/{index}.png")
    config = tiny_config(dataset=f"folder:{tmp_path / 'd'}", resolution=8, limit=None)
    with pytest.warns(DegasWarning, match=r"(?s)may not be worth training on:.*40 of 80 images repeat.*are 80 images"):
        opened.prepare_study(config, StudyFolder(tmp_path / "home", "s"), lambda _event: None)


def open_tiny(home: Path, on_event: Any, **settings: Any) -> Opened:
    """Return a study without trials that is about to end."""
    config = tiny_config(**settings)
    pack = prepare("digits", home, limit=64)
    context = Context(home, "s", config, pack.path, "", "0", "")
    return Opened(
        context, pack, Notes(), {"name": "s"}, Ledger(), on_event, lambda: False, Resources(1.0, 0.0, 1, ((1.0, 0.0),))
    )


@pytest.mark.parametrize("error", [InputError("s is no training"), PermissionError(13, "Permission denied", "x")])
def test_a_report_that_cannot_be_written_is_told_and_the_study_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: Any) -> str:
        raise error

    monkeypatch.setattr(opened, "write_report", fail)
    events: list[Event] = []
    told = tmp_path / "told"
    study = open_tiny(tmp_path, events.append, study__on_finish=f'echo "$DEGAS_RAY_STATUS" > {told}')
    end(study, "completed", "finished")
    assert cast(Notes, study.tracker).outcome == "completed"
    assert (opened.read_json(study.folder.file) or {})["status"] == "finished"
    assert [event.text for event in events] == [
        f"the report cannot be written: {error}; 'degas-ray report s' tries it again"
    ]
    assert told.read_text() == "finished\n"


def test_what_on_finish_prints_is_no_result(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened, "write_report", lambda *args: "")
    end(open_tiny(tmp_path, lambda event: None, study__on_finish="echo done"), "completed", "finished")
    assert capfd.readouterr() == ("", "done\n")


def test_a_study_has_ended_whatever_breaks_while_it_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(opened.summary, "record", fail)
    study = open_tiny(tmp_path, lambda event: None)
    with pytest.raises(ZeroDivisionError):
        end(study, "failed", "failed")
    assert cast(Notes, study.tracker).outcome == "failed"
    assert (opened.read_json(study.folder.file) or {})["status"] == "failed"
