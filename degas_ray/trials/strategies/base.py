"""What a strategy is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Result:
    """What a trial came to.

    Args:
        choices: What it had been given.
        values: What is minimised; empty where the trial failed or was ended early.
    """

    choices: Mapping[str, str]
    values: tuple[float, ...]


class Strategy(Protocol):
    """Proposes genotypes as choices; keeps nothing between calls, so that a study resumes from its results alone."""

    waits: bool  # whether the first proposals depend on results too

    def propose(self, number: int, past: Sequence[Result]) -> Mapping[str, str]:
        """Return the choices of trial ``number``.

        Args:
            number: The trial's.
            past: Results of the first trials, by number.
        """
