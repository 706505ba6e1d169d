"""A genotype: the discrete architecture of a generator, independent of resolution, width and latent size.

It is a small, hashable value that prints as one line and parses back::

    N1a=sep_conv_5x5(U0); U1=up_conv_1x1(U0)+up_conv_3x3(N1a); N2a=...; U3=...
"""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from degas_ray.errors import GenotypeError
from degas_ray.space.operations import NORMAL_OPS, UPSAMPLE_OPS

_MAP = re.compile(r"\s*([A-Za-z]\w*)\s*=\s*(.*?)\s*", re.DOTALL)
_TERM = re.compile(r"\s*(\w+)\s*\(\s*(\w+)\s*\)\s*")
_STAGES = 3


@dataclass(frozen=True)
class Edge:
    """One kept operation.

    Args:
        source: The map it reads.
        residual: Whether it skips the map just before its target.
        stride: How many times larger its target is: 1, 2 or 4.
    """

    op: str
    source: str
    residual: bool
    stride: int


@dataclass(frozen=True)
class FeatureMap:
    """One map: the sum of the one or two operations that enter it, the direct one last."""

    name: str
    stage: int
    kind: Literal["normal", "upsample"]
    inputs: tuple[Edge, ...]

    def __str__(self) -> str:
        return f"{self.name}=" + "+".join(f"{edge.op}({edge.source})" for edge in self.inputs)


@dataclass(frozen=True)
class Genotype:
    """An architecture: its maps in order of computation, U0 and the tail being fixed.

    Raises:
        GenotypeError: From :meth:`parse` and :meth:`from_json`, with every fault of the text.

    Example:
        >>> text = "N1a=conv_3x3(U0); U1=deconv_4x4(N1a); N2a=conv_3x3(U1); U2=deconv_4x4(N2a); "
        >>> genotype = Genotype.parse(text + "N3a=conv_3x3(U2); U3=up_conv_3x3(U1)+deconv_4x4(N3a)")
        >>> genotype.n, len(genotype.maps)
        (1, 6)
    """

    maps: tuple[FeatureMap, ...]

    @property
    def n(self) -> int:
        """Normal maps between two up-sampled ones."""
        return len(self.maps) // _STAGES - 1

    @cached_property
    def hash(self) -> str:
        """Twelve hex digits that are the same for the same architecture on every machine."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:12]

    def __str__(self) -> str:
        return "; ".join(str(feature_map) for feature_map in self.maps)

    def describe(self) -> str:
        """Return the architecture in words, a line a stage."""
        lines = []
        for stage in range(1, _STAGES + 1):
            parts = []
            for feature_map in self.maps:
                if feature_map.stage == stage:
                    edges = [
                        f"{edge.op} of {edge.source}" + (" (residual)" if edge.residual else "")
                        for edge in feature_map.inputs
                    ]
                    parts.append(f"{feature_map.name} is {' plus '.join(edges)}")
            lines.append(f"Stage {stage}: {'; '.join(parts)}.")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able value that :meth:`from_json` reads back."""
        return {"genotype": str(self), "n": self.n, "hash": self.hash}

    @classmethod
    def from_json(cls, value: Any) -> "Genotype":
        """Read what :meth:`to_json` made."""
        if not isinstance(value, dict) or not isinstance(value.get("genotype"), str):
            got = json.dumps(value, default=str)[:80]
            raise GenotypeError(f'got {got}; expected JSON such as {{"genotype": "N1a=conv_3x3(U0); ..."}}')
        return cls.parse(value["genotype"])

    @classmethod
    def parse(cls, text: str) -> "Genotype":
        """Read the one-line form; white space and the order of a map's two inputs do not matter."""
        written: dict[str, list[tuple[str, str]]] = {}
        faults: list[str] = []
        for part in text.split(";"):
            if part.strip():
                _read_map(part, written, faults)
        if not written or faults:
            raise _error(text, faults)
        n = sum(name.startswith("N1") for name in written)
        if not 1 <= n <= 3:
            raise _error(text, [f"stage 1 has {n} normal maps, expected 1 to 3 (N1a, N1b, N1c)"])
        maps = []
        for stage in range(1, _STAGES + 1):
            row = [f"U{stage - 1}", *(f"N{stage}{'abc'[j]}" for j in range(n)), f"U{stage}"]
            for place in range(1, len(row)):
                if row[place] in written:
                    maps.append(_feature_map(row, place, stage, written.pop(row[place]), faults))
                else:
                    faults.append(f"{row[place]} is missing")
        faults += [f"{name} is no map of a genotype with n = {n}" for name in written]
        if faults:
            raise _error(text, faults)
        return cls(tuple(maps))


def _read_map(part: str, written: dict[str, list[tuple[str, str]]], faults: list[str]) -> None:
    found = _MAP.fullmatch(part)
    terms = [_TERM.fullmatch(term) for term in found[2].split("+")] if found else []
    if found is None or any(term is None for term in terms):
        faults.append(f"{part.strip()[:60]!r} is not of the form NAME=operation(MAP)+operation(MAP)")
    elif found[1] in written:
        faults.append(f"{found[1]} is given twice")
    else:
        written[found[1]] = [(term[1], term[2]) for term in terms if term is not None]


def _feature_map(row: list[str], place: int, stage: int, terms: list[tuple[str, str]], faults: list[str]) -> FeatureMap:
    name, direct = row[place], row[place - 1]
    upsample = place == len(row) - 1
    known = UPSAMPLE_OPS if upsample else NORMAL_OPS
    strides = dict.fromkeys(row[:place], 2 if upsample else 1)
    if upsample and stage >= 2:
        strides[f"U{stage - 2}"] = 4
    edges = []
    for op, source in terms:
        if op not in known:
            faults.append(f"{name}: {op!r} is not one of {', '.join(known)}")
        if source not in strides:
            faults.append(f"{name} cannot read {source!r}; it reads {' or '.join(strides)}")
        edges.append(Edge(op, source, source != direct, strides.get(source, 1)))
    if sum(not edge.residual for edge in edges) != 1 or len(edges) > 2:
        faults.append(f"{name} needs one operation from {direct} and at most one other input")
    edges.sort(key=lambda edge: not edge.residual)
    return FeatureMap(name, stage, "upsample" if upsample else "normal", tuple(edges))


def _error(text: str, faults: list[str]) -> GenotypeError:
    shown = text.strip()
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    listed = "\n".join(f"  {fault}" for fault in faults) or "  it names no map"
    return GenotypeError(f"{shown!r} is no genotype:\n{listed}\nTry 'degas-ray show degas-cifar10' to see one.")


_TEXTS = {
    "degas-cifar10": (
        "N1a=sep_conv_5x5(U0); U1=up_conv_1x1(U0)+up_conv_3x3(N1a); "
        "N2a=sep_conv_3x3(U1); U2=deconv_4x4(U1)+up_conv_3x3(N2a); "
        "N3a=conv_3x3(U2); U3=deconv_6x6(N3a)"
    ),
    "degas-cifar10-n2": (
        "N1a=dil_conv_5x5(U0); N1b=sep_conv_3x3(U0)+sep_conv_5x5(N1a); U1=deconv_6x6(N1a)+deconv_4x4(N1b); "
        "N2a=sep_conv_3x3(U1); N2b=sep_conv_5x5(U1)+sep_conv_5x5(N2a); U2=deconv_4x4(U1)+deconv_4x4(N2b); "
        "N3a=dil_conv_5x5(U2); N3b=sep_conv_5x5(N3a); U3=up_conv_1x1(U2)+up_conv_1x1(N3b)"
    ),
    "degas-stl10": (
        "N1a=sep_conv_5x5(U0); U1=up_conv_3x3(U0)+up_conv_3x3(N1a); "
        "N2a=avg_pool_3x3(U1); U2=deconv_4x4(N2a); "
        "N3a=conv_3x3(U2); U3=up_conv_3x3(U2)+up_conv_1x1(N3a)"
    ),
}
PUBLISHED: dict[str, Genotype] = {name: Genotype.parse(text) for name, text in _TEXTS.items()}


def find_genotype(text: str) -> Genotype:
    """Return the genotype that ``text`` means: a published name, the one-line form, or a JSON file.

    Raises:
        GenotypeError: Where it is none of them.
    """
    if text in PUBLISHED:
        return PUBLISHED[text]
    if "=" in text:
        return Genotype.parse(text)
    path = Path(text)
    try:
        return Genotype.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
            raise GenotypeError(
                f"{text} is not a JSON file; expected what 'degas-ray show NAME --json' prints"
            ) from None
        known = ", ".join(PUBLISHED)
        raise GenotypeError(
            f"got {text[:80]!r}; expected a published name ({known}), a genotype such as "
            "'N1a=conv_3x3(U0); U1=...', or a JSON file"
        ) from None
    except RecursionError:
        raise GenotypeError(f"{text} is nested too deeply to be a genotype") from None
