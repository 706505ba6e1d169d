"""The second judge's network: a small classifier trained on a data set's training part, kept in the home.

A general network has seen neither digits nor clothes; this one has been trained to tell this data set's classes apart,
and the search never sees its features.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from degas_ray.data import Batches, Pack
from degas_ray.errors import DegasWarning, InputError
from degas_ray.files import replacing
from degas_ray.scores.extractors import HASH_DIGITS, Extractor, locked
from degas_ray.scores.networks import Network, resize

SIZE = 32  # larger images are resized to this side
WIDTH, MOST_WIDTH, FEATURES = 16, 128, 64
BATCH = 64
PASSES, LEAST_SEEN, MOST_SEEN = 20, 4096, 100_000  # passes over the images, within limits on the images seen
RATE, DECAY = 5e-3, 0.05
LAYOUT = 1  # raised whenever the same images would give another classifier
NAME = "classifier"

OnSteps = Callable[[int, int], None]


class ClassifierNetwork(Network):
    """Convolution, pooling, normalisation and ReLU until the side is 4 or less; then 64 features and the logits.

    The features are those before the last ReLU, normalised by batch norm: nearer to the Gaussian that the Fréchet
    distance assumes than the half that ReLU lets pass.

    Args:
        resolution: Side of the data set's images; what is larger than 32 is resized to 32.
    """

    dim = FEATURES

    def __init__(self, classes: int, resolution: int) -> None:
        super().__init__()
        self.classes, self.size = classes, min(SIZE, resolution)
        layers: list[nn.Module] = []
        channels, width, side = 3, WIDTH, self.size
        while side > 4:
            convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            layers += [convolution, nn.MaxPool2d(2), nn.BatchNorm2d(width), nn.ReLU()]
            channels, width, side = width, min(2 * width, MOST_WIDTH), side // 2
        last = nn.Linear(channels * side**2, FEATURES, bias=False)
        self.body = nn.Sequential(*layers, nn.Flatten(), last, nn.BatchNorm1d(FEATURES))
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(images / 127.5 - 1)
        return features, self.head(F.relu(features))


@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained classifier.

    Args:
        accuracy: Share of the held-out images that it classifies correctly, 0 to 1.
    """

    extractor: Extractor
    accuracy: float
    path: Path


def load_classifier(training: Pack, held_out: Pack, cache: Path, on_steps: OnSteps | None = None) -> Classifier:
    """Return the classifier of a data set: trained on the first call in a home, read from the cache afterwards.

    Several processes may ask at once: one trains, the others wait and read.

    Args:
        training: The training part, with labels of at least two classes.
        held_out: The held-out part, which measures the accuracy.
        cache: The home's cache directory; ``judges/`` in it is used.
        on_steps: Told of the training: steps done, steps in all.

    Raises:
        InputError: No labels, or a single class.
    """
    if training.labels is None or len(training.classes) < 2:
        raise InputError(f"{training.name} has no labels of two or more classes, so no classifier can be trained on it")
    parts = [LAYOUT, training.fingerprint, held_out.fingerprint, len(training.classes), training.resolution]
    name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:HASH_DIGITS]
    path = cache / "judges" / f"{name}.safetensors"
    with locked(path):
        found = _read(path) if path.exists() else None
        if found is None:
            network = _trained(training, on_steps)
            found = network.state_dict(), _accuracy(network, held_out)
            tensors = {name: tensor.contiguous() for name, tensor in found[0].items()}
            with replacing(path) as file:
                file.write(save(tensors, {"accuracy": json.dumps(found[1]), "dataset": training.name}))
    tensors, accuracy = found
    network = ClassifierNetwork(len(training.classes), training.resolution)
    network.load_state_dict(dict(tensors))
    network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    return Classifier(Extractor(NAME, _hash(tensors), network, torch.device("cpu")), accuracy, path)


def _trained(pack: Pack, on_steps: OnSteps | None) -> ClassifierNetwork:
    """Train with AdamW and a rate that rises over a fifth of the steps and falls to zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ClassifierNetwork(len(pack.classes), pack.resolution)
    network.train().to(memory_format=torch.channels_last)
    batches = Batches(pack, min(BATCH, len(pack)), seed=0)
    seen = min(MOST_SEEN, max(LEAST_SEEN, PASSES * len(pack)))
    steps = seen // BATCH
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.2)
    for step in range(steps):
        batch = batches.next()
        assert batch.labels is not None
        images = batch.images.add(1).mul_(127.5)
        if pack.resolution > network.size:
            images = resize(images, network.size)
        loss = F.cross_entropy(network(images.contiguous(memory_format=torch.channels_last))[1], batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        if on_steps is not None:
            on_steps(step + 1, steps)
    return network.eval()


def _accuracy(network: ClassifierNetwork, held_out: Pack) -> float:
    assert held_out.labels is not None
    extractor = Extractor(NAME, "", network, torch.device("cpu"))
    guesses = extractor(held_out.images).logits.argmax(1)
    return float((guesses == torch.tensor(held_out.labels)).double().mean())


def _hash(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()[:HASH_DIGITS]


def _read(path: Path) -> tuple[dict[str, Tensor], float] | None:
    try:
        with safe_open(path, framework="pt") as file:
            accuracy = float(json.loads(file.metadata()["accuracy"]))
            return {name: file.get_tensor(name) for name in file.keys()}, accuracy  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        warnings.warn(f"{path} is damaged ({error}); the classifier is trained again", DegasWarning, stacklevel=3)
        return None
