"""A number with its protocol: all scores of a set of images from one pass of features."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from degas_ray.errors import InputError
from degas_ray.scores.extractors import Extractor, Features
from degas_ray.scores.images import Images
from degas_ray.scores.metrics import between, frechet_distance, inception_score, moments, within
from degas_ray.scores.protocol import METHOD, Protocol
from degas_ray.scores.reference import Reference
from degas_ray.scores.second import Second, SecondJudge, Watcher


@dataclass(frozen=True)
class Scores:
    """What a set of generated images is worth.

    Args:
        fid: Fréchet distance on the extractor's features; only Inception's is called FID before a person. 0 or more,
            lower is better.
        kid: Unbiased kernel distance; around 0 at best, lower is better.
        is_mean: Inception score, 1 to the number of classes, higher is better; on other classes than Inception's it is
            called class diversity score before a person.
        is_std: Its spread over the splits.
        precision: Share of generated images that look real, 0 to 1.
        recall: Share of real images that could have been generated, 0 to 1.
        density: How deep generated images lie among real ones, around 1 at best, not bounded by it.
        coverage: Share of real images with a generated one near by, 0 to 1.
        second: What the second judge says; None in files of earlier versions and where no image is held out.
    """

    fid: float
    kid: float
    is_mean: float
    is_std: float
    precision: float
    recall: float
    density: float
    coverage: float
    protocol: Protocol
    second: Second | None = None

    def metrics(self) -> dict[str, float]:
        """Return the first judge's numbers by name."""
        return {name: getattr(self, name) for name in METRICS}

    def recorded(self) -> dict[str, float]:
        """Return both judges' numbers by the names that they are recorded under, such as ``fid``, ``second_fid``."""
        return self.metrics() | (self.second.metrics() if self.second is not None else {})

    def sentence(self) -> str:
        """Say the distance to a person, with what it was measured by and on how much."""
        protocol = self.protocol
        distance = f"{self.fid:.2f}" if self.fid < 100 else f"{self.fid:,.0f}"
        images = f"{protocol.n_fake:,} samples against {protocol.n_real:,} real images"
        features = "" if protocol.is_fid else f"{protocol.features_name}, "
        return f"{protocol.distance_name} {distance} ({features}{images})"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able value that :meth:`from_json` reads back."""
        return {
            **self.metrics(),
            "protocol": asdict(self.protocol),
            "protocol_hash": self.protocol.hash,
            "second": self.second.to_json() if self.second is not None else None,
        }

    @classmethod
    def from_json(cls, value: Any) -> "Scores":
        """Read what :meth:`to_json` made.

        Raises:
            InputError: Something is missing or not a number.
        """
        if not isinstance(value, Mapping):
            raise InputError(
                f"got a {type(value).__name__} for scores, expected an object such as {{'fid': 12.0, ...}}"
            )
        faults = [name for name in METRICS if type(value.get(name)) not in (int, float)]
        if faults:
            raise InputError(f"these scores lack {', '.join(faults)}; expected what 'degas-ray evaluate --json' prints")
        numbers = {name: float(value[name]) for name in METRICS}
        second = value.get("second")
        return cls(
            **numbers,
            protocol=Protocol.from_json(value.get("protocol")),
            second=Second.from_json(second) if second is not None else None,
        )


METRICS = tuple(field.name for field in fields(Scores) if field.name not in ("protocol", "second"))


def extract(batches: Iterable[Images], extractor: Extractor) -> Features:
    """Run batches of uint8 ``[B, H, W, 3]`` through an extractor once; of each image only its features stay.

    Raises:
        InputError: There was no image, or the network's weights give infinite or undefined features.
    """
    parts = [extractor(images) for images in batches]
    if not parts:
        raise InputError("there is no image to score")
    if not all(part.features.isfinite().all() and part.logits.isfinite().all() for part in parts):
        raise InputError(f"the {extractor.name} network gives features that are not numbers; its weights are damaged")
    return Features(torch.cat([part.features for part in parts]), torch.cat([part.logits for part in parts]))


def score(
    batches: Iterable[Images],
    extractor: Extractor,
    reference: Reference,
    *,
    splits: int = 10,
    seed: int = 0,
    protocol: Mapping[str, str] | None = None,
    second: SecondJudge | None = None,
) -> Scores:
    """Score generated images against real ones.

    Args:
        batches: uint8 ``[B, H, W, 3]``, used once and not kept.
        extractor: The network that also measured ``reference``.
        seed: Of the samples; recorded, and it shuffles the images over the splits.
        protocol: ``bn`` and ``checkpoint`` of the samples, where they are known, and ``resized``, where images from
            elsewhere were; read after the last batch, so what reads them may still add to it.

    Raises:
        InputError: Another extractor than the reference's, or fewer images than 6 or than splits.
    """
    ours = (extractor.name, extractor.weights_hash, extractor.resizer, extractor.precision)
    theirs = (reference.extractor, reference.weights_hash, reference.resizer, reference.precision)
    if ours != theirs:
        raise InputError(
            f"the real images were measured by {theirs}, the samples by {ours}; use one extractor for both"
        )
    watcher = second.watch() if second is not None else None
    features = extract(_seen_by(watcher, batches), extractor)
    known = {"bn": "unknown", "checkpoint": "unknown", "resized": "", **(protocol or {})}
    if len(known) > 3:
        raise InputError(f"protocol: got {', '.join(known)}; only bn, checkpoint and resized are not known here")
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(features)))
    is_mean, is_std = inception_score(features.logits[order].softmax(1), splits)
    fake = features.features.to(extractor.device)
    fake_within = within(fake)
    real = reference.features.to(extractor.device)
    pairs = between(fake, real, fake_within, reference.within)
    return Scores(
        fid=frechet_distance(*moments(features.features), reference.mean, reference.cov, root2=reference.root),
        kid=fake_within.kernel + reference.within.kernel - 2 * pairs.kernel,
        is_mean=is_mean,
        is_std=is_std,
        precision=pairs.precision,
        recall=pairs.recall,
        density=pairs.density,
        coverage=pairs.coverage,
        protocol=Protocol(
            extractor=extractor.name,
            weights_hash=extractor.weights_hash,
            resizer=extractor.resizer + (f" after {known['resized']}" if known["resized"] else ""),
            n_fake=len(features),
            n_real=len(reference),
            splits=splits,
            reference=reference.fingerprint,
            bn=known["bn"],
            checkpoint=known["checkpoint"],
            method=METHOD,
            seed=seed,
            version=version("degas-ray"),
            precision=extractor.precision,
        ),
        second=watcher.conclude() if watcher is not None else None,
    )


def _seen_by(watcher: Watcher | None, batches: Iterable[Images]) -> Iterator[Images]:
    for images in batches:
        if watcher is not None:
            watcher.see(images)
        yield images
