"""``degas-ray data``: image sources and the packs made of them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from degas_ray.cli.common import (
    DATASETS,
    Verb,
    VerbGroup,
    data_options,
    emit_json,
    home_option,
    json_option,
    print_facts,
    print_table,
    quiet_option,
    save_png,
    suffix_of,
)
from degas_ray.cli.progress import open_view
from degas_ray.errors import DegasError

if TYPE_CHECKING:
    from degas_ray.data import Pack

F = TypeVar("F", bound=Callable[..., Any])
SOURCE_HELP = f"SOURCE is {DATASETS}, or the path of a pack (*.arrow)."


@click.group(
    "data",
    cls=VerbGroup,
    examples={
        "data list": "what there is",
        "data prepare folder:photos --resolution 32": "pack a folder of images of any size",
        "data show digits --out digits.png": "look at some images",
    },
)
def command() -> None:
    """List, prepare, check and show image packs.

    A pack is one Arrow file of equally large images, made once in --home and read without copies.
    """


def _source(verb: F) -> F:
    for option in reversed(
        (
            click.argument("source"),
            *data_options,
            home_option,
            quiet_option,
            json_option,
        )
    ):
        verb = option(verb)
    return verb


def _open(source: str, *, home: Path, quiet: bool, allow_incomplete: bool | None, **images: Any) -> "Pack":
    from degas_ray.data import open_pack, prepare

    if source.endswith(".arrow"):
        return open_pack(Path(source))
    with open_view(f"pack {source}", quiet=quiet) as view:

        def report(done: int, total: int | None) -> None:
            view.update(source, phase="pack", step=done, steps=total or 0)

        pack = prepare(source, home, **images, allow_incomplete=bool(allow_incomplete), on_progress=report)
        if view.board.rows:  # it was made now
            view.update(source, state="completed", note=f"{len(pack):,} images")
    return pack


def _print_summary(summary: dict[str, Any]) -> None:
    from degas_ray.data import left_out_lines

    left, notes, incomplete = (summary["meta"].get(key) for key in ("left_out", "notes", "incomplete"))
    classes, side, (low, high) = summary["classes"], summary["resolution"], summary["range"]
    print_facts(
        {
            "name": summary["name"],
            "images": f"{summary['images']:,} of {side}x{side}, {summary['bytes'] / 1e6:,.1f} MB",
            "classes": ", ".join(f"{name} {count:,}" for name, count in classes.items()) if classes else "no labels",
            "pixels": f"{low} to {high}, mean {summary['mean']}, spread {summary['std']}",
            **({"left out": "\n".join(left_out_lines(left))} if left else {}),
            **({"note": "\n".join(notes)} if notes else {}),
            **({"incomplete": "\n".join(incomplete)} if incomplete else {}),
            "fingerprint": summary["fingerprint"],
            "pack": summary["path"],
        }
    )


@command.command(
    "list",
    cls=Verb,
    examples={"data list": "sources, and which are packed", "data list --json": "the same as JSON"},
)
@home_option
@json_option
def list_(home: Path, as_json: bool) -> None:
    """List the sources of images and the packs that are there."""
    from degas_ray.data import list_sources

    rows = list_sources(home)
    if as_json:
        emit_json({"sources": rows})
        return
    print_table(
        ("source", "images", "size", "packs", "what it is"),
        [
            (
                row["source"],
                "" if row["images"] is None else f"{row['images']:,}",
                f"{row['resolution']}x{row['resolution']}",
                str(len(row["packs"]) or ""),
                f"{row['description']}\n  {row['where']}",
            )
            for row in rows
        ],
        right=("images", "packs"),
    )


@command.command(
    "prepare",
    cls=Verb,
    help=f"Make the pack of a source, or find the one that is there.\n\n{SOURCE_HELP}",
    examples={
        "data prepare digits": "the embedded images",
        "data prepare folder:photos --resolution 32": "a folder of images of any size and mode",
        "data prepare cifar10 --data-dir downloads": "original files that are already here",
    },
)
@_source
def prepare_(as_json: bool, **source: Any) -> None:
    from degas_ray.data import summary

    facts = summary(_open(**source))
    emit_json(facts) if as_json else _print_summary(facts)


@command.command(
    "check",
    cls=Verb,
    help="Read a whole pack, compare it with its fingerprint (exit code 1 where it is damaged), and say what was left "
    f"out of it and what speaks against training on it.\n\n{SOURCE_HELP}",
    examples={
        "data check digits": "the pack of a source",
        "data check degas-runs/packs/digits-16.arrow": "one file",
    },
)
@_source
def check_(as_json: bool, **source: Any) -> None:
    from degas_ray.data import check, doubts, left_out_lines, quality

    pack = _open(**source)
    faults, counts = check(pack), quality(pack)
    against = doubts(pack, counts)
    left, notes = pack.meta.get("left_out", {}), pack.meta.get("notes", [])
    if as_json:
        facts = {"path": pack.path, "images": len(pack), "fingerprint": pack.fingerprint, "faults": faults}
        emit_json({**facts, "left_out": left, "notes": notes, "quality": counts, "doubts": against})
    elif not faults:
        click.echo(f"{pack.path}: {len(pack):,} images, sound")
        lines = {"left out": left_out_lines(left), "note": notes, "doubt": against}
        print_facts({name: "\n".join(line) for name, line in lines.items() if line})
        click.echo(
            f"{counts['identical']:,} identical images, {counts['blank']:,} of one colour, {counts['near']:,} nearly "
            f"identical of {counts['looked_at']:,} compared in pairs"
        )
    if faults:
        listed = "\n".join(f"  {fault}" for fault in faults)
        raise DegasError(f"{pack.path} is not sound:\n{listed}\nDelete it and type: degas-ray data prepare {pack.name}")


@command.command(
    "show",
    cls=Verb,
    help=f"Say what is in a pack, and write a grid of its images with --out.\n\n{SOURCE_HELP}",
    examples={
        "data show digits --json": "counts of classes, pixel statistics",
        "data show digits --out digits.png --count 100": "a grid of 100 images",
    },
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write a grid of images: .png.")
@click.option(
    "--count", type=click.IntRange(1, 10_000), metavar="N", default=64, show_default=True, help="Images in the grid."
)
@_source
def show_(out: Path | None, count: int, as_json: bool, **source: Any) -> None:
    from degas_ray.data import summary

    suffix_of(out, "--out", ".png")
    pack = _open(**source)
    facts = summary(pack)
    if out is not None:
        import numpy as np

        from degas_ray.figures import image_grid

        chosen = np.linspace(0, len(pack) - 1, min(count, len(pack))).round().astype(int)
        save_png(image_grid(np.asarray(pack.images[chosen]), columns=max(1, round(len(chosen) ** 0.5))), out)
        facts["out"] = str(out)
    emit_json(facts) if as_json else _print_summary(facts)
