"""``degas-ray space`` against the paper's counts."""

import json

import pytest
from click.testing import CliRunner

from degas_ray.cli.main import main

SEVEN = "max_pool_3x3,avg_pool_3x3,skip_connect,sep_conv_3x3,sep_conv_5x5,dil_conv_3x3,dil_conv_5x5"


def facts(*args: str) -> dict:
    result = CliRunner().invoke(main, ["space", *args, "--json"])
    assert result.exit_code == 0
    return json.loads(result.stdout)


def test_counts_are_the_papers() -> None:
    found = facts()
    assert (found["continuous"], found["discrete"]) == (145_800_000, 18_895_680)


def test_seven_normal_operations() -> None:
    found = facts("--normal-ops", SEVEN)
    assert found["discrete"] == 8_890_560
    assert found["normal_ops"] == SEVEN.split(",")


def test_two_normal_maps() -> None:
    # Per stage with n = 2: U->Na 9, Na->Nb 9 with one residual U->Nb of 9 (+ none), Nb->U 4 with residuals from the row
    # (2 x 4) and, from stage 2 on, one from two stages back (4).
    found = facts("-n", "2")
    assert found["discrete"] == (9 * 9 * 10 * 4) ** 3 * (1 + 8) * (1 + 12) ** 2
    assert found["continuous"] == (9 * 9 * 10 * 4) ** 3 * 5**8
    assert len(found["connections"]) == 3 * 6 + 2


def test_table_names_every_connection() -> None:
    text = CliRunner().invoke(main, ["space"]).stdout
    assert "145,800,000" in text
    assert all(f"{edge['source']} → {edge['target']}" in text for edge in facts()["connections"])


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["-n", "4"], "n: got 4, expected 1, 2 or 3"),
        (["--normal-ops", "conv_9x9"], "normal operations: got conv_9x9; expected some of conv_1x1, "),
        (["--upsample-ops", "deconv_4x4,deconv_4x4"], "each once"),
        (["--normal-ops", ""], "normal operations: got none; expected"),
    ],
)
def test_wrong_input(args: list[str], part: str) -> None:
    result = CliRunner().invoke(main, ["space", *args])
    assert (result.exit_code, result.stdout) == (2, "")
    assert part in result.stderr
