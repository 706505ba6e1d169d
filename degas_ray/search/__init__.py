"""The GLO-DARTS search: a supernet of MixedOps, latents for every image, the alternating loop, pruning; or network by
network."""

from degas_ray.search.choices import LimitedSpace, decidedness, limited_space, prune, unlearnt
from degas_ray.search.result import SearchResult
from degas_ray.search.sampled import SampledSearcher
from degas_ray.search.searcher import Searcher, search
from degas_ray.search.supernet import Supernet, accelerate

__all__ = [
    "LimitedSpace", "SampledSearcher", "SearchResult", "Searcher", "Supernet", "accelerate", "decidedness",
    "limited_space", "prune", "search", "unlearnt",
]  # fmt: skip
