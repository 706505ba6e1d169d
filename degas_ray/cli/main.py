"""The command group, and the one place where an error becomes a message and an exit code."""

import importlib
import io
import select
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO

import click

from degas_ray.cli.common import VerbGroup, nearest
from degas_ray.cli.streams import mend_streams
from degas_ray.cores import keep_to_the_limit, sleep_while_waiting
from degas_ray.errors import DegasError, DegasWarning, Interrupted

# Verb -> the line in the group's help. A verb's module has its name and is imported only when it is used, so that
# `degas-ray --help` needs click alone.
VERBS = {
    "tune": "Search over trials with Ray Tune, re-rank the best, promote the winner.",
    "search": "Run one search and print the genotype it ends in.",
    "train": "Train one generator to full length and score it.",
    "evaluate": "Score a generator, a folder of images or a pack, with the protocol.",
    "judge": "Train the second judge of a data set and say how accurate it is.",
    "sample": "Draw images from a trained generator.",
    "export": "Write a trained generator for use without this package.",
    "promote": "Train a genotype of a study to full length and register it.",
    "compare": "Put generators beside each other and beside the published ones.",
    "report": "Write a study as one page that opens anywhere.",
    "show": "Draw and describe one genotype.",
    "space": "Count and list a search space.",
    "experiment": "Run the paper's experiments and ours from files.",
    "data": "List, prepare, check and show image packs.",
    "ui": "Browse studies, runs and pictures in MLflow.",
    "launch": "Start a cluster and run a study on it.",
    "status": "Say how a cluster and its study stand.",
    "attach": "Follow the log of a cluster's study.",
    "logs": "Print the log of a cluster's study.",
    "stop": "Pause a cluster's study; its results stay.",
    "down": "End a cluster and look that nothing is left.",
    "doctor": "Check this machine, and say what to do about each finding.",
}
EXIT_INTERRUPTED = 130


class Verbs(VerbGroup):
    """A group that imports a verb when it is called, and says every error in one way."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"degas_ray.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; click ends it in silence where nobody reads what is printed, and only there."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            if _reader_has_gone():
                raise
            raise RuntimeError("a pipe broke that is not the output's") from error

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line and exit: 0 done, 1 failed, 2 wrong input, 130 interrupted."""
        mend_streams()
        sleep_while_waiting()  # no verb, and so no torch, has been imported yet
        keep_to_the_limit()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", DegasWarning)
            warnings.showwarning = _show_warning
            try:
                code = super().main(args, prog_name or self.name, complete_var, standalone_mode=False, **extra)
            except click.UsageError as error:
                code = _usage_error(error)
            except click.ClickException as error:
                code = _say(error.format_message(), error.exit_code)
            except DegasError as error:
                code = _say(str(error), error.exit_code, "Stopped" if isinstance(error, Interrupted) else "Error")
            except (click.Abort, KeyboardInterrupt):
                code = _say("interrupted", EXIT_INTERRUPTED, "Stopped")
            except OSError as error:
                # Full disks and missing rights are told like any other failure; what is not the machine's is a bug.
                if error.errno is None:
                    raise
                where = f"{error.filename}: " if error.filename else ""
                code = _say(f"{where}{error.strerror}", 1)
        sys.exit(code if isinstance(code, int) else 0)


def _reader_has_gone() -> bool:
    """Return whether nobody reads what is printed any more, as behind ``| head``."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        with suppress(io.UnsupportedOperation):  # a stream in memory
            poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _usage_error(error: click.UsageError) -> int:
    message = error.format_message().rstrip(".")
    ctx = error.ctx
    if isinstance(error, click.NoSuchOption):
        known = [name for param in ctx.command.get_params(ctx) for name in param.opts] if ctx else []
        message = f"no such option {error.option_name}" + nearest(error.option_name, known)
    hint = f"\nTry: {ctx.command_path} --help" if ctx else ""
    return _say(message + hint, 2)


def _say(message: str, code: int, head: str = "Error") -> int:
    colour = "yellow" if head == "Stopped" else "red"
    click.echo(click.style(f"{head}:", fg=colour, bold=True) + f" {message}", err=True)
    return code


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    click.echo(click.style("Warning:", fg="yellow", bold=True) + f" {message}", err=True)


@click.group(
    "degas-ray",
    cls=Verbs,
    examples={
        "tune": "the main job on embedded images, a few minutes on a laptop",
        "ui": "look at what came out",
        "tune --dataset cifar10 --dry-run": "what a study on CIFAR-10 would do and cost",
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="degas-ray", prog_name="degas-ray")
def main() -> None:
    """Search GAN generators as DEGAS does, or network by network, with Ray Tune and Optuna around it.

    Images go in; a searched, trained and scored generator comes out, with every run kept in MLflow.
    All files live in one home directory: --home, or DEGAS_RAY_HOME, or degas-runs/ here.
    """


if __name__ == "__main__":
    main()
