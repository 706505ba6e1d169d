"""Training, validation and test parts of a data set, as people's folders and files name them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from degas_ray.errors import DataError

ALL = "all"  # asks for every split
TRAIN = "train"
_WORDS = {
    "train": TRAIN, "training": TRAIN, "trn": TRAIN,
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test", "tst": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
_SHARD = re.compile(r"^(.+?)-\d{3,}-of-\d{3,}$")  # as dataset hubs name a split's files


@dataclass(frozen=True)
class Splits:
    """How names divide into splits.

    Args:
        names: Split of each name; a name that is none of a split's is a split of its own.
        wanted: The split that is taken; None for all.
    """

    names: dict[str, str]
    wanted: str | None

    def takes(self, name: str) -> bool:
        """Return whether what is called ``name`` is taken."""
        return self.wanted is None or self.names[name] == self.wanted

    def note(self, source: str, asked: bool) -> str:
        """Say which split is taken."""
        known = ", ".join(sorted(set(self.names.values())))
        taken = "all of them are" if self.wanted is None else f"{self.wanted} is"
        return f"{source} has the splits {known}: {taken} taken" + ("" if asked else "; --split names another, or all")


def split_of(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the split that a folder's or file's name says, with the rest of the name; None where it says none.

    Words are what stands between other characters than letters: ``train``, ``train2017``, ``seg_train``.
    """
    words = re.findall(r"[a-z]+", name.lower())
    found = [word for word in words if word in _WORDS]
    if len(found) != 1:
        return None
    return _WORDS[found[0]], tuple(word for word in words if word != found[0])


def find_splits(source: str, names: Iterable[str], asked: str | None) -> Splits | None:
    """Return how the names at one level divide into splits, or None where they name none.

    They do where the same name occurs with a word for training and one for testing (``train`` and ``test``, or
    ``seg_train`` and ``seg_val``), or where every one of several names is a split's; other names beside them count as
    splits of their own. File names of dataset hubs (``NAME-00000-of-00002``) are splits by their form.

    Args:
        source: For the error.
        names: Of folders, or of files without their endings.
        asked: The split that the user wants; None for ``train``, or the only one.

    Raises:
        DataError: The wanted split is not among them.
    """
    names = sorted(set(names))
    shards = {name: match[1] for name in names if (match := _SHARD.match(name))}
    parsed = {name: split_of(shards.get(name, name)) for name in names}
    by_rest: dict[tuple[str, ...], set[str]] = {}
    for found in parsed.values():
        if found:
            by_rest.setdefault(found[1], set()).add(found[0])
    paired = {rest for rest, splits in by_rest.items() if TRAIN in splits and len(splits) > 1}
    alone = len(by_rest) == 1 and all(parsed.values())
    if not paired and not alone and not (len(shards) == len(names) and len(set(shards.values())) > 1):
        return None
    taken = {
        name: found[0] if found and (alone or found[1] in paired) else shards.get(name, name)
        for name, found in parsed.items()
    }
    return Splits(taken, _wanted(source, set(taken.values()), asked))


def no_splits(source: str, asked: str) -> DataError:
    """Return the refusal of a split where there are none."""
    return DataError(f"{source}: got --split {asked}, but there are no splits in it; leave --split out")


def _wanted(source: str, splits: set[str], asked: str | None) -> str | None:
    if asked == ALL:
        return None
    wanted = asked if asked in splits else _WORDS.get((asked or TRAIN).lower(), asked)
    if asked is None and len(splits) == 1:
        return next(iter(splits))
    if wanted not in splits:
        known = ", ".join(sorted(splits))
        missing = f"no split {asked!r}" if asked else "no training split"
        raise DataError(f"{source} has {missing}; expected one of {known}: add --split {min(splits)}, or --split {ALL}")
    return wanted
