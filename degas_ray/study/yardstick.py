"""The yardstick of a study: the hand-designed ResNet under the same short training and scores as its trials.

It depends on the images, the proxy's settings and the scores' alone, so it is trained once for all studies of a home.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from degas_ray.config import Config, dump, flatten
from degas_ray.data import Pack
from degas_ray.errors import DivergedError
from degas_ray.files import checked
from degas_ray.scores import Scores
from degas_ray.study.attempt import Attempt, Context, Report
from degas_ray.study.seeds import derive
from degas_ray.study.store import StudyFolder, read_json, write_json
from degas_ray.study.trial import proxy_facts, proxy_work
from degas_ray.study.work import drop_checkpoints, size_of

YARDSTICK = "resnet"
KEY = "yardstick"  # of its job


@dataclass(frozen=True)
class Yardstick:
    """A known generator under the short training.

    Args:
        name: Of the generator.
        outcome: completed, collapsed or diverged.
        scores: As JSON; empty where it diverged.
        parameters: At the proxy's width.
        macs: Multiply-adds for one image.
        seconds: Of its training and scores.
        source: The study that trained it.
    """

    name: str
    outcome: str
    scores: Mapping[str, Any] = field(default_factory=dict)
    parameters: int = 0
    macs: int = 0
    seconds: float = 0.0
    source: str = ""

    @property
    def distance(self) -> float | None:
        """Its Fréchet distance, or ``None`` where it has no scores."""
        return Scores.from_json(self.scores).fid if self.scores else None


def yardstick_task(folder: StudyFolder) -> dict[str, Any]:
    """Return the task that trains it."""
    return {"kind": KEY, "folder": str(folder.yardstick)}


def take_known(config: Config, pack: Pack, folder: StudyFolder) -> None:
    """Give a study the yardstick that another one of this home has trained, if there is one."""
    file = folder.yardstick / "result.json"
    known = read_json(_cache(config, pack, folder.home))
    if known is not None and not file.exists():
        write_json(file, asdict(checked(Yardstick, known, file)))


def read_yardstick(folder: StudyFolder) -> Yardstick | None:
    """Return a study's yardstick, or ``None`` while there is none."""
    file = folder.yardstick / "result.json"
    value = read_json(file)
    return checked(Yardstick, value, file) if value is not None else None


def run_yardstick(context: Context, pack: Pack, task: Mapping[str, Any], report: Report) -> None:
    """Train and score it, and write ``result.json``, here and for the studies to come."""
    folder, config = Path(task["folder"]), context.config
    if (folder / "result.json").exists():
        return
    seed = derive(0, KEY, YARDSTICK)  # not the study's: other studies use it too
    with Attempt(context, folder, "train", f"{context.study} {KEY}", report, seed) as attempt:
        attempt.tracker.params({**flatten(config), "study.seed": config.seed, "seed": seed, "what": YARDSTICK})
        attempt.tracker.text(dump(config), "config.yaml")
        classes = len(pack.classes) if config.proxy.supervised else 0
        parameters, macs = size_of(YARDSTICK, config.proxy, pack.resolution, classes)
        attempt.tracker.metrics({"proxy/parameters": parameters, "proxy/macs": macs}, 0)
        outcome, scores = "diverged", {}
        try:
            trained, result = proxy_work(config, pack, attempt.place(), YARDSTICK, seed, "proxy")
            outcome, scores = trained.outcome, result.to_json()
        except DivergedError as error:
            attempt.say(f"{KEY}: {error}")
        attempt.tracker.finish(outcome)
        seconds = round(attempt.seconds, 1)
        found = asdict(Yardstick(YARDSTICK, outcome, scores, parameters, macs, seconds, context.study))
        write_json(_cache(config, pack, context.home), found)
        write_json(folder / "result.json", found)
        drop_checkpoints(folder)  # of a training that diverged


def _cache(config: Config, pack: Pack, home: Path) -> Path:
    facts = {**proxy_facts(config, pack), "what": YARDSTICK}
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return home / "cache" / "yardsticks" / f"{key}.json"
