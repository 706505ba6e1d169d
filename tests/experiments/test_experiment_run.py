"""An experiment of the smallest real searches and trainings: run, stopped, gone on with, reported."""

import json
import re
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result
from tiny_study import GAN, SMALL

from degas_ray.cli.main import main
from degas_ray.config import resolve
from degas_ray.errors import ConfigError, InputError, Interrupted
from degas_ray.experiments import cost_of, load_experiment, report_on, run_experiment
from degas_ray.experiments.report import _decided, _ranks, write_report
from degas_ray.experiments.rows import Row, files_with_rows, read_rows, search_key, write_rows
from degas_ray.experiments.run import Watch

TINY = {
    "title": "Tiny",
    "question": "Does it run?",
    "paper": "nothing.",
    "config": {
        "dataset": "digits",
        "limit": 64,
        "search": {**SMALL, "steps": 6, "batch": 16, "device": "cpu"},
        "proxy": {**GAN, "steps": 4},
        "scores": {"samples": 20, "real": 20, "splits": 2, "batch": 10},
        "study": {"trials": 2, "cpus": 1, "concurrent": 1, "gpus": 0, "rerank": {"top": 0}},
    },
    "generators": {
        "searched": {"kind": "search", "seeds": 2},
        "random": {"kind": "random", "seeds": [3, 5]},
        "designed": {"kind": "named", "names": ["dcgan"]},
        "again": {"kind": "named", "names": ["dcgan"]},
    },
    "trainings": {
        "proxy": {"like": "proxy"},
        "leaders": {"like": "proxy", "seeds": [7], "leaders": {"of": "proxy", "top": 1}, "generators": ["random"]},
        "labelled": {"settings": {"proxy.supervised": True}, "generators": ["designed"]},
    },
    "scale": {"laptop": {"generators": {"random": {"seeds": 1}}, "config": {"proxy": {"steps": 2}}}},
}  # fmt: skip
ROWS = 2 + 6 + 1 + 1


pytestmark = pytest.mark.timeout(1800)  # half a minute of computing, on a machine that others may use too


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiments")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def done(folder: Path) -> Path:
    """Run it through the command line and return its results."""
    result = run("experiment", "run", "tiny", "--folder", folder, "--home", folder / "home", "--json", "--quiet")
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["rows"] == ROWS
    return Path(facts["results"])


def test_every_piece_of_work_is_a_row(done: Path) -> None:
    rows = read_rows(done)
    assert sum(row.kind == "search" for row in rows) == 2
    trained = [row for row in rows if row.kind == "training"]
    places = {(row.group, row.member, row.training, row.seed) for row in trained}
    assert len(places) == len(trained) == ROWS - 2
    assert ("random", "5", "proxy", 0) in places
    assert ("designed", "dcgan", "labelled", 0) in places
    assert sum(row.training == "leaders" for row in trained) == 1
    for row in trained:
        assert row.fid is not None
        assert row.fid > 0
        assert row.outcome in ("completed", "collapsed")
        assert (row.parameters or 0) > 0
        assert (row.macs or 0) > 0
        assert json.loads(row.protocol)["n_fake"] == 20
        assert json.loads(row.settings)["full"]["steps"] == 4
        assert row.resolution == 16
    assert pq.read_metadata(done).metadata[b"experiment"] == b"tiny"


def test_the_leader_is_the_better_one_of_its_group(done: Path) -> None:
    rows = [row for row in read_rows(done) if row.group == "random"]
    means = {
        member: sum(row.fid or 0 for row in rows if row.member == member and row.training == "proxy")
        for member in ("3", "5")
    }
    (leader,) = (row for row in rows if row.training == "leaders")
    assert leader.member == min(means, key=lambda member: means[member])


def test_the_same_work_in_two_groups_is_done_once(done: Path) -> None:
    rows = read_rows(done)
    one, other = ([r for r in rows if r.group == group and r.training == "proxy"] for group in ("designed", "again"))
    assert [(r.key, r.run_id, r.fid) for r in one] == [(r.key, r.run_id, r.fid) for r in other]


def test_the_same_work_in_two_experiments_is_done_once(done: Path, folder: Path, tmp_path: Path) -> None:
    """Their results lie side by side, and the home of the first may be gone."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "tiny.parquet").write_bytes(done.read_bytes())
    groups = {"found": TINY["generators"]["searched"], "drawn": TINY["generators"]["random"]}  # type: ignore[index]
    tree = {**TINY, "generators": groups, "trainings": {"short": {"like": "proxy"}}, "scale": {}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    result = run("experiment", "run", "other", "--folder", tmp_path, "--home", tmp_path / "home", "--json", "--quiet")
    assert result.exit_code == 0, result.stderr
    assert not (tmp_path / "home" / "runs").exists()
    names = {"searched": "found", "random": "drawn"}
    wanted = {
        (row.kind, names[row.group], row.member, "short" if row.training else "", row.genotype, row.fid)
        for row in read_rows(done)
        if row.group in names and row.training in ("", "proxy")
    }
    rows = read_rows(Path(json.loads(result.stdout)["results"]))
    assert {(row.kind, row.group, row.member, row.training, row.genotype, row.fid) for row in rows} == wanted
    assert len(rows) == len(wanted) == 2 + 4


def test_a_finished_experiment_computes_nothing_again(done: Path, folder: Path) -> None:
    before = done.read_bytes()
    runs = sorted(path.name for path in (folder / "home" / "runs").iterdir())
    result = run("experiment", "run", "tiny", "--folder", folder, "--home", folder / "home", "--quiet")
    assert result.exit_code == 0, result.stderr
    assert done.read_bytes() == before
    assert sorted(path.name for path in (folder / "home" / "runs").iterdir()) == runs


@pytest.mark.slow
def test_one_that_was_stopped_ends_with_the_same_rows(done: Path, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text((folder / "tiny.yaml").read_text())
    experiment = load_experiment(file)
    asked = 0

    def every_few_steps() -> bool:
        nonlocal asked
        asked += 1
        return asked % 25 == 0

    stops = 0
    while True:
        try:
            run_experiment(experiment, tmp_path / "home", Watch(lambda *_: None, lambda _: None, every_few_steps))
        except Interrupted:
            stops += 1
            continue
        break
    assert stops > 1
    differ = {"seconds": 0.0, "run_id": "", "run": ""}
    assert [replace(row, **differ) for row in read_rows(experiment.results)] == [
        replace(row, **differ) for row in read_rows(done)
    ]


def test_report_is_made_of_the_rows_alone(done: Path, folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "evidence.md"
    result = run("experiment", "report", "--folder", folder, "--out", page)
    assert result.exit_code == 0, result.stderr
    text = page.read_text()
    rows = [row for row in read_rows(done) if row.group == "searched" and row.training == "proxy"]
    means = [sum(r.fid or 0 for r in rows if r.member == member) for member in ("0", "1")]
    line = next(line for line in text.splitlines() if line.startswith("| searched") and "%" not in line)
    assert f"{sum(means) / 2:,.1f}" in line
    assert f"{round(sum(row.parameters or 0 for row in rows) / len(rows)):,}" in line  # a median of two is their mean
    for part in ("### What was found", "2 genotypes of searched (n = 1) agree in"):
        assert part in text
    assert "8 of 8 trainings are done" in text
    assert "Fréchet distance on efficientnet-lite0 features, 20 samples against 20 real images" in text
    assert (tmp_path / "evidence" / "tiny.svg").read_text().startswith("<?xml")
    facts = json.loads(run("experiment", "report", "tiny", "--folder", folder, "--json").stdout)
    assert facts["reports"][0]["rows"] == ROWS


def test_claims_are_decided_by_the_interval_of_the_difference(folder: Path) -> None:
    claims = [
        {"better": "random", "than": than, "trainings": ["proxy", "leaders"]} for than in ("searched", "designed")
    ]
    file = folder / "claims.yml"  # not among those that the report finds by itself
    file.write_text(yaml.safe_dump({**TINY, "claims": claims}, sort_keys=False))
    experiment = load_experiment(file)

    def rows(group: str, *distances: float) -> list[Row]:
        return [
            Row(f"{group}{k}", "training", group, str(k), "completed", "digits", training="proxy", fid=distance)
            for k, distance in enumerate(distances)
        ]

    near, far = (90.0, 95.0, 100.0, 105.0), (290.0, 300.0, 310.0, 320.0)
    for others, verdict in (
        (far, "holds"),
        (near, "not told by these rows"),
        ((9.0, 10.0, 11.0), "does not hold: worse"),
    ):
        (said,) = _decided(experiment, rows("random", *near) + rows("searched", *others))  # of the designed one nothing
        assert (said["better"], said["than"], said["training"]) == ("random", "searched", "proxy, leaders")
        assert said["verdict"] == verdict
    (alone,) = _decided(experiment, rows("random", *near) + rows("designed", 200.0))
    assert (alone["difference"], alone["verdict"]) == ("-51.2 %", "one value, no interval")
    # A leader's further seeds count for it, once.
    again = [replace(row, training="leaders", fid=80.0) for row in rows("random", *near)[:1]]
    (pooled,) = _decided(experiment, rows("random", *near) + again + rows("designed", 200.0))
    assert pooled["difference"].startswith("-51.2 %")  # (90 + 80) / 2 is below the median still


def test_one_training_is_compared_with_another_where_one_protocol_measured_both(folder: Path) -> None:
    file = folder / "two.yml"
    file.write_text(yaml.safe_dump(TINY, sort_keys=False))
    experiment = load_experiment(file)
    proxy = [
        Row(
            f"{k}",
            "training",
            "random",
            str(k),
            "completed",
            "digits",
            training="proxy",
            fid=100.0 + k,
            genotype=f"{k}",
        )
        for k in range(4)
    ]
    leaders = [replace(row, training="leaders", fid=(row.fid or 0) / 2) for row in proxy]
    (line,) = _ranks(experiment, proxy + leaders)  # of no generator the size is known
    assert (line["by"], line["against"], line["generators"], line["Spearman"]) == ("proxy", "leaders", 4, "1.00")
    assert line["distances moved"] == "-50.0 % [-50.0, -50.0]"
    (apart,) = _ranks(experiment, proxy + [replace(row, protocol_hash="another") for row in leaders])
    assert apart["distances moved"] is None
    sized = [replace(row, parameters=1000 - place, macs=place) for place, row in enumerate(leaders)]
    lines = {line["by"]: line for line in _ranks(experiment, proxy + sized)}
    assert {by: line["Spearman"] for by, line in lines.items()} == {
        "proxy": "1.00",
        "parameters": "-1.00",
        "multiply-adds": "1.00",
    }


def test_claims_name_what_there_is(tmp_path: Path) -> None:
    file = tmp_path / "claims.yaml"
    file.write_text(
        yaml.safe_dump(
            {**TINY, "claims": [{"better": "fuond", "than": "random", "trainings": ["prxy"]}]}, sort_keys=False
        )
    )
    with pytest.raises(ConfigError) as caught:
        load_experiment(file)
    told = "\n".join(caught.value.faults)
    assert "claims.0: no group 'fuond'; there is: searched, random, designed, again" in told
    assert "claims.0.trainings: no 'prxy'; there is: proxy, leaders, labelled" in told


def test_rows_of_earlier_settings_are_left_out(done: Path, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    changed = {**TINY, "config": {**TINY["config"], "proxy": {**GAN, "steps": 5}}}  # type: ignore[dict-item]
    file.write_text(yaml.safe_dump(changed, sort_keys=False))
    experiment = load_experiment(file)
    write_rows(experiment.results, read_rows(done), {})
    found = report_on(experiment)
    assert {row.kind for row in found.rows} == {"search"}
    assert "0 of 8 trainings are done" in found.markdown()


def test_a_leader_that_leads_no_more_is_left_out(done: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text((folder / "tiny.yaml").read_text())
    experiment, rows = load_experiment(tmp_path / "tiny.yaml"), read_rows(done)
    (before,) = (row.member for row in rows if row.training == "leaders")
    worse = [replace(row, fid=1e9) if row.training == "proxy" and row.member == before else row for row in rows]
    write_rows(experiment.results, worse, {})
    found = report_on(experiment)
    assert len(rows) - len(found.rows) == 1
    assert "leaders" not in {row.training for row in found.rows}


def test_a_training_in_two_groups_took_its_time_once(done: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text((folder / "tiny.yaml").read_text())
    experiment, rows = load_experiment(tmp_path / "tiny.yaml"), read_rows(done)
    timed = [replace(row, seconds=3600.0 * (row.group in ("designed", "again"))) for row in rows]
    write_rows(experiment.results, timed, {})
    assert "2 hours were spent in all" in report_on(experiment).markdown()  # of three rows


@pytest.mark.slow
@pytest.mark.parametrize(("paths", "depends"), [("mixed", False), ("sampled", True)])
def test_a_search_that_trains_networks_is_another_one_where_they_are_trained_otherwise(
    paths: str, depends: bool
) -> None:
    keys = {search_key(resolve(sets=[f"search.paths={paths}", f"proxy.lr={rate}"])) for rate in (1e-3, 5e-4)}
    assert len(keys) == 1 + depends


def test_studies_are_generators_too(tmp_path: Path) -> None:
    """A study by random genotypes: its trials are rows, and its winner is trained."""
    tree = {
        **TINY,
        "generators": {"drawn": {"kind": "study", "settings": {"study.strategy": "random"}}},
        "trainings": {"proxy": {}},
        "scale": {},
    }
    file = tmp_path / "studies.yaml"
    file.write_text(yaml.safe_dump(tree))
    experiment = load_experiment(file)
    rows = run_experiment(experiment, tmp_path / "home", Watch(lambda *_: None, lambda _: None, lambda: False))
    (study,) = (row for row in rows if row.kind == "study")
    trials = [row for row in rows if row.kind == "trial"]
    assert len(trials) == 2
    assert study.genotype in {row.genotype for row in trials}
    assert all(json.loads(row.params)["genotype.N1a"] in row.genotype for row in trials)
    (trained,) = (row for row in rows if row.kind == "training")
    assert trained.genotype == study.genotype
    assert len(report_on(experiment).rows) == 4


def test_a_study_is_held_against_what_chance_does_alone() -> None:
    folder = Path(__file__).parents[2] / "experiments"
    rows = read_rows(folder / "results" / "importance.parquet")
    trials = [row.fid or 0 for row in rows if row.kind == "trial"]
    same = [row.fid or 0 for row in rows if row.kind == "training" and row.group == "untuned"]
    told = report_on(load_experiment(folder / "laptop" / "importance.yaml")).markdown()
    for values, name in ((trials, "trials of tuned 0"), (same, "trainings of untuned")):
        share = 100 * stdev(values) / fmean(values)
        assert re.search(rf"{len(values)} {name}, [a-z ]*,?[a-z ]* by {share:.1f} %", told)


def test_damaged_results_are_refused(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    file.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(InputError, match=r"rows\.parquet is not a file of an experiment's rows"):
        read_rows(file)
    assert read_rows(tmp_path / "none.parquet") == []
    assert files_with_rows(tmp_path) == [file]
    pq.write_table(pa.table({"recipe": ["ctgan"]}), tmp_path / "benchmark.parquet")
    assert files_with_rows(tmp_path) == [file]
    result = run("experiment", "report", "--folder", tmp_path)
    assert (result.exit_code, "there are no experiments in" in result.stderr) == (2, True)
    (tmp_path / "tiny.yaml").write_text((folder / "tiny.yaml").read_text())
    result = run("experiment", "report", "--folder", tmp_path)
    assert (result.exit_code, "there are no rows yet" in result.stderr) == (2, True)


def test_strategies_have_about_the_same_total_cost_and_the_default_the_least() -> None:
    experiment = load_experiment(Path(__file__).parents[2] / "experiments" / "laptop" / "strategies.yaml")
    costs = {
        group: cost_of(replace(experiment, generators={group: settings}, trainings={})).macs
        for group, settings in experiment.generators.items()
    }
    assert costs["sampled"] == min(costs.values()) > 0.85 * max(costs.values())


def test_an_experiment_of_searches_alone_is_reported() -> None:
    report = report_on(load_experiment(Path(__file__).parents[2] / "experiments" / "laptop" / "stability.yaml"))
    assert [heading for heading, _, _ in report.tables] == ["What was found", "What it is made of, and by chance"]
    figure = report.figure()
    assert figure is not None
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["fashion (n = 1)", "photos (n = 1)"]
    pairs, by_chance = figure.axes[0].collections
    assert (len(pairs.get_offsets()), len(by_chance.get_offsets())) == (15, 1)  # of six genotypes


def test_a_page_begins_with_what_became_of_every_claim(tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "experiments" / "laptop"
    names = ("operations", "searched-against-random-photos")
    experiments = [load_experiment(folder / f"{name}.yaml") for name in names]
    write_report([report_on(experiment) for experiment in experiments], tmp_path / "page.md")
    top, *sections = (tmp_path / "page.md").read_text().split("\n## ")
    lines = [line for line in top.splitlines() if line.startswith(("| Which operations", "| Searched"))]
    assert len(lines) == sum(len(experiment.claims) for experiment in experiments)
    assert [("caveat" in line, "photos" in line) for line in lines] == [(False, False)] * 5 + [(True, True)] * 7
    assert ["**Caveat:**" in section for section in sections] == [False, True]


@pytest.mark.slow
def test_the_evidence_in_the_docs_is_what_the_rows_say(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    result = run("experiment", "report", "--folder", root / "experiments", "--out", tmp_path / "evidence.md")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "evidence.md").read_text() == (root / "docs" / "evidence.md").read_text()
    drawn = {file.name for file in (tmp_path / "evidence").iterdir()}
    assert drawn == {file.name for file in (root / "docs" / "evidence").iterdir()}
