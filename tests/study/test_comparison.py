"""Tables beside the published ones: the numbers are the paper's, and only one protocol is ranked."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from tiny_study import tiny_config

from degas_ray.cli.main import main
from degas_ray.config import TrainConfig
from degas_ray.files import write_json
from degas_ray.gan import build_generator, save_generator
from degas_ray.report import comparison
from degas_ray.report.entries import OURS, Entry
from degas_ray.report.published import TABLES
from degas_ray.scores import Scores
from degas_ray.scores.extractors import INCEPTION
from degas_ray.scores.protocol import Protocol

PROTOCOL = Protocol(
    "efficientnet-lite0", "5793", "clean-bicubic-64", 200, 200, 10, "9f0b", "batch", "last", 1, 0, "0.1"
)


def scores(fid: float, **changes: object) -> Scores:
    protocol = replace(PROTOCOL, **changes)  # type: ignore[arg-type]
    return Scores(fid, 0.1, 3.0, 0.1, 0.5, 0.5, 0.9, 0.8, protocol)


def entry(name: str, fid: float, dataset: str = "digits", **changes: object) -> Entry:
    return Entry(name, OURS, dataset, is_mean=3.0, is_std=0.1, distance=fid, scores=scores(fid, **changes))


def training(home: Path, name: str, fid: float, dataset: str = "digits", **changes: object) -> None:
    """Write a training's folder as the verb does, without the training."""
    folder = home / "runs" / name
    folder.mkdir(parents=True)
    config = tiny_config(dataset=dataset)
    write_json(folder / "task.json", {"role": "train", "what": "dcgan", "config": config.model_dump(mode="json")})
    write_json(folder / "scores.json", scores(fid, **changes).to_json())
    sizes = TrainConfig(width=8, latent_dim=8)
    save_generator(folder / "generator.ckpt", build_generator("dcgan", sizes, 16), "dcgan", sizes)


def run(home: Path, *args: str):
    return CliRunner().invoke(main, ["compare", *args, "--home", str(home)])


def test_published_numbers_are_the_papers() -> None:
    """Rows copied from the paper's tables by hand, a second time."""
    by_table = {table.number: {line.name: line for line in table.lines} for table in TABLES}
    degas = by_table[1]["DEGAS"]
    assert (degas.is_mean, degas.is_std, degas.fid, degas.gpu_days) == (8.37, 0.08, 12.01, 1.167)
    assert (by_table[1]["AutoGAN"].fid, by_table[1]["AGAN"].gpu_days, by_table[1]["CAGAN"].fid) == (12.42, 1200, None)
    assert (by_table[2]["DEGAS"].is_mean, by_table[2]["DEGAS"].fid) == (8.85, 9.83)
    assert by_table[3]["DEGAS, CIFAR-10 net"].fid == 28.76
    assert by_table[4]["DEGAS, random genotype"].is_mean == 8.127


def test_without_names_each_is_ranked_with_its_own_protocol() -> None:
    entries = [entry("a", 30.0), entry("b", 20.0), entry("c", 10.0, n_fake=1000)]
    *published, own = comparison.compare(entries, chosen=False)
    assert [table.title[:7] for table in published] == ["Table 1", "Table 2", "Table 3", "Table 4"]
    assert {e.name: rank for e, rank in zip(own.entries, own.ranks, strict=True)} == {"a": 2, "b": 1, "c": 1}
    assert not any(rank for table in published for rank in table.ranks)


def test_ours_stand_beside_the_published_and_are_not_ranked_with_them() -> None:
    (table,) = comparison.compare([entry("mine", 5.0, dataset="cifar10")], chosen=True)
    assert table.title == "Table 1 of the paper: CIFAR-10, unsupervised"
    ranks = {e.name: rank for e, rank in zip(table.entries, table.ranks, strict=True)}
    assert (ranks["mine"], ranks["DEGAS"]) == (1, None)
    assert "scores.resizer=legacy" in comparison.note(False)


def test_published_distances_are_ranked_with_those_of_the_legacy_protocol_alone() -> None:
    inception = {"extractor": "inception", "weights_hash": INCEPTION.sha256[:16]}
    legacy = entry("legacy", 12.2, "cifar10", **inception, resizer="legacy-bilinear-299")
    clean = entry("clean", 12.1, "cifar10", **inception, resizer="clean-bicubic-299")
    other = entry("other", 5.0, "cifar10")
    (table,) = comparison.compare([legacy, clean, other], chosen=True, any_protocol=True)
    ranks = {e.name: rank for e, rank in zip(table.entries, table.ranks, strict=True)}
    # FIDs of the table: 2.1 real, 9.09, 9.91, 10.87, 11.26, 11.8, 12.01, 12.2, 12.42, ...
    assert (ranks["real images"], ranks["DEGAS"], ranks["legacy"], ranks["AutoGAN"]) == (1, 7, 8, 9)
    assert (ranks["clean"], ranks["other"]) == (2, 1)  # among themselves


def test_sizes_of_published_generators_are_counted() -> None:
    tables = comparison.compare([], chosen=False)
    sizes = {e.name: e.parameters for table in tables for e in table.entries if e.parameters}
    assert sizes["DEGAS"] == pytest.approx(1.65e6, rel=0.01)  # the paper's own count


def test_other_protocols_are_refused_with_what_differs(tmp_path: Path) -> None:
    training(tmp_path, "a", 30.0)
    training(tmp_path, "b", 20.0, n_fake=1000)
    result = run(tmp_path, "a", "b")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "a and b were measured in different ways and cannot be ranked (n_fake: 200, 1000)" in result.stderr
    assert "--any-protocol" in result.stderr
    forced = run(tmp_path, "a", "b", "--any-protocol", "--json")
    (table,) = json.loads(forced.stdout)["tables"]
    assert [(row["rank"], row["generator"]) for row in table["rows"]] in ([(2, "a"), (1, "b")], [(1, "b"), (2, "a")])


def test_every_format_holds_every_row(tmp_path: Path) -> None:
    training(tmp_path, "mine", 30.0)
    texts = {}
    for suffix in ("md", "html", "tex"):
        assert run(tmp_path, "--out", str(tmp_path / f"t.{suffix}")).exit_code == 0
        texts[suffix] = (tmp_path / f"t.{suffix}").read_text()
        assert all(name in texts[suffix] for name in ("mine", "AutoGAN", "12.42", "DEGAS"))
    HTMLParser().feed(texts["html"])
    assert texts["tex"].count(r"\begin{tabular}") == texts["tex"].count(r"\end{tabular}") == 5
    assert not re.search(r"https?://|src=|href=", texts["html"])
    assert run(tmp_path, "--out", str(tmp_path / "t.parquet")).exit_code == 0
    rows = {(row["table"], row["name"]): row for row in pq.read_table(tmp_path / "t.parquet").to_pylist()}
    mine = rows["digits, unsupervised", "mine"]
    assert (mine["distance"], mine["rank"], mine["ours"]) == (30.0, 1, True)
    assert json.loads(mine["protocol"])["n_fake"] == 200
    # DCGAN at width 8, latent 8, 16x16, counted by hand elsewhere: what is here must be the module's own.
    assert mine["parameters"] == sum(
        p.numel() for p in build_generator("dcgan", TrainConfig(width=8, latent_dim=8), 16).parameters()
    )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nothing"], "expected a run, a study, an MLflow run id or a genotype"),
        (["N1a=conv_3x3(U0)"], "is no genotype"),
        (["0" * 32], "is looked up in MLflow"),
        (["--out", "x.doc"], "expected a name that ends in .md or .html or .tex or .parquet"),
        (["../../etc"], "expected a run"),
    ],
)
def test_what_means_nothing_is_refused(tmp_path: Path, args: list[str], said: str) -> None:
    result = run(tmp_path, *args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []
