"""The GLO-DARTS search: a supernet of MixedOps, latents for every image, the alternating loop, pruning; or network by
network."""

from degas_ray.search.accelerate import accelerate
from degas_ray.search.prune import decidedness, prune
from degas_ray.search.result import SearchResult
from degas_ray.search.sampled import SampledSearcher
from degas_ray.search.searcher import Searcher, search
from degas_ray.search.supernet import Supernet

__all__ = ["SampledSearcher", "SearchResult", "Searcher", "Supernet", "accelerate", "decidedness", "prune", "search"]
