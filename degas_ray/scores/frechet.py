"""The Fréchet distance between two sets of features, seen as Gaussians (Heusel et al. 2017)."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[np.float64]


def moments(features: Tensor | npt.NDArray[np.floating]) -> tuple[Array, Array]:
    """Return the mean ``[D]`` and the unbiased covariance ``[D, D]`` of features ``[N, D]`` in float64, N > 1."""
    values: Array = torch.as_tensor(features).to("cpu", torch.float64, copy=True).numpy()  # centred in place
    mean = values.mean(axis=0)
    values -= mean
    return mean, values.T @ values / (len(values) - 1)


def square_root(covariance: Array) -> Array:
    """Return the symmetric square root of a covariance matrix ``[D, D]``."""
    values, vectors = np.linalg.eigh(covariance)
    root: Array = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return root


def frechet_distance(mean1: Array, cov1: Array, mean2: Array, cov2: Array, *, root2: Array | None = None) -> float:
    """Return ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``.

    ``C1 C2`` has the eigenvalues of the symmetric ``C2^(1/2) C1 C2^(1/2)``, so their roots add up to the trace: exact
    as a general matrix root is, several times faster, and never complex.

    Args:
        mean1: ``[D]``.
        cov1: ``[D, D]``.
        mean2: ``[D]``.
        cov2: ``[D, D]``.
        root2: :func:`square_root` of ``cov2`` where it is known already.
    """
    root = square_root(cov2) if root2 is None else root2
    values = np.linalg.eigvalsh(root @ cov1 @ root)
    gap = mean1 - mean2
    distance = gap @ gap + np.trace(cov1) + np.trace(cov2) - 2 * np.sqrt(values.clip(min=0)).sum()
    return max(0.0, float(distance))  # rounding can leave a tiny negative number where both are the same
