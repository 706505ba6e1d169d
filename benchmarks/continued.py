"""A full training that goes on with a short one, against one that begins anew: distance, recall, CPU seconds.

Both end at the same number of generator steps; the first is spared those of the short training (``--share`` of them).

    python -m benchmarks.continued --seeds 2
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from benchmarks.timing import report
from degas_ray.checkpoint import State
from degas_ray.config import ScoresConfig, TrainConfig
from degas_ray.data import Pack, prepare
from degas_ray.gan import FRAMEWORKS, build_generator, generate, train
from degas_ray.loop import Progress
from degas_ray.runs.work import judge
from degas_ray.scores import score
from degas_ray.seeds import derive


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="resnet")
    parser.add_argument("--framework", choices=sorted(FRAMEWORKS), default="wgan-gp")
    parser.add_argument("--decay", default="linear")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--home", type=Path, default=Path("degas-runs"))
    args = parser.parse_args()
    sizes = {"width": args.width, "critic_width": args.width, "batch": 32, "generator_batch": 32, "critic_steps": 1}
    common = {**sizes, "framework": args.framework, "decay": args.decay, "device": "cpu"}
    full = TrainConfig.model_validate({**common, "steps": args.steps})
    short = full.model_copy(update={"steps": round(args.share * args.steps)})
    pack = prepare("digits", args.home, resolution=16)
    rows = []
    for seed in range(args.seeds):
        ends: list[State] = []
        first = _train(short, args.generator, pack, derive(seed, "proxy"), args.home, keep=ends.append)
        rows.append({"seed": seed, "training": f"short, {short.steps} steps", **first})
        for name, begin in (("goes on with it", ends[-1]), ("begins anew", None)):
            found = _train(full, args.generator, pack, derive(seed, "full"), args.home, begin=begin)
            rows.append({"seed": seed, "training": f"{full.steps} steps, {name}", **found})
    report({"generator": args.generator, "framework": args.framework, "decay": args.decay, "rows": rows})


def _train(
    config: TrainConfig,
    what: str,
    pack: Pack,
    seed: int,
    home: Path,
    *,
    begin: State | None = None,
    keep: Callable[[State], object] | None = None,
) -> dict[str, Any]:
    def on_progress(progress: Progress) -> None:
        if keep is not None and progress.step == progress.steps:
            keep(progress.state())

    generator = build_generator(what, config, pack.resolution, seed=seed)
    began = time.process_time()
    result = train(config, generator, pack, seed=seed, begin=begin, on_progress=on_progress)
    seconds = time.process_time() - began
    return {**_scores(result.generator, pack, seed, home), "cpu_seconds": round(seconds, 1)}


def _scores(generator: nn.Module, pack: Pack, seed: int, home: Path) -> dict[str, float]:
    config = ScoresConfig()
    extractor, reference = judge(config, pack, home)
    found = score(generate(generator, config.samples, seed=seed), extractor, reference, seed=seed)
    return {"distance": round(found.fid, 1), "recall": round(found.recall, 3), "coverage": round(found.coverage, 3)}


if __name__ == "__main__":
    main()
