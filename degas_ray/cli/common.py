"""What verbs share: help that ends in examples, options, printing."""

import difflib
import json
import math
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from degas_ray.cli.streams import takes_all
from degas_ray.errors import Interrupted
from degas_ray.files import path_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from degas_ray.config import Config

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT_HOME = "degas-runs"
# Libraries with caches of their own: the variable that says where, and the folder in home's cache.
_CACHES = (
    ("MPLCONFIGDIR", "matplotlib"),
    ("TORCH_HOME", "torch"),
    ("TORCHINDUCTOR_CACHE_DIR", "inductor"),
    ("TRITON_CACHE_DIR", "triton"),
    ("XDG_CACHE_HOME", ""),
)
_ENDLESS = 100_000  # columns of what is no terminal
DATASETS = "digits, photos, fashion-mnist, cifar10, stl, celeba, folder:DIR or parquet:PATH"


class _WithExamples(click.Command):
    """A command whose help ends with command lines that run."""

    examples: dict[str, str]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for line, purpose in self.examples.items():
                formatter.write(f"  # {purpose}\n  degas-ray {line}\n")


class Verb(_WithExamples):
    """A verb.

    Args:
        examples: Command lines without the leading ``degas-ray``, each with what it is for.
    """

    def __init__(self, *args: Any, examples: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = dict(examples)


class VerbGroup(_WithExamples, click.Group):
    """A group of verbs that names the nearest one where there is none.

    Args:
        examples: As for :class:`Verb`.
    """

    def __init__(self, *args: Any, examples: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = dict(examples)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            raise click.UsageError(f"no such command {args[0]!r}" + nearest(args[0], known), ctx)
        return super().resolve_command(ctx, args)


def nearest(given: str, known: Iterable[str]) -> str:
    """Return ``; did you mean X?`` for the known word most like ``given``, or nothing."""
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _enter_home(ctx: click.Context, param: click.Parameter, value: str) -> Path:
    home = path_of(value).absolute()
    try:
        str(home).encode()
    except UnicodeEncodeError:
        raise click.BadParameter(f"got {value!r}, expected a name in UTF-8, as MLflow's addresses are") from None
    if home.exists() and not home.is_dir():
        raise click.BadParameter(f"{home} is a file; give a directory, which is made where it is missing")
    for variable, folder in _CACHES:  # nothing is written outside home
        os.environ.setdefault(variable, str(home / "cache" / folder))
    missing = [folder for folder in (home, *home.parents) if not folder.exists()]
    if missing:
        ctx.call_on_close(lambda: _leave_no_trace(missing))
    return home


def _leave_no_trace(made: Sequence[Path]) -> None:
    """Remove a home in which there is only what libraries write when they are imported.

    So a command that writes nothing makes no home either. Folders go only where they are empty, since another command
    may be at work in them.

    Args:
        made: The home, then those of its parents that were not there before.
    """
    home, cache = made[0], made[0] / "cache"
    if any(path != cache for path in home.glob("*")):
        return
    for fonts in (cache / "matplotlib").glob("fontlist-*"):
        fonts.unlink(missing_ok=True)
    (cache / "precision.json").unlink(missing_ok=True)  # takes a second to measure again
    for folder in (*(cache / name for _, name in _CACHES), *made):  # the cache itself is the last of the first
        with suppress(OSError):
            folder.rmdir()


def _check_seed(ctx: click.Context, param: click.Parameter, value: int | None) -> int | None:
    if value is not None and not 0 <= value < 2**63:
        raise click.BadParameter(f"got {value}, expected 0 to 2^63 - 1")
    return value


home_option = click.option(
    "--home",
    default=DEFAULT_HOME,
    envvar="DEGAS_RAY_HOME",
    show_default=True,
    show_envvar=True,
    metavar="DIR",
    callback=_enter_home,
    help="Where packs, runs, studies and the MLflow database are.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
quiet_option = click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
seed_option = click.option(
    "--seed", type=int, metavar="N", callback=_check_seed, help="Seed of every random choice.  [default: 0]"
)
data_options = (
    click.option(
        "--resolution", type=int, metavar="N", help="Side of the images; divisible by 8.  [default: the dataset's own]"
    ),
    click.option(
        "--data-dir", type=click.Path(path_type=Path), metavar="DIR", help="Where a dataset's original files are."
    ),
    click.option("--limit", type=int, metavar="N", help="Take so many images only, each class in its share."),
    click.option(
        "--split",
        metavar="NAME",
        help="Split of a folder or Parquet files, or all.  [default: train, where there is one]",
    ),
    click.option(
        "--allow-incomplete", is_flag=True, default=None, help="Go on with a known data set that is not whole."
    ),
)


def config_options(command: F) -> F:
    """Add the options that build a configuration: dataset, file, single settings."""
    for option in reversed(
        (
            click.option("--dataset", metavar="NAME", help=f"{DATASETS}.  [default: digits]"),
            *data_options,
            seed_option,
            click.option(
                "--config", "config_file", metavar="FILE", type=click.Path(path_type=Path), help="Settings as YAML."
            ),
            click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="One setting; may be repeated."),
        )
    ):
        command = option(command)
    return command


def build_config(
    options: Mapping[str, Any], overrides: Mapping[str, Any], *, below: Mapping[str, Any] | None = None
) -> "Config":
    """Return the configuration that a command line means.

    Args:
        options: What :func:`config_options` parsed.
        overrides: Dotted keys to values of the verb's own options; ``None`` is left out.
        below: Dotted keys to values that hold where the command line says nothing.
    """
    from degas_ray.config import IMAGES, resolve

    shared = {key: options[key] for key in ("dataset", *IMAGES, "seed")}
    sets = [f"{key}={json.dumps(value)}" for key, value in (below or {}).items()]
    return resolve(options["config_file"], [*sets, *options["sets"]], shared | dict(overrides))


def refuse_with_resume(ctx: click.Context, resume: str | None, *allowed: str) -> None:
    """Refuse options beside ``--resume`` that would be ignored: a resumed run has the settings that it was begun with.

    Args:
        ctx: Of the verb.
        resume: What is resumed, if anything.
        allowed: Parameters that go with it all the same.
    """
    if resume is None:
        return
    kept = {"resume", "home", "quiet", "as_json", *allowed}
    for param in ctx.command.params:
        source = ctx.get_parameter_source(param.name or "")
        if param.name not in kept and source is click.core.ParameterSource.COMMANDLINE:
            given = param.opts[0] if isinstance(param, click.Option) else param.human_readable_name
            raise click.UsageError(
                f"{given} does not go with --resume: {resume} keeps the settings that it was begun with"
            )


def emit_json(facts: Mapping[str, Any]) -> None:
    """Print facts as JSON that every parser takes: numbers that are not finite become null."""
    click.echo(json.dumps(_plain(facts), indent=2, ensure_ascii=not takes_all(sys.stdout), allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def print_facts(facts: Mapping[str, str]) -> None:
    """Print ``name  value`` lines, names in one column; long values are wrapped on a terminal, and whole elsewhere."""
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        lines = [part for line in value.splitlines() or [""] for part in wrapped(line, width + 2)]
        click.echo(click.style(name.ljust(width), dim=True) + f"  {lines[0]}")
        for line in lines[1:]:
            click.echo(" " * (width + 2) + line)


def wrapped(text: str, indent: int = 0, first: int | None = None) -> list[str]:
    """Return ``text`` in lines that fit a terminal; in one line without a terminal.

    Args:
        text: One line.
        indent: Columns that are taken before every line.
        first: Columns that are taken before the first one, where those differ.
    """
    if not sys.stdout.isatty():
        return [text]
    room = shutil.get_terminal_size().columns
    taken = " " * (indent if first is None else first)
    lines = textwrap.wrap(
        text,
        max(room, indent + 20),
        initial_indent=taken,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line[len(taken) if number == 0 else indent :] for number, line in enumerate(lines)] or [""]


def print_words(text: str, indent: int = 0) -> None:
    """Print text for people, wrapped on a terminal; the lines after the first are indented."""
    for line in text.splitlines():
        first, *rest = wrapped(line, indent, first=0)
        click.echo(first)
        for more in rest:
            click.echo(" " * indent + more)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Print a table; long cells are wrapped on a terminal and whole elsewhere, and none is ever cut.

    Args:
        columns: Their heads. What is in the first one is never wrapped: names are typed again.
        rows: Cells.
        right: Columns of numbers, which are not wrapped either.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    lines = list(rows)
    for index, column in enumerate(columns):
        whole = index == 0 or column in right
        table.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=whole,
            overflow="fold",
            min_width=max(cell_len(line[index]) for line in [columns, *lines]) if whole else None,
        )
    for line in lines:
        table.add_row(*line)
    width = None if sys.stdout.isatty() else _ENDLESS
    Console(highlight=False, markup=False, emoji=False, width=width).print(table, crop=False)


@contextmanager
def saying_how_to_resume(verb: str, name: str | None, home: Path) -> Iterator[None]:
    """Add the command that goes on to what an interrupted run says.

    Args:
        verb: ``search`` or ``train``.
        name: Of the run, where one was typed.
        home: Where its folder is.
    """
    try:
        yield
    except Interrupted as error:
        where = "" if name else f", where RUN is its folder's name in {home / 'runs'}"
        raise Interrupted(f"{error}; go on with 'degas-ray {verb} --resume {name or 'RUN'}'{where}") from None


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGINT or SIGTERM came; a second signal stops at once."""
    came = False

    def note(number: int, frame: object) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True
        click.echo("Stopping after this step; once more to stop now.", err=True)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def suffix_of(path: Path | None, option: str, *allowed: str) -> None:
    """Refuse a file name with another ending than those ``allowed``, before any work is done."""
    if path is not None and path.suffix.lower() not in allowed:
        raise click.UsageError(f"{option}: got {str(path)!r}, expected a name that ends in {' or '.join(allowed)}")


def save_png(image: "NDArray[np.uint8]", path: Path) -> None:
    """Write an image [H, W, 3] as PNG, whole or not at all."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    Image.fromarray(image).save(temporary, format="png")
    temporary.replace(path)
