"""How a study's trials come to their genotypes, in words: what a report and a card begin with."""

from degas_ray.config import Config
from degas_ray.trials.strategies import GLO_DARTS

# By strategy, and for the strategy that searches by how: how an architecture was found, and what a trial does for it.
_WORDS = {
    "mixed": (
        "differentiable search (DEGAS: Doveh and Giryes, 2019)",
        "Each trial searches a generator without a critic, by differentiable architecture search (DEGAS), prunes it to "
        "a genotype, trains that",
    ),
    "sampled": (
        "trying single networks of the space of DEGAS (Doveh and Giryes, 2019)",
        "Each trial tries single networks of the space of DEGAS, each trained as a GAN for some steps, learns from "
        "their samples which operations are worth what, takes the genotype that is best by that, trains it",
    ),
    "random": (
        "drawing from the space of DEGAS (Doveh and Giryes, 2019) at random",
        "Each trial draws a genotype from the space of DEGAS at random, trains it",
    ),
    "evolution": (
        "evolution in the space of DEGAS (Doveh and Giryes, 2019)",
        "Each trial takes a genotype of the space of DEGAS, at first a random one and then one that evolution made of "
        "the best so far, trains it",
    ),
    "reinforce": (
        "a controller that wrote networks of the space of DEGAS (Doveh and Giryes, 2019), rewarded by their scores",
        "Each trial takes a genotype of the space of DEGAS from a controller that is rewarded by the scores, trains it",
    ),
}


def searches(config: Config) -> bool:
    """Return whether a study's trials search, or are given their genotypes."""
    return config.study.strategy == GLO_DARTS


def found_by(config: Config) -> str:
    """Return what an architecture of a study was found by."""
    return _words(config)[0]


def what_trials_do(config: Config) -> str:
    """Return a sentence or two about a study's trials and what follows them."""
    after = [
        "the best are trained again with fresh seeds" if config.study.rerank.top else "",
        "the winner is trained to full length" if config.study.promote else "",
    ]
    more = ", and ".join(part for part in after if part)
    return f"{_words(config)[1]} briefly as a GAN and scores it{f'; {more}' if more else ''}."


def _words(config: Config) -> tuple[str, str]:
    return _WORDS[config.search.paths if searches(config) else config.study.strategy]
