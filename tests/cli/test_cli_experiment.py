"""``degas-ray experiment``: what is listed."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from degas_ray.cli.common import print_table
from degas_ray.cli.main import main

FOLDER = Path(__file__).parents[2] / "experiments"


def run(*args: str | Path):
    return CliRunner().invoke(main, ["experiment", *map(str, args), "--folder", str(FOLDER)])


@pytest.mark.parametrize("columns", ["40", "80", "100", None])
def test_names_are_listed_as_they_are_typed(
    columns: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if columns is not None:  # a terminal; without them a pipe
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    with pytest.raises(SystemExit, match="0"):
        main(["experiment", "list", "--folder", str(FOLDER)])
    text = click.unstyle(capsys.readouterr().out)
    first = {line.split()[0] for line in text.splitlines() if line.strip()}
    assert {file.stem for folder in (FOLDER, FOLDER / "laptop") for file in folder.glob("*.yaml")} <= first
    assert "…" not in text


def test_a_scale_is_named_only_where_there_is_a_choice() -> None:
    shown = [tuple(line.split()[:2]) for line in run("list").stdout.splitlines()]
    assert {("cifar10", "full"), ("cifar10", "laptop")} <= set(shown)
    assert not {("stability", "full"), ("stability", "laptop")} & set(shown)


def test_a_report_without_rows_says_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "cifar10.yaml").write_text((FOLDER / "cifar10.yaml").read_text())
    for args, command in (
        (["cifar10"], f"'degas-ray experiment run cifar10 --folder {tmp_path}'\n"),
        (["cifar10", "--scale", "laptop"], f"'degas-ray experiment run cifar10 --scale laptop --folder {tmp_path}'\n"),
        ([], f"run NAME --folder {tmp_path}', where 'degas-ray experiment list' has the names\n"),
    ):
        result = CliRunner().invoke(main, ["experiment", "report", *args, "--folder", str(tmp_path)])
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"Error: {args[0] if args else tmp_path}")
        assert "there are no rows yet; make some with '" in result.stderr
        assert result.stderr.endswith(command)


def test_a_table_is_whole_in_a_pipe_and_wrapped_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words, name = " ".join(["much"] * 40) + " [b]", "n" * 50
    print_table(("name", "said", "number"), [(name, words, "1,234,567")], right=("number",))
    assert f" {name}   {words}   1,234,567 \n" in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    print_table(("name", "said", "number"), [(name, words, "1,234,567")], right=("number",))
    text = click.unstyle(capsys.readouterr().out)
    assert max(map(len, text.splitlines())) <= 80
    assert text.split().count("much") == 40
    assert {name, "[b]", "1,234,567"} <= set(text.split())
