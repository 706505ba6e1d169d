"""The second judge: what it says of a set of images, measured against real images that nothing was fitted to.

The search sees the first judge's features and is judged on the training part; a generator can come near in them and in
nothing else. Where a data set has labels, the second judge is a classifier trained on it; elsewhere it compares
patches. Both compare with the held-out images.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from degas_ray.data import Pack, held_out
from degas_ray.errors import InputError
from degas_ray.scores.classifier import Classifier, OnSteps, load_classifier
from degas_ray.scores.extractors import Features
from degas_ray.scores.metrics import between, frechet_distance, moments, sliced_distance, within
from degas_ray.scores.networks import resize
from degas_ray.scores.reference import Reference, random_order, reference_statistics

METHOD = 1  # raised whenever the same images would get other numbers
RECOGNISED = 0.1  # of a class's real share: with less of it among the samples, a class counts as missing
CONFIDENT = 0.9  # least probability of a prediction that counts for a class
_HASH_DIGITS = 12

Kind = Literal["classifier", "patches"]
Images = npt.NDArray[np.uint8]
NUMBERS: Mapping[str, tuple[str, ...]] = {
    "classifier": ("fid", "kid", "precision", "recall", "coverage", "recognised"),
    "patches": ("swd",),
}


@dataclass(frozen=True)
class SecondProtocol:
    """Everything that the second judge's numbers depend on besides the images.

    Args:
        network: Hash of the classifier's weights; empty for patches. A home trains its own, so distances of different
            homes are not comparable.
        accuracy: The classifier's on the held-out images, 0 to 1; 0 for patches.
        n_fake: Generated images that were compared.
        n_real: Held-out images that they were compared with.
        reference: Fingerprint of the held-out images and how they were measured.
    """

    network: str
    accuracy: float
    n_fake: int
    n_real: int
    reference: str
    method: int = METHOD

    @property
    def hash(self) -> str:
        """Twelve hex digits; numbers with the same one may be ranked."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:_HASH_DIGITS]


@dataclass(frozen=True)
class Second:
    """What the second judge says of a set of generated images.

    Args:
        numbers: Of a classifier's features ``fid`` (Fréchet distance), ``kid``, ``precision``, ``recall``,
            ``coverage``, as in :class:`degas_ray.scores.Scores`, and ``recognised``, the number of classes that are
            there; of patches ``swd``, the sliced Wasserstein distance times 1e3.
        shares: Class names to the share of samples that the classifier takes for them, 0 to 1; empty for patches.
    """

    kind: Kind
    numbers: Mapping[str, float]
    shares: Mapping[str, float]
    protocol: SecondProtocol

    @property
    def distance(self) -> float:
        """The Fréchet distance of a classifier, the sliced Wasserstein distance of patches; lower is better."""
        return self.numbers["fid" if self.kind == "classifier" else "swd"]

    def metrics(self) -> dict[str, float]:
        """Return the numbers by the names that they are recorded under."""
        return {f"second_{name}": value for name, value in self.numbers.items()}

    def sentence(self) -> str:
        """Say the numbers to a person, with what they were measured by and on how much."""
        n, p = self.numbers, self.protocol
        images = f"{p.n_fake:,} samples against {p.n_real:,} held-out images"
        if self.kind == "patches":
            return f"sliced Wasserstein distance {n['swd']:,.1f} (patches, {images})"
        return (
            f"Fréchet distance {n['fid']:,.1f}, precision {n['precision']:.2f}, recall {n['recall']:.2f}, "
            f"coverage {n['coverage']:.2f}, {n['recognised']:.0f} of {len(self.shares)} classes recognised "
            f"(classifier of {100 * p.accuracy:.1f} % accuracy, {images})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able value that :meth:`from_json` reads back."""
        return {
            "kind": self.kind,
            "numbers": dict(self.numbers),
            "shares": dict(self.shares),
            "protocol": asdict(self.protocol),
            "protocol_hash": self.protocol.hash,
        }

    @classmethod
    def from_json(cls, value: Any) -> "Second":
        """Read what :meth:`to_json` made.

        Raises:
            InputError: Something is missing or of another type.
        """
        types = {field.name: field.type for field in fields(SecondProtocol)}
        kind, numbers, shares, protocol = _parts(value)
        sound = (
            isinstance(kind, str)
            and kind in NUMBERS
            and tuple(numbers) == NUMBERS[kind]
            and all(type(number) in (int, float) for number in (*numbers.values(), *shares.values()))
            and set(protocol) == set(types)
            and all(type(protocol[name]) is kind for name, kind in types.items())
        )
        if not sound:
            raise InputError(
                "these scores of the second judge were not written by this program; score the images again"
            )
        return cls(kind, dict(numbers), dict(shares), SecondProtocol(**protocol))


def _parts(value: Any) -> tuple[Any, Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]:
    """Return kind, numbers, shares and protocol; empty ones where they are missing or no objects."""
    whole = value if isinstance(value, Mapping) else {}
    parts = [whole.get(name) for name in ("numbers", "shares", "protocol")]
    numbers, shares, protocol = (part if isinstance(part, Mapping) else {} for part in parts)
    return whole.get("kind"), numbers, shares, protocol


class Watcher(Protocol):
    """Sees the images of one set, batch by batch."""

    def see(self, images: Images) -> None:
        """Look at uint8 ``[B, H, W, 3]``."""

    def conclude(self) -> Second:
        """Return what the judge says of all that was seen."""


@dataclass(frozen=True, eq=False)
class SecondJudge:
    """A second judge of one data set.

    Args:
        key: What its numbers depend on besides the generated images, as hex digits.
        watch: Makes what sees one set of images.
    """

    key: str
    watch: Callable[[], Watcher]


def second_judge(training: Pack, home: Path, on_steps: OnSteps | None = None) -> SecondJudge | None:
    """Return the second judge of a data set; None where no image is held out (fewer than 50 images).

    Its classifier is trained on the first call in a home and read from the cache afterwards.
    """
    second = held_out(training)
    if second is None:
        return None
    if training.labels is None or len(training.classes) < 2:
        # In random order, so that the first few are a fair choice where fewer samples are compared.
        real, key = second.images[random_order(len(second))], second.fingerprint[:_HASH_DIGITS]
        return SecondJudge(key, lambda: _PatchWatcher(real, key))
    classifier = load_classifier(training, second, home / "cache", on_steps)
    reference = reference_statistics(second, classifier.extractor, cache=home / "cache")
    return SecondJudge(reference.fingerprint, lambda: _ClassifierWatcher(classifier, reference, second))


def classifier_of(training: Pack, home: Path, on_steps: OnSteps | None = None) -> Classifier:
    """Return the classifier of a data set with labels, trained where it is not there yet.

    Raises:
        InputError: No labels of two or more classes, or too few images to hold some out.
    """
    second = held_out(training)
    if second is None:
        raise InputError(
            f"{training.name} has {len(training)} images here; none is held out of fewer than 50, and a second judge "
            "needs held-out images: use more images"
        )
    return load_classifier(training, second, home / "cache", on_steps)


class _ClassifierWatcher:
    def __init__(self, classifier: Classifier, reference: Reference, real: Pack) -> None:
        self._classifier, self._reference, self._real = classifier, reference, real
        self._parts: list[Features] = []

    def see(self, images: Images) -> None:
        self._parts.append(self._classifier.extractor(images))

    def conclude(self) -> Second:
        classifier, reference, real = self._classifier, self._reference, self._real
        fake = torch.cat([part.features for part in self._parts])
        logits = torch.cat([part.logits for part in self._parts])
        fake_within = within(fake)
        pairs = between(fake, reference.features, fake_within, reference.within)
        return Second(
            kind="classifier",
            numbers={
                "fid": frechet_distance(*moments(fake), reference.mean, reference.cov, root2=reference.root),
                "kid": fake_within.kernel + reference.within.kernel - 2 * pairs.kernel,
                "precision": pairs.precision,
                "recall": pairs.recall,
                "coverage": pairs.coverage,
                "recognised": float(recognised(logits, class_shares(real)).sum()),
            },
            shares=dict(zip(real.classes, _shares(logits.argmax(1), len(real.classes)).tolist(), strict=True)),
            protocol=SecondProtocol(
                network=classifier.extractor.weights_hash,
                accuracy=classifier.accuracy,
                n_fake=len(fake),
                n_real=len(reference),
                reference=reference.fingerprint,
            ),
        )


def class_shares(pack: Pack) -> Tensor:
    """Return each class's share of a pack's images, ``[K]``."""
    assert pack.labels is not None
    return _shares(torch.tensor(pack.labels), len(pack.classes))


def recognised(logits: Tensor, real_shares: Tensor) -> Tensor:
    """Return which classes are there: with at least a tenth of their real share, by confident predictions.

    A prediction counts where its probability is 0.9 or more: otherwise the errors of the classifier on one class would
    make its neighbours present (docs/method.md has the figures).

    Args:
        logits: ``[N, K]`` of the samples.
        real_shares: ``[K]``, each class's share of the real images.

    Returns:
        bool ``[K]``; a class without real images is not recognised.
    """
    confidence, guesses = logits.softmax(1).max(1)
    counts = guesses[confidence >= CONFIDENT].bincount(minlength=logits.shape[1])
    return (counts / len(logits) >= RECOGNISED * real_shares) & (real_shares > 0)


def _shares(labels: Tensor, classes: int) -> Tensor:
    return labels.bincount(minlength=classes).double() / len(labels)


class _PatchWatcher:
    """Keeps as many of the first images as are held out: both sets must have one size."""

    def __init__(self, real: Images, key: str) -> None:
        self._real, self._key = real, key
        self._seen: list[Images] = []

    def see(self, images: Images) -> None:
        room = len(self._real) - sum(map(len, self._seen))
        if room > 0:
            self._seen.append(_of_side(images[:room], self._real.shape[1]))

    def conclude(self) -> Second:
        made = np.concatenate(self._seen)
        real = self._real[: len(made)]
        protocol = SecondProtocol("", 0.0, len(made), len(real), self._key)
        return Second("patches", {"swd": sliced_distance(made, real)}, {}, protocol)


def _of_side(images: Images, side: int) -> Images:
    if images.shape[1:3] == (side, side):
        return images
    planes = resize(torch.tensor(images).permute(0, 3, 1, 2), side)
    resized: Images = planes.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return resized
