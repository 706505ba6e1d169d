"""How many bad inputs were given and refused; the fuzz tier prints it at its end."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

GIVEN: Counter[str] = Counter()
REFUSED: Counter[str] = Counter()


@contextmanager
def refused(way: str, *kinds: type[Exception]) -> Iterator[None]:
    """Count one input of ``way``, and swallow and count its refusal; what is raised otherwise is a fault."""
    GIVEN[way] += 1
    try:
        yield
    except kinds:
        REFUSED[way] += 1


def summary() -> list[str]:
    """Return a line for each way in, and one for all."""
    lines = [f"{way}: {GIVEN[way]:,} given, {REFUSED[way]:,} refused" for way in GIVEN]
    return [*lines, f"all: {GIVEN.total():,} given, {REFUSED.total():,} refused with a sentence"]
