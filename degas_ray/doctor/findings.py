"""One finding: what was looked at, what it is like, what to type."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """What was found about one thing.

    Args:
        name: What was looked at.
        state: ``ok``; ``note`` (works, with a limit that is said); ``fault`` (something will fail).
        found: What it is like.
        advice: What to do about it; never empty for a note or a fault.
    """

    name: str
    state: Literal["ok", "note", "fault"]
    found: str
    advice: str = ""
