"""``degas-ray evaluate``: scores of a generator, a folder of images or a pack."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from degas_ray.cli.arguments import EXPORT_HELP, RUN_HELP, exported_in, find_generator, settings_of
from degas_ray.cli.common import (
    Verb,
    build_config,
    config_options,
    emit_json,
    home_option,
    json_option,
    print_facts,
    quiet_option,
)
from degas_ray.cli.progress import View, open_view
from degas_ray.cli.results import score_lines
from degas_ray.cli.watch import counted
from degas_ray.files import path_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from degas_ray.config import Config
    from degas_ray.data import Pack
    from degas_ray.scores import Scores

    Batches = Iterable[NDArray[np.uint8]]


@click.command(
    "evaluate",
    cls=Verb,
    help="Score a trained generator, a folder of images or a pack against real images: Fréchet distance, class "
    "diversity (the inception score on Inception), kernel distance, precision, recall, density and coverage, with the "
    "protocol of all of them; and the second judge's scores against held-out images, which no training saw.\n\n"
    f"{RUN_HELP} {EXPORT_HELP} Or a folder of image files, or a pack (*.arrow).",
    examples={
        "evaluate digits-1": "the generator that a study promoted, against the study's own images",
        "evaluate train-1 --samples 10000 --seed 1 --json": "more samples, another draw",
        "evaluate images --dataset cifar10 --set scores.extractor=inception": "anyone's images, by FID",
        "evaluate generated.arrow --dataset digits": "a pack of generated images",
    },
)
@click.argument("what", metavar="RUN")
@config_options
@click.option("--samples", type=int, metavar="N", help="Images to draw from a generator.  [default: 1,000]")
@click.option("--extractor", metavar="NAME", help="inception, whose distance is called FID, or efficientnet-lite0.")
@home_option
@quiet_option
@json_option
def command(
    what: str,
    samples: int | None,
    extractor: str | None,
    home: Path,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    images = _images_at(path_of(what))
    file = find_generator(what, home) if images is None else None
    own = settings_of(file) if file is not None and options["config_file"] is None else {}
    if options["dataset"] is not None:
        own = {key: value for key, value in own.items() if key.startswith("scores.")}
    elif "dataset" not in own and options["config_file"] is None:
        raise click.UsageError("--dataset is missing: the real images to compare with, such as --dataset digits")
    config = build_config(options, {"scores.samples": samples, "scores.extractor": extractor}, below=own)
    with open_view(f"evaluate  {what}", quiet=quiet) as view:
        if images is not None:
            scores, left = _score_images(config, images, home, view)
        else:
            assert file is not None
            scores, left = _score_generator(config, file, home, view), {}
    if as_json:
        emit_json({"what": what, "dataset": config.dataset, "left_out": left, **scores.to_json()})
    else:
        from degas_ray.data import left_out_lines

        lines = {"left out": "\n".join(left_out_lines(left))} if left else {}
        print_facts({"scored": what, "against": config.dataset} | lines | score_lines(scores))


def _images_at(path: Path) -> Path | None:
    """Return the folder of images or the pack that is meant, if none of a run's files is."""
    if path.suffix == ".arrow":
        return path
    return path if path.is_dir() and exported_in(path) is None else None


def _score_images(config: "Config", images: Path, home: Path, view: View) -> tuple["Scores", dict[str, Any]]:
    """Score a folder or a pack; also return what was left out of it."""
    from degas_ray.data import open_pack
    from degas_ray.scores import open_samples

    source = open_pack(images) if images.suffix == ".arrow" else images
    pack = _real(config, config.resolution, home)
    samples = open_samples(source, pack.resolution, config.scores.batch)
    facts: dict[str, str] = {}

    def batches() -> "Iterator[NDArray[np.uint8]]":
        yield from samples.batches
        facts["resized"] = samples.resized()

    count = 0 if isinstance(source, Path) else len(source)  # a folder is counted while it is read
    scores = _score(config, counted(batches(), count, view, "score"), pack, home, facts)
    return scores, samples.intake.facts()["left_out"]


def _score_generator(config: "Config", file: Path, home: Path, view: View) -> "Scores":
    from degas_ray.gan import Frozen, generate, open_generator

    generator, meta = open_generator(file)
    count, bn = config.scores.samples, config.scores.bn
    if isinstance(generator, Frozen):
        bn = "running"
    pack = _real(config, int(meta["resolution"]), home)
    batches = generate(generator, count, seed=config.seed, batch=config.scores.batch, bn=bn)
    return _score(config, counted(batches, count, view, "score"), pack, home, {"bn": bn, "checkpoint": _kept(meta)})


def _kept(facts: Mapping[str, Any]) -> str:
    """Return which of a training's generators a file holds: the last, or the best of those that were scored."""
    meta = facts.get("meta")
    return str(meta.get("checkpoint", "last")) if isinstance(meta, Mapping) else "last"


def _real(config: "Config", resolution: int | None, home: Path) -> "Pack":
    from degas_ray.data import prepare, split

    return split(prepare(config.dataset, home, **{**config.images(), "resolution": resolution}))[0]


def _score(config: "Config", batches: "Batches", pack: "Pack", home: Path, facts: Mapping[str, str]) -> "Scores":
    from degas_ray.precision import settled
    from degas_ray.scores import load_extractor, reference_statistics, score, second_judge

    settings, cache = settled(config, home).scores, home / "cache"
    extractor = load_extractor(
        settings.extractor, cache, settings.weights, precision=settings.precision, resizer=settings.resizer
    )
    count = settings.real if settings.real is not None else settings.samples
    reference = reference_statistics(pack, extractor, count=count, cache=cache, batch=settings.batch)
    second = second_judge(pack, home)
    return score(batches, extractor, reference, splits=settings.splits, seed=config.seed, protocol=facts, second=second)
