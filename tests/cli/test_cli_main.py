"""The group itself: help, exit codes, hints, lazy imports."""

import errno
import os
import platform
import shlex
import subprocess
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from degas_ray.cli.common import home_option
from degas_ray.cli.main import VERBS, main, nearest
from degas_ray.errors import ConfigError, DegasError, DegasWarning, Interrupted

ENTRY = Path(sys.executable).with_name("degas-ray")


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        return [(path, command)]
    context = click.Context(command)
    found = []
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        found += leaves(child, (*path, name))
    return found


COMMANDS = leaves(main)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Make ``degas-ray space`` raise what the test wants."""

    def install(error: BaseException) -> None:
        def fail() -> None:
            raise error

        monkeypatch.setattr("degas_ray.cli.space.command", click.Command("space", callback=fail))

    return install


def run(*args: str):
    return CliRunner().invoke(main, args)


def test_help_lists_every_verb() -> None:
    result = run("--help")
    assert result.exit_code == 0
    listed = result.stdout.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed if line[:3] != "   "] == list(VERBS)


def test_python_runs_the_package_as_the_command() -> None:
    ran = subprocess.run([sys.executable, "-m", "degas_ray", "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["degas-ray,", "version", version("degas-ray")]


def test_no_arguments_print_the_help() -> None:
    assert run().stdout == run("-h").stdout


def test_help_of_verbs_imports_no_heavy_library() -> None:
    heavy = "{'torch', 'numpy', 'mlflow', 'ray', 'optuna', 'pydantic', 'rich', 'matplotlib', 'pyarrow'}"
    code = (
        "import sys, click\n"
        "from degas_ray.cli.main import VERBS, main\n"
        "context = click.Context(main)\n"
        "[main.get_command(context, verb) for verb in VERBS]\n"
        f"sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("own", "seen"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_of_a_command_sleep_while_they_wait_unless_told_otherwise(own: str | None, seen: str) -> None:
    if platform.system() != "Linux" or "gomp" not in Path("/proc/self/maps").read_text(encoding="utf-8"):
        pytest.skip("torch runs its threads by another library than GNU's")
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {"OMP_DISPLAY_ENV": "TRUE"} | ({} if own is None else {"OMP_WAIT_POLICY": own})
    # What the library prints is what it took when torch loaded it.
    done = subprocess.run(
        [sys.executable, "-m", "degas_ray.cli.main", "space", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert f"OMP_WAIT_POLICY = '{seen}'" in done.stderr


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_help_ends_with_examples_that_parse(path: tuple[str, ...], command: click.Command) -> None:
    result = run(*path, "--help")
    examples: list[str] = list(command.examples)  # type: ignore[attr-defined]
    assert result.exit_code == 0
    assert result.stdout.rstrip().endswith(f"degas-ray {examples[-1]}")
    for example in examples:
        arguments = shlex.split(example)
        assert tuple(arguments[: len(path)]) == path
        command.make_context(path[-1], arguments[len(path) :])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["tuen"], "no such command 'tuen'; did you mean tune?\nTry: degas-ray --help"),
        (["zzz"], "no such command 'zzz'\nTry: degas-ray --help"),
        (["tune", "--trails", "3"], "no such option --trails; did you mean --trials?\nTry: degas-ray tune --help"),
        (["--hepl"], "no such option --hepl; did you mean --help?\nTry: degas-ray --help"),
        (["show"], "Missing argument 'GENOTYPE'\nTry: degas-ray show --help"),
        (["space", "-n", "x"], "Invalid value for '-n': 'x' is not a valid integer\nTry: degas-ray space --help"),
        (["data", "chek"], "no such command 'chek'; did you mean check?\nTry: degas-ray data --help"),
    ],
)
def test_usage_errors_exit_2_with_a_hint(args: list[str], message: str) -> None:
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {message}\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DegasError("it broke"), 1, "Error: it broke\n"),
        (ConfigError(["a.b: bad"]), 2, "Error: 1 fault in the configuration:\n  a.b: bad\n"),
        (Interrupted("go on with: degas-ray tune --resume x"), 130, "Stopped: go on with: degas-ray tune --resume x\n"),
        (KeyboardInterrupt(), 130, "\nStopped: interrupted\n"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 1, "Error: /x/y: No space left on device\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, "Error: /x: Permission denied\n"),
    ],
)
def test_errors_become_a_sentence_and_a_code(failing, error: BaseException, code: int, said: str) -> None:
    failing(error)
    result = run("space")
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", said)


def test_bugs_keep_their_traceback(failing) -> None:
    failing(ZeroDivisionError("ours"))
    assert isinstance(run("space").exception, ZeroDivisionError)


def test_only_the_readers_pipe_breaks_in_silence(failing) -> None:
    error = BrokenPipeError(errno.EPIPE, "a worker's")
    failing(error)
    told = run("space").exception
    assert isinstance(told, RuntimeError)
    assert told.__cause__ is error


def test_only_our_warnings_are_shown_and_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def warn() -> None:
        warnings.warn("a library's own", FutureWarning, stacklevel=1)
        warnings.warn("3 files were skipped", DegasWarning, stacklevel=1)

    monkeypatch.setattr("degas_ray.cli.space.command", click.Command("space", callback=warn))
    assert run("space").stderr == "Warning: 3 files were skipped\n"


def test_nearest_is_silent_for_what_is_like_nothing() -> None:
    assert nearest("qqqq", VERBS) == ""
    assert nearest("promot", VERBS) == "; did you mean promote?"


def test_entry_point_exits_with_the_code_and_writes_nothing(tmp_path: Path) -> None:
    done = subprocess.run([ENTRY, "space", "-n", "9"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: n: got 9, expected 1, 2 or 3\n"
    assert list(tmp_path.iterdir()) == []


def test_wrong_input_makes_no_home(tmp_path: Path) -> None:
    # In a process of its own: what libraries write, they write when they are imported.
    environment = {key: value for key, value in os.environ.items() if key not in ("MPLCONFIGDIR", "XDG_CACHE_HOME")}
    command = [ENTRY, "report", "nope", "--home", tmp_path / "not" / "there"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert list(tmp_path.iterdir()) == []


FONTS = "cache/matplotlib/fontlist-v3.json"


@pytest.mark.parametrize(
    ("work", "left"),
    [
        (None, []),
        ("packs/digits.arrow", [FONTS, "packs/digits.arrow"]),
        ("cache/extractors/inception.pt", ["cache/extractors/inception.pt"]),
    ],
)
def test_a_new_home_stays_where_something_was_done_in_it(work: str | None, left: list[str], tmp_path: Path) -> None:
    @click.command()
    @home_option
    def command(home: Path) -> None:
        for name in (FONTS, *([work] if work else [])):
            (home / name).parent.mkdir(parents=True)
            (home / name).touch()
        (home / "cache" / "inductor").mkdir()

    home = tmp_path / "home"
    assert CliRunner().invoke(command, ["--home", str(home)]).exit_code == 0
    assert sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()) == left
    assert home.exists() == (work is not None)


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    command = f"'{ENTRY}' space --json | true"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""
