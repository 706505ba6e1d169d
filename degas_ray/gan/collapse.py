"""Collapse, seen in numbers: generated images that the critic cannot tell from one another."""

from dataclasses import dataclass

import torch
from torch import Tensor

from degas_ray.gan.critic import Critic

LOW = 0.1  # generated images lie ten times closer to their nearest neighbours than real ones do
PATIENCE = 3  # reports in a row


@torch.no_grad()
def diversity(critic: Critic, real: Tensor, fake: Tensor) -> float:
    """Compare how far apart generated and real images are, in the critic's features.

    Args:
        critic: Its features are taken without dropout.
        real: Images [N, 3, R, R], N >= 2.
        fake: As many generated ones.

    Returns:
        The median distance of a generated image to its nearest other one, divided by the same of real images: near 1
        for a generator as various as the data, 0 where all images are copies of a few.
    """
    was = critic.training
    critic.eval()
    features = critic(torch.cat([real, fake])).features.float()
    critic.train(was)
    own, others = nearest(features[len(real) :]), nearest(features[: len(real)])
    return float(own / others.clamp_min(torch.finfo(others.dtype).tiny))


def nearest(features: Tensor) -> Tensor:
    """Return the median distance of a row of ``features`` [N, D] to its nearest other row."""
    # Differences, not the matrix product: copies must come out as exactly 0.
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    distances.fill_diagonal_(torch.inf)
    return distances.min(1).values.median()


@dataclass
class CollapseWatch:
    """Remembers since when diversity has been low.

    Args:
        since: The first step of the present run of low reports.
    """

    since: int | None = None
    reports: int = 0

    def see(self, step: int, value: float) -> None:
        """Take note of the diversity at ``step``."""
        if value >= LOW:
            self.since, self.reports = None, 0
            return
        self.since = step if self.since is None else self.since
        self.reports += 1

    @property
    def collapsed_at(self) -> int | None:
        """The step at which a collapse began that has lasted :data:`PATIENCE` reports and goes on, or ``None``."""
        return self.since if self.reports >= PATIENCE else None
