"""A space's networks that are no larger than ``search.cost_limit``: draws from them, and the one nearest to another."""

from dataclasses import dataclass
from itertools import islice

from degas_ray.config import SearchConfig
from degas_ray.search.slots import Choice, Slot, best_choice, largest, make_genotype, make_slots
from degas_ray.space import Genotype, Space

DRAWS = 1000  # for a network that is not too large, before the cheapest is taken
SIDE = 1  # of the first map: costs and limit grow alike with it


@dataclass(frozen=True)
class LimitedSpace:
    """The networks of a space that are not too large.

    Args:
        space: The space.
        slots: Its choices, with their prices.
        limit: Most that a network's operations may cost together; infinite for no limit.
    """

    space: Space
    slots: tuple[Slot, ...]
    limit: float

    def cost(self, genotype: Genotype) -> float:
        """Return what a genotype's operations cost."""
        return sum(slot.prices[option] for slot, option in zip(self.slots, self._choice(genotype), strict=True))

    def random(self, seed: int) -> Genotype:
        """Draw a genotype uniformly; where one in a thousand or fewer is small enough, it may be the cheapest."""
        for drawn in islice(self.space.randoms(seed), DRAWS):
            if self.cost(drawn) <= self.limit:
                return drawn
        return self._best([[0.0] * len(slot.options) for slot in self.slots])

    def nearest(self, genotype: Genotype) -> Genotype:
        """Return the genotype that shares the most choices with another: that one itself if it is small enough."""
        if self.cost(genotype) <= self.limit:
            return genotype
        chosen = zip(self.slots, self._choice(genotype), strict=True)
        return self._best([[float(option == own) for option in range(len(slot.options))] for slot, own in chosen])

    def _choice(self, genotype: Genotype) -> Choice:
        maps = {feature_map.name: feature_map for feature_map in genotype.maps}
        chosen = []
        for slot in self.slots:
            edges = [edge for edge in maps[slot.target].inputs if edge.residual is slot.residual]
            way = (f"{edges[0].source}->{slot.target}", edges[0].op) if edges else None
            chosen.append(slot.options.index(way))
        return tuple(chosen)

    def _best(self, worth: list[list[float]]) -> Genotype:
        return make_genotype(self.space, self.slots, best_choice(self.slots, worth, self.limit))


def limited_space(config: SearchConfig) -> LimitedSpace:
    """Return the networks that a search may find."""
    space = Space(config.n, config.normal_ops, config.upsample_ops)
    slots = make_slots(space, config.width, SIDE, config.cost)
    return LimitedSpace(space, slots, largest(config.cost_limit, config.width, SIDE, config.cost))
