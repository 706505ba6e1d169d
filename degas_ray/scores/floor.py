"""The floor: both judges' scores of real images; a generator whose distance comes near it cannot be told from them.

The distance of two finite sets of real images is not 0, and it depends on their sizes, so it is measured with those
that the scores use.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from degas_ray.config import ScoresConfig
from degas_ray.data import Pack
from degas_ray.files import read_json, write_json
from degas_ray.scores import protocol, second
from degas_ray.scores.extractors import HASH_DIGITS, Extractor, locked
from degas_ray.scores.images import image_set, read_batches
from degas_ray.scores.reference import random_order, reference_statistics
from degas_ray.scores.score import Scores, score
from degas_ray.scores.second import Second, SecondJudge, second_judge

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
        floor: Of real images against other real images, by the same network and on about as many images.

    Returns:
        ``False`` also where either was measured on fewer than :data:`FEWEST` images.
    """
    counts = (count for each in (scores, floor) for count in (each.protocol.n_fake, each.protocol.n_real))
    if min(counts) < FEWEST:
        return False
    return scores.recall < RECALL * floor.recall and scores.coverage < COVERAGE * floor.coverage


Positions = npt.NDArray[np.int64]
_LAYOUT = 1  # of the file; another one is another key


def floor(pack: Pack, extractor: Extractor, config: ScoresConfig, home: Path) -> Scores:
    """Score real images as if they were generated; measured once, then read from ``HOME/cache/floors``.

    The first judge compares ``samples`` images of the training part with ``real`` others of it: the same reference as
    a generator's. Where there are too few for that, it compares the two largest equal halves. The second judge compares
    ``samples`` training images, or all of them, with the held-out images. ``n_fake`` and ``n_real`` of both protocols
    say how many they were.

    Args:
        config: Numbers of images, and splits of the inception score.

    Raises:
        InputError: Fewer than 12 images.
    """
    judge = second_judge(pack, home)
    path = home / "cache" / "floors" / f"{_key(pack, extractor, config, judge)}.json"
    with locked(path):
        if (known := read_json(path)) is not None:
            return Scores.from_json(known)
        found = _measure(pack, extractor, config, home, judge)
        write_json(path, found.to_json())
        return found


def halves(images: int, samples: int, real: int) -> tuple[Positions, Positions]:
    """Return disjoint random positions of the images that are scored, and of those that they are compared with.

    Args:
        samples: Wanted of the first.
        real: Wanted of the second; where there are enough, they are those of a generator's reference.
    """
    order = random_order(images)
    if samples + real > images:
        samples = real = images // 2
    return order[real : real + samples], order[:real]


def _measure(pack: Pack, extractor: Extractor, config: ScoresConfig, home: Path, judge: SecondJudge | None) -> Scores:
    wanted = config.real if config.real is not None else config.samples
    made, real = halves(len(pack), config.samples, wanted)
    images, cache = image_set(pack), home / "cache"
    if len(real) == wanted:
        reference = reference_statistics(pack, extractor, count=wanted, cache=cache, batch=config.batch)
    else:
        reference = reference_statistics(pack.images[np.sort(real)], extractor, cache=cache, batch=config.batch)
    first = score(read_batches(images, made, config.batch), extractor, reference, splits=min(config.splits, len(made)))
    found: Second | None = None
    if judge is not None:
        watcher = judge.watch()
        for some in read_batches(images, random_order(len(pack))[: config.samples], config.batch):
            watcher.see(some)
        found = watcher.conclude()
    return Scores(**first.metrics(), protocol=first.protocol, second=found)


def _key(pack: Pack, extractor: Extractor, config: ScoresConfig, judge: SecondJudge | None) -> str:
    parts = [
        [_LAYOUT, protocol.METHOD, second.METHOD, pack.fingerprint, judge.key if judge is not None else ""],
        [extractor.name, extractor.weights_hash, extractor.resizer, extractor.precision],
        [config.samples, config.real, config.splits],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:HASH_DIGITS]
