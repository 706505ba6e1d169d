"""Collapse, seen in scores: a generator that reaches hardly any of the real images."""

from degas_ray.scores.score import Scores

# Shares of what real images reach of other real images. Of 46 short trainings labelled by eye (benchmarks/collapse.py,
# docs/method.md) these find 24 of the 26 that collapsed and call 2 of the 20 sound ones collapsed. Recall decides; that
# of a sound but short training is low, so the share is small. Coverage only keeps what is close to the real images.
RECALL = 0.005
COVERAGE = 0.02
FEWEST = 250  # images of each kind: where none of so many is reached, true recall is below 3 / 250 at 95 % certainty


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
