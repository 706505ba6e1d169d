"""A search that explains itself: in words, what its end is worth and which setting to change."""

from collections.abc import Mapping

from degas_ray.config import SearchConfig

UNDECIDED_ENTROPY = 0.8
FEW_NETWORKS = 10  # of a search by single networks, below which it hardly knows more than at first
SKIP_COLLAPSE = 2 / 3


def verdict(decided: Mapping[str, float], config: SearchConfig) -> tuple[str, ...]:
    """Return warnings about a finished search, each naming the setting to change.

    Args:
        decided: From :func:`~degas_ray.search.prune.decidedness`.
        config: The search's settings.
    """
    if config.paths == "sampled":
        if config.networks >= FEW_NETWORKS:
            return ()
        return (
            f"{config.networks} networks tell little of what operations are worth. "
            f"Raise search.networks to {FEW_NETWORKS} or more.",
        )
    warnings = []
    if decided["alpha_entropy"] > UNDECIDED_ENTROPY:
        warnings.append(
            f"the search ended undecided: the entropy of its alphas is still {decided['alpha_entropy']:.0%} of the "
            f"uniform one, so pruning picks almost at random. Raise search.alpha_lr (now {config.alpha_lr:g}), lower "
            f"search.alpha_weight_decay (now {config.alpha_weight_decay:g}), or search longer."
        )
    elif decided["margin_min"] < 0.02:
        warnings.append(
            f"one connection was nearly a tie (lead {decided['margin_min']:.3f} in weight): another seed may choose "
            f"otherwise. Search longer, or raise search.alpha_lr (now {config.alpha_lr:g})."
        )
    if decided["skip_share"] >= SKIP_COLLAPSE:
        warnings.append(
            f"skip collapse: {decided['skip_share']:.0%} of the normal maps are plain skip connections. Raise "
            f"search.warmup (now {config.warmup:g}) so that convolutions learn first, or lower search.alpha_lr "
            f"(now {config.alpha_lr:g})."
        )
    return tuple(warnings)
