"""From what studies and loops report to what a view shows."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from degas_ray.cli.progress import View, describe_metrics

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from degas_ray.loop import Progress
    from degas_ray.study.events import Event


def study_events(view: View) -> "Callable[[Event], None]":
    """Return a receiver of a study's events that keeps ``view`` up to date."""
    total: int | None = None
    before = 0
    ended: set[int] = set()

    def receive(event: "Event") -> None:
        nonlocal total, before
        if event.kind == "message":
            view.message(event.text)
        elif event.kind == "plan":
            before, total = event.step, event.steps
            view.rename(f"study {event.text}: {total} trials")
        elif event.kind == "end":
            if event.trial is not None and event.outcome != "interrupted":
                ended.add(event.trial)
            note = "" if event.score is None else f"{_name(event)} {event.score:,.1f}"
            view.update(event.work, state=event.outcome or "completed", note=note)
        elif event.work:
            view.update(event.work, phase=event.phase, step=event.step, steps=event.steps)
        features = f" ({event.protocol.features_name})" if event.protocol is not None else ""
        best = "" if event.best is None else f"{_name(event)} {event.best:,.1f}{features}"
        view.summary(done=before + len(ended), total=total, left=event.eta, best=best)

    return receive


def _name(event: "Event") -> str:
    return event.protocol.distance_name if event.protocol is not None else "distance"


def loop_progress(view: View) -> "Callable[[Progress], None]":
    """Return a receiver of a loop's progress: a row a phase, the last one ended when the next begins."""
    current = ""

    def receive(progress: "Progress") -> None:
        nonlocal current
        if current and current != progress.phase:
            view.update(current, state="completed")
        current = progress.phase
        note = describe_metrics(progress.metrics)
        state = "completed" if progress.step >= progress.steps else "running"
        view.update(current, phase=current, step=progress.step, steps=progress.steps, note=note, state=state)

    return receive


def counted(
    batches: "Iterable[NDArray[np.uint8]]", count: int, view: View, phase: str
) -> "Iterator[NDArray[np.uint8]]":
    """Pass images on and show how many of ``count`` have gone by; a count of 0 is one that is not known."""
    done = 0
    for images in batches:
        yield images
        done += len(images)
        view.update("images", phase=phase, step=done, steps=count)
    view.update("images", phase=phase, state="completed", note=f"{done:,}")
