"""``degas-ray show``: one genotype in words, numbers and a diagram."""

from pathlib import Path

import click

from degas_ray.cli.arguments import GENOTYPE_HELP, HANDMADE_HELP, find_architecture
from degas_ray.cli.common import Verb, emit_json, home_option, json_option, print_facts, seed_option, suffix_of


@click.command(
    "show",
    cls=Verb,
    help="Describe a generator: its operations, parameters and multiply-adds; draw it with --out.\n\n"
    f"{GENOTYPE_HELP}\n\n{HANDMADE_HELP}",
    examples={
        "show degas-cifar10": "the paper's CIFAR-10 generator",
        "show degas-stl10 --resolution 48 --json": "its numbers at 48x48, as JSON",
        "show random --seed 7 --out genotype.svg": "draw a random genotype",
    },
)
@click.argument("genotype")
@click.option(
    "--width", type=click.IntRange(1), metavar="N", default=128, show_default=True, help="Channels of every map."
)
@click.option(
    "--latent-dim",
    type=click.IntRange(1),
    metavar="N",
    default=128,
    show_default=True,
    help="Length of a latent vector.",
)
@click.option(
    "--resolution", type=int, metavar="N", default=32, show_default=True, help="Side of an image; divisible by 8."
)
@click.option(
    "-n", "n", type=click.IntRange(1, 3), metavar="N", default=1, show_default=True, help="Normal maps, for 'random'."
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the diagram: .svg or .png.")
@seed_option
@home_option
@json_option
def command(
    genotype: str,
    width: int,
    latent_dim: int,
    resolution: int,
    n: int,
    out: Path | None,
    seed: int | None,
    home: Path,
    as_json: bool,
) -> None:
    from degas_ray.config import TrainConfig
    from degas_ray.gan import build_generator, count_sizes
    from degas_ray.space import Genotype

    suffix_of(out, "--out", ".svg", ".png")
    what = find_architecture(genotype, home, seed=seed or 0, n=n)
    if out is not None and not isinstance(what, Genotype):
        raise click.UsageError(f"--out: {what} is designed by hand and has no diagram; give a genotype")
    config = TrainConfig.model_validate({"width": width, "latent_dim": latent_dim})
    module = build_generator(what, config, resolution)
    sizes = {"width": width, "latent_dim": latent_dim, "resolution": resolution}
    parameters, macs = count_sizes(module)
    counts = {"parameters": parameters, "macs": macs}
    if out is not None and isinstance(what, Genotype):
        from degas_ray import figures

        figures.save(figures.draw_genotype(what, resolution=resolution), out)
    if as_json:
        facts = what.to_json() if isinstance(what, Genotype) else {"name": what}
        emit_json({**facts, **sizes, **counts, "out": out})
        return
    lines = {"generator": genotype}
    if isinstance(what, Genotype):
        lines["generator"] += f" (seed {seed or 0})" if genotype == "random" else ""
        lines |= {"genotype": str(what), "hash": what.hash, "in words": what.describe()}
    lines["sizes"] = f"width {width}, latent {latent_dim}, images {resolution}x{resolution}"
    lines["parameters"] = f"{counts['parameters']:,} ({counts['parameters'] / 1e6:.2f} M)"
    lines["multiply-adds"] = f"{counts['macs']:,} an image ({counts['macs'] / 1e6:,.0f} M)"
    if out is not None:
        lines["diagram"] = str(out)
    print_facts(lines)
