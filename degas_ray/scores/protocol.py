"""How a score was measured: two numbers may be ranked only where this is the same."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from degas_ray.errors import InputError
from degas_ray.scores.extractors import HASH_DIGITS, INCEPTION, LEGACY

METHOD = 1  # raised whenever the same images would get other numbers
_NOT_COMPARED = frozenset({"seed", "version"})  # another draw, or another release, of the same measurement
_HASH_DIGITS = 12
DIVERSITY = "class diversity"


@dataclass(frozen=True)
class Protocol:
    """Everything that a score depends on besides the images.

    Args:
        resizer: How images are brought to its size.
        reference: Fingerprint of the real statistics.
        bn: ``batch`` or ``running`` statistics while sampling; ``unknown`` for images from elsewhere.
        checkpoint: ``last`` or ``best``; ``unknown`` for images from elsewhere.
        method: Number of the measuring code.
        seed: Of the samples; not compared.
        version: Of this package; not compared.
        precision: Of the network. bf16 moves a distance by up to 1 % (docs/performance.md), and so is compared.
    """

    extractor: str
    weights_hash: str
    resizer: str
    n_fake: int
    n_real: int
    splits: int
    reference: str
    bn: str
    checkpoint: str
    method: int
    seed: int
    version: str
    precision: str = "float32"

    @property
    def hash(self) -> str:
        """Twelve hex digits; scores with the same one may be ranked."""
        compared = {key: value for key, value in asdict(self).items() if key not in _NOT_COMPARED}
        if self.precision == "float32":  # hashed as it was when there was nothing else
            del compared["precision"]
        return hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).hexdigest()[:_HASH_DIGITS]

    @property
    def is_fid(self) -> bool:
        """Whether the distance is on the features that the name FID stands for."""
        return self.extractor == "inception" and self.weights_hash == INCEPTION.sha256[:HASH_DIGITS]

    @property
    def as_published(self) -> bool:
        """Whether images were brought to Inception's size as for the FIDs of papers, by its own graph."""
        return self.is_fid and self.resizer.startswith(LEGACY)

    @property
    def distance_name(self) -> str:
        """What the distance is called before a person: FID, or the Fréchet distance on named features."""
        return "FID" if self.is_fid else "Fréchet distance"

    @property
    def diversity_name(self) -> str:
        """What ``is_mean`` is called before a person: the inception score is defined on Inception's classes alone."""
        return "inception score" if self.is_fid else "class diversity score"

    @property
    def diversity_column(self) -> str:
        """The same as the head of a column."""
        return "IS" if self.is_fid else DIVERSITY

    @property
    def features_name(self) -> str:
        """The extractor before a person; weights that are not the published ones are named by their hash."""
        if self.extractor == "inception" and not self.is_fid:
            return f"inception features of other weights, {self.weights_hash}"
        return f"{self.extractor} features"

    @classmethod
    def from_json(cls, value: Any) -> "Protocol":
        """Read ``dataclasses.asdict`` of a protocol back.

        Raises:
            InputError: A field is missing or of another type.
        """
        types = {field.name: int if field.type in (int, "int") else str for field in fields(cls)}
        if not isinstance(value, Mapping):
            raise InputError(f"got a {type(value).__name__} for a score's protocol, expected an object")
        value = {"precision": "float32", **value}  # what was written before there was another
        faults = [name for name, kind in types.items() if type(value.get(name)) is not kind]
        if faults:
            raise InputError(f"a score's protocol lacks {', '.join(faults)}; it was not written by this program")
        return cls(**{name: value[name] for name in types})


def differences(a: Protocol, b: Protocol) -> tuple[str, ...]:
    """Return what keeps two scores from being ranked, as ``field: a, b``; empty where nothing does."""
    return tuple(
        f"{name}: {getattr(a, name)}, {getattr(b, name)}"
        for name in (field.name for field in fields(Protocol))
        if name not in _NOT_COMPARED and getattr(a, name) != getattr(b, name)
    )


def comparable(a: Protocol, b: Protocol) -> bool:
    """Return whether scores of two protocols may be ranked."""
    return not differences(a, b)
