"""What a source was asked for and what it left out, by reason: nothing is passed over in silence."""

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from degas_ray.errors import DataError, DegasWarning

MAX_UNREADABLE = 0.05  # share of images that may be unreadable before the source counts as broken
_NAMED = 20  # files of one reason that are named in the facts and in an error
_SHOWN = 3  # of them that a line of facts shows

UNREADABLE = "unreadable images"
SIDE = "hidden files and side files"
OTHER = "files that are no images"
FOREIGN = "files that are no Parquet"
STRAY = "images beside the class folders"
SPLIT = "images of other splits"
SPECIAL = "not regular files"
DANGLING = "links that lead nowhere"
LOOP = "links to folders that are read already"
TWICE = "links to files that are read already"
EMPTY = "class folders without an image"
_SINGULAR = {
    UNREADABLE: "unreadable image", SIDE: "hidden file or side file", OTHER: "file that is no image",
    FOREIGN: "file that is no Parquet", STRAY: "image beside the class folders", SPLIT: "image of another split",
    SPECIAL: "file that is not regular", DANGLING: "link that leads nowhere",
    LOOP: "link to a folder that is read already", TWICE: "link to a file that is read already",
    EMPTY: "class folder without an image",
}  # fmt: skip
_EXPECTED = frozenset({SIDE, OTHER, FOREIGN, SPLIT})  # in the facts, but no cause for a warning


@dataclass
class Left:
    """What one reason kept out.

    Args:
        count: Files, or images where a file holds many.
        names: The first of them.
    """

    count: int = 0
    names: list[str] = field(default_factory=list)


@dataclass
class Intake:
    """One source's books: images seen, images and files left out, and what a person should know about the rest.

    Args:
        source: Named in warnings and errors.
        seen: Images that decoding was tried on.
        refused: Images of a kind that is not read, which were not tried.
        left: Reason to what it kept out.
        notes: What a person should know of how the source was understood, one sentence each.
        doubts: Those of these sentences that may mean other images or labels than the user expects.
        incomplete: Why a published data set is not whole, one sentence each.
        sizes: Width and height of the originals to how many have it.
        odd_profiles: Images whose colour profile is damaged or of another kind; they are taken as sRGB.
    """

    source: str
    seen: int = 0
    refused: int = 0
    left: dict[str, Left] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    odd_profiles: int = 0

    def leave(self, reason: str, name: str, count: int = 1) -> None:
        """Note something that is not taken."""
        entry = self.left.setdefault(reason, Left())
        entry.count += count
        if len(entry.names) < _NAMED:
            entry.names.append(name)

    @property
    def unreadable(self) -> int:
        """Images that cannot be read."""
        return self.left[UNREADABLE].count if UNREADABLE in self.left else 0

    def require_readable(self, count: int, total: int) -> None:
        """Refuse a source of which more than 5 % cannot be read: ``count`` of ``total`` images.

        Raises:
            DataError: Naming them.
        """
        if count > MAX_UNREADABLE * total:
            raise DataError(
                f"{count} of {total} images of {self.source} cannot be read, and at most 5 % may be; "
                f"remove or repair them:\n{_listed(self.left[UNREADABLE])}"
            )

    def finish(self) -> None:
        """Judge and report, once all images have been seen: one warning with everything that may matter.

        Raises:
            DataError: More than 5 % were unreadable.
        """
        self.require_readable(self.unreadable - self.refused, self.seen)
        if self.odd_profiles:
            self.doubts.append(
                f"{self.source}: {self.odd_profiles} images have a colour profile that cannot be used; they are taken "
                "as sRGB"
            )
        parts = list(self.doubts)
        for reason, entry in self.left.items():
            if reason == UNREADABLE:
                head = f"{entry.count} of {self.seen + self.refused} images of {self.source} cannot be read and were "
                parts.append(f"{head}skipped:\n{_listed(entry)}")
            elif reason not in _EXPECTED:
                parts.append(f"{self.source}: left out {_counted(entry.count, reason)}:\n{_listed(entry)}")
        if parts:
            warnings.warn("\n".join(parts), DegasWarning, stacklevel=2)

    def facts(self) -> dict[str, Any]:
        """Return JSON-able facts for a pack: ``left_out`` by reason, ``notes``, ``incomplete``."""
        return {
            "left_out": {
                reason: {"count": entry.count, "names": list(entry.names)} for reason, entry in self.left.items()
            },
            "notes": [*self.notes, *self.doubts],
            "incomplete": list(self.incomplete),
        }


def left_out_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return a line a reason for people, from the ``left_out`` of a pack's facts."""
    lines = []
    for reason, entry in facts.items():
        names = [str(name).partition("\n")[0] for name in entry["names"][:_SHOWN]]
        more = ", ..." if entry["count"] > len(names) else ""
        lines.append(f"{_counted(entry['count'], reason)}: {', '.join(names)}{more}")
    return lines


def _counted(count: int, reason: str) -> str:
    """Return a count with its reason, in the singular for one."""
    return f"{count:,} {reason}" if count != 1 else f"1 {_SINGULAR.get(reason, reason)}"


def _listed(entry: Left) -> str:
    names = "\n".join(f"  {name}" for name in entry.names)
    return names + (f"\n  and {entry.count - len(entry.names)} more" if entry.count > len(entry.names) else "")
