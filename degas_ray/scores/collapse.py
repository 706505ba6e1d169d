"""Collapse, seen in scores: a generator that reaches hardly any of the real images."""

from degas_ray.scores.score import Scores

# Shares of what real images reach of other real images, below which a generator of the digits was labelled collapsed by
# eye; docs/method.md has the table and how often they are wrong.
RECALL = 0.05
COVERAGE = 0.05
FEWEST = 100  # images of each kind, below which neither number says enough


def is_collapsed(scores: Scores, floor: Scores) -> bool:
    """Return whether recall and coverage both lie far below those of real images.

    The critic's diversity, which :mod:`degas_ray.gan.collapse` watches, finds copies of one image. Four or five shapes
    over and over are various enough for it; they are not for these.

    Args:
        scores: Of a generator.
        floor: Of real images against other real images, by the same network and on about as many images.

    Returns:
        ``False`` also where either was measured on fewer than :data:`FEWEST` images.
    """
    counts = (count for each in (scores, floor) for count in (each.protocol.n_fake, each.protocol.n_real))
    if min(counts) < FEWEST:
        return False
    return scores.recall < RECALL * floor.recall and scores.coverage < COVERAGE * floor.coverage
