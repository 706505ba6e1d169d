"""``degas-ray sample``: images from a trained generator."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from degas_ray.cli.arguments import EXPORT_HELP, RUN_HELP, find_generator
from degas_ray.cli.common import (
    Verb,
    emit_json,
    home_option,
    json_option,
    print_facts,
    quiet_option,
    save_png,
    seed_option,
    suffix_of,
)
from degas_ray.cli.progress import open_view
from degas_ray.cli.watch import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Images = NDArray[np.uint8]


@click.command(
    "sample",
    cls=Verb,
    help=f"Draw images from a trained generator: a folder of PNGs, one grid, or a pack.\n\n{RUN_HELP} {EXPORT_HELP}",
    examples={
        "sample digits-1 --grid --out samples.png": "one picture of the generator that a study promoted",
        "sample models:/degas-ray-digits-1@champion -n 1000 --out images": "a folder of 1,000 PNGs",
        "sample generator --grid --out samples.png": "from the folder that 'degas-ray export' wrote",
        "sample digits-1 -n 10000 --pack images.arrow --seed 1": "a pack, to train or score something with",
    },
)
@click.argument("run")
@click.option("-n", "count", type=click.IntRange(1), metavar="N", help="Images.  [default: 64]")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="PATH", help="A new folder, or with --grid a .png file."
)
@click.option(
    "--grid", is_flag=True, help="One picture of all images; a row a class where the generator knows classes."
)
@click.option("--pack", type=click.Path(path_type=Path), metavar="FILE", help="Write a pack (*.arrow).")
@click.option(
    "--batch", type=click.IntRange(1), metavar="N", default=100, show_default=True, help="Images a forward pass."
)
@click.option(
    "--bn",
    type=click.Choice(["batch", "running"]),
    help="Statistics of BN.  [default: batch; of a TorchScript or ONNX file running, which it has for good]",
)
@seed_option
@home_option
@quiet_option
@json_option
def command(
    run: str,
    count: int | None,
    out: Path | None,
    grid: bool,
    pack: Path | None,
    batch: int,
    bn: Any,
    seed: int | None,
    home: Path,
    quiet: bool,
    as_json: bool,
) -> None:
    target = _target(out, grid, pack)
    from degas_ray.gan import Frozen, generate, open_generator

    file = find_generator(run, home)
    generator, meta = open_generator(file)
    frozen = isinstance(generator, Frozen)
    if frozen and bn == "batch":
        raise click.UsageError(f"--bn: {file} has the statistics of its training for good; give --bn running")
    bn = bn or ("running" if frozen else "batch")
    classes = int(meta["num_classes"])
    count = count or (8 * classes if grid and classes else 64)
    labels = [index * classes // count for index in range(count)] if classes else None
    batches = generate(generator, count, seed=seed or 0, batch=batch, bn=bn, labels=labels)
    with open_view(f"sample {run}", quiet=quiet) as view:
        images = counted(batches, count, view, "sample")
        if grid:
            _write_grid(images, target, columns=-(-count // classes) if classes else max(1, round(count**0.5)))
        elif pack is not None:
            _write_pack(images, target, labels, meta, run)
        else:
            _write_folder(images, target)
    facts = {"images": count, "out": target, "generator": meta["what"], "seed": seed or 0, "bn": bn, "batch": batch}
    if as_json:
        emit_json(facts)
    else:
        print_facts({"images": f"{count:,} of {meta['resolution']}x{meta['resolution']}", "written to": str(target)})


def _target(out: Path | None, grid: bool, pack: Path | None) -> Path:
    """Return where to write, refused before any work where something is there already or the options disagree."""
    if (out is None) == (pack is None):
        raise click.UsageError("give either --out PATH or --pack FILE")
    if pack is not None:
        if grid:
            raise click.UsageError("--grid draws a picture: give --out FILE.png with it, not --pack")
        suffix_of(pack, "--pack", ".arrow")
        return pack
    assert out is not None
    if grid:
        suffix_of(out, "--out", ".png")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise click.UsageError(f"--out: {out} is there already; give a new folder, or --grid for a picture")
    return out


def _write_grid(batches: "Iterable[Images]", path: Path, columns: int) -> None:
    import numpy as np

    from degas_ray.figures import image_grid

    save_png(image_grid(np.concatenate(list(batches)), columns), path)


def _write_folder(batches: "Iterable[Images]", folder: Path) -> None:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    index = 0
    for images in batches:
        for image in images:
            Image.fromarray(image).save(folder / f"{index:06d}.png")
            index += 1


def _write_pack(
    batches: "Iterable[Images]", path: Path, labels: list[int] | None, meta: dict[str, Any], run: str
) -> None:
    import numpy as np

    from degas_ray.data import write_pack

    def chunks() -> Iterator[Any]:
        start = 0
        for images in batches:
            own = None if labels is None else np.array(labels[start : start + len(images)], dtype=np.int64)
            start += len(images)
            yield images, own

    write_pack(
        path,
        chunks(),
        name=f"samples of {run}",
        resolution=meta["resolution"],
        classes=tuple(str(index) for index in range(meta["num_classes"])),
        meta={"generator": meta["what"], "run": run},
    )
