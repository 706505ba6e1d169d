"""What an experiment's searches found, as lines of its report: genotypes, their operations, how alike they are."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from degas_ray.config import SearchConfig
from degas_ray.experiments import likeness
from degas_ray.experiments.files import Experiment
from degas_ray.experiments.rows import Row, config_of
from degas_ray.figures.strips import Strip
from degas_ray.search import unlearnt
from degas_ray.space import Genotype, Space

KEPT = ("group", "n", "genotypes", *likeness.FAMILIES)
FOUND = ("group", "member", "genotype", "decided", "skip share", "margin", "hours")
BY_CHANCE = (
    "In the figure a dot is a pair of genotypes and a bar the mean over all pairs; 'by chance', 95 % of such means lie "
    "on the line."
)
AGREEMENT = "share of equal choices of two genotypes"


@dataclass(frozen=True)
class Alike:
    """The genotypes that one group's searches found with one ``n``.

    Args:
        group: The group.
        n: Normal maps between up-sampled ones.
        texts: The genotypes.
        search: The settings of the group's searches.
        by_chance: Draws a genotype by seed, as a search would find it that learns nothing.
    """

    group: str
    n: int
    texts: tuple[str, ...]
    search: SearchConfig
    by_chance: Callable[[int], Genotype]

    def stability(self) -> likeness.Stability | None:
        """Return how alike they are, ``None`` for fewer than two."""
        space = Space(self.n, self.search.normal_ops, self.search.upsample_ops)
        return likeness.stability(self.texts, space, self.by_chance)


def alike(experiment: Experiment, rows: Sequence[Row]) -> Iterator[Alike]:
    """Yield the genotypes that may be compared with each other, group by group."""
    for name in experiment.generators:
        own = [row for row in rows if row.group == name and row.kind in ("search", "study") and row.genotype]
        for n in sorted({row.n for row in own}):
            config = config_of(own[0])
            search = config.search.model_copy(update={"n": n})
            texts = tuple(row.genotype for row in own if row.n == n)
            yield Alike(name, n, texts, search, unlearnt(search, config.prune))


def found_line(row: Row) -> dict[str, Any]:
    """Return what one search or study found."""
    return {
        "group": row.group,
        "member": row.member,
        "genotype": row.genotype or row.outcome,
        "decided": f"{100 * (1 - row.entropy_end):.0f} %" if row.entropy_end is not None else None,
        "skip share": row.skip_share,
        "margin": row.margin,
        "hours": row.seconds / 3600,
    }


def kept_line(own: Alike) -> dict[str, Any]:
    """Return which operations genotypes have, of those that keep a map's size or enlarge it, and by chance."""
    shares = likeness.kept(own.texts, own.by_chance)
    cells = {family: f"{100 * share:.0f} % ({100 * chance:.0f})" for family, (share, chance) in shares.items()}
    return {"group": own.group, "n": own.n, "genotypes": len(own.texts), **cells}


def likeness_sentence(own: Alike, found: likeness.Stability) -> str:
    """Say how alike genotypes are."""
    return (
        f"{found.count} genotypes of {own.group} (n = {own.n}) agree in {100 * found.agreement:.0f} % of their "
        f"choices; those of searches that learn nothing do in {100 * found.chance:.0f} % (p = {found.p_value:.2g})."
    )


def likeness_strips(own: Alike, found: likeness.Stability) -> list[Strip]:
    """Return what a figure shows of it: each pair's share, and what is likely by chance."""
    panel = f"{own.group} (n = {own.n})"
    return [
        Strip(panel, "pairs found", found.pairs, found.agreement),
        Strip(panel, "by chance", (found.chance,), found.chance, found.chance_low, found.chance_high),
    ]
