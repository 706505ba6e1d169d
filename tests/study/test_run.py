"""What a study and a promotion say when they are paused; Ray is stood in for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_queues import scores
from tiny_study import tiny_config

from degas_ray.errors import Interrupted
from degas_ray.files import write_json
from degas_ray.home import StudyFolder
from degas_ray.results import Row
from degas_ray.runs.jobs import Queue, Resources
from degas_ray.space import Space
from degas_ray.study import promote_genotype, run, run_study

GENOTYPE = Space().random(0)


@contextmanager
def session(home: Path) -> Iterator[Resources]:
    yield Resources(2, 0, 1, ((2, 0),))


def paused(queue: Queue, *args: Any, **more: Any) -> None:
    """Run no job: the queue notices that it is to stop."""
    queue.tick()


def test_what_is_paused_says_the_command_that_goes_on_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "session", session)
    monkeypatch.setattr(run, "run_jobs", paused)
    with pytest.raises(Interrupted, match="go on with 'degas-ray tune --resume s'"):
        run_study(tiny_config(), tmp_path, name="s", should_stop=lambda: True)
    row = Row(2, "completed", {}, 1, str(GENOTYPE), 1, scores(10.0), (10.0,))
    write_json(StudyFolder(tmp_path, "s").trial(2) / "result.json", row.to_json())
    ways: list[tuple[dict[str, Any], str]] = [
        ({}, ""),
        ({"trial": 2}, " --trial 2"),
        ({"genotype": GENOTYPE}, f' --genotype "{GENOTYPE}"'),
    ]
    for chosen, words in ways:
        with pytest.raises(Interrupted) as caught:
            promote_genotype(tmp_path, "s", should_stop=lambda: True, **chosen)
        assert str(caught.value).endswith(f"go on with 'degas-ray promote s{words}'")
