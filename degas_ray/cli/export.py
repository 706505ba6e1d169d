"""``degas-ray export``: a trained generator for use without this package."""

from pathlib import Path

import click

from degas_ray.cli.arguments import RUN_HELP, find_generator
from degas_ray.cli.common import Verb, emit_json, home_option, json_option, print_facts

FORMATS = ("python", "safetensors", "torchscript", "onnx")


@click.command(
    "export",
    cls=Verb,
    help="Write a trained generator in a form that needs no degas-ray, with a model card.\n\n"
    "python: one file that imports torch alone, whose load() returns the module, with its weights beside it. "
    f"onnx needs: pip install 'degas-ray[onnx]'.\n\n{RUN_HELP}",
    examples={
        "export digits-1 --out generator": "a Python file and its weights",
        "export models:/degas-ray-digits-1@champion --format torchscript --out generator": "for C++ and others",
    },
)
@click.argument("run")
@click.option("--format", "kind", type=click.Choice(FORMATS), default="python", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", required=True, help="A new or empty folder.")
@home_option
@json_option
def command(run: str, kind: str, out: Path, home: Path, as_json: bool) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise click.UsageError(f"--out: {out} is there already; give a new folder")
    from degas_ray.gan import export_generator
    from degas_ray.report.recorded import recorded_beside

    generator = find_generator(run, home)
    files = export_generator(generator, kind, out, recorded_beside(generator))
    if as_json:
        emit_json({"format": kind, "files": files})
    else:
        print_facts({"load": str(files[0]), "all files": "\n".join(map(str, files))})
