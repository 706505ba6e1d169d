"""What a study says while it runs, and how long it will still take."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from degas_ray.scores import Protocol


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Args:
        kind: ``plan`` (the study begins or goes on: ``step`` of ``steps`` trials are over), ``start`` and ``end`` of a
            piece of work, ``progress`` inside it, or ``message`` (one line for people).
        work: Which piece: ``trial 3``, ``re-rank 2 of 3``, ``promotion``; empty for the study itself.
        trial: The trial's number, where the work is a trial.
        phase: ``search``, ``proxy``, ``score``, ``full``.
        step: Steps done in the phase, of ``steps``.
        outcome: At the ``end``: completed, pruned, diverged, collapsed, failed or interrupted.
        score: The Fréchet distance that the work ended with.
        best: The lowest so far.
        protocol: How ``score`` and ``best`` were measured, and so what they are called; ``None`` without either.
        genotype: Its text, once known.
        eta: Seconds until the study ends, as far as can be told.
        text: Of a message.
    """

    kind: Literal["plan", "start", "progress", "end", "message"]
    work: str = ""
    trial: int | None = None
    phase: str = ""
    step: int = 0
    steps: int = 0
    outcome: str = ""
    score: float | None = None
    best: float | None = None
    protocol: Protocol | None = None
    genotype: str = ""
    eta: float | None = None
    text: str = ""


OnEvent = Callable[[Event], None]
