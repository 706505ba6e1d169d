"""A study's page: whole, alone, true; and in a browser, what a reader sees."""

import html
import json
import re
import shlex
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browser import headless
from click.testing import CliRunner
from finished_study import NAME, finished_study
from selenium.webdriver.support.ui import WebDriverWait
from test_queues import scores
from tiny_study import tiny_config

from degas_ray.cli.main import main
from degas_ray.config import Config, dump, resolve
from degas_ray.files import write_json
from degas_ray.home import StudyFolder
from degas_ray.report.report import write_report
from degas_ray.results import Row
from degas_ray.space import Genotype, Space
from degas_ray.study import load_study
from degas_ray.tracking import open_tracking, start_server
from degas_ray.trials.strategies import make_strategy


class Sources(HTMLParser):
    """Everything that a page names in order to load it or lead to it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for key, value in attrs if key in ("src", "href", "srcset", "action", "data")]
        assert tag not in ("script", "link", "iframe", "object")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("r")
    finished_study(home)
    return home


@pytest.fixture(scope="module")
def page(home: Path) -> str:
    out = home / "page.html"
    result = CliRunner().invoke(main, ["report", NAME, "--home", str(home), "--out", str(out)])
    assert (result.exit_code, result.stdout) == (0, f"Written to {out}\n")
    return out.read_text()


def test_the_page_needs_nothing_else(page: str) -> None:
    sources = Sources()
    sources.feed(page)
    assert len(sources.found) >= 8
    assert all(source.startswith("data:image/") for source in sources.found)
    assert "url(" not in page
    assert "@import" not in page


def test_the_page_says_what_the_study_found(page: str, home: Path) -> None:
    result = load_study(home, NAME)
    shown = html.unescape(page)
    assert result.promotion is not None
    assert result.winner in shown
    assert f"{result.promotion.scores['fid']:,.1f}" in shown
    for row in result.rows:
        assert row.score is not None
        assert f"{row.score:,.1f}" in shown
        assert Genotype.parse(row.genotype).hash in shown


def test_a_line_of_the_page_gives_the_trial_again(page: str, home: Path, tmp_path: Path) -> None:
    """The commands that the page prints are typed in, and find the genotype of the trial."""
    row = load_study(home, NAME).rows[1]
    settings = re.search(rf"<summary>{NAME}.yaml</summary><pre>(.*?)</pre>", page, re.DOTALL)
    command = re.search(r"<summary>trial 1</summary><pre>(.*?)\n", page)
    assert settings is not None
    assert command is not None
    (tmp_path / f"{NAME}.yaml").write_text(html.unescape(settings[1]))
    variable, _, verb, *arguments = shlex.split(html.unescape(command[1]))
    assert (variable, verb) == ("OMP_NUM_THREADS=1", "search")
    arguments[arguments.index(f"{NAME}.yaml")] = str(tmp_path / f"{NAME}.yaml")
    again = CliRunner().invoke(main, ["search", *arguments, "--home", str(home), "--json", "--quiet"])
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["genotype"] == row.genotype


def test_a_run_of_the_same_name_is_another_matter(page: str, home: Path) -> None:
    def beside(whole: str) -> str:
        return whole.partition("<h2>Beside published generators</h2>")[2].partition("<h2>")[0]

    task = home / "runs" / NAME / "task.json"
    write_json(task, {"role": "search", "what": "", "config": {}})
    try:
        assert beside(write_report(home, NAME)) == beside(page) != ""
    finally:
        shutil.rmtree(task.parent)


@pytest.mark.parametrize(
    ("settings", "says", "commands"),
    [
        ({}, "without a critic", True),
        ({"search__paths": "sampled"}, "tries single networks", True),
        ({"study__strategy": "random"}, "draws a genotype", False),
        ({"study__strategy": "evolution"}, "evolution made of the best so far", False),
        ({"study__strategy": "reinforce"}, "from a controller that is rewarded", False),
    ],
)
def test_a_page_says_what_its_trials_did_and_gives_commands_that_run(
    tmp_path: Path, settings: dict[str, Any], says: str, commands: bool
) -> None:
    config = tiny_config(study__promote=False, **settings)
    write_trials(tmp_path, config)
    shown = html.unescape(write_report(tmp_path, "s"))
    assert says in shown
    assert ("without a critic" in shown) == (says == "without a critic")
    assert ("2 searches on digits" in shown) == commands
    assert "trained to full length" not in shown.partition("</p>")[0]
    typed = re.findall(r"<pre>((?:OMP_NUM_THREADS=1 )?degas-ray (?:search|promote) .*?)</pre>", shown, re.DOTALL)
    assert len(typed) == 2
    for number, block in enumerate(typed):
        *search, promote = block.splitlines()
        assert promote == f"degas-ray promote s --trial {number}"
        assert len(search) == commands
        if search:
            words = shlex.split(search[0])[2:]
            (seed,) = [value for word, value in pairwise(words) if word == "--seed"]
            sets = [value for word, value in pairwise(words) if word == "--set"]
            file = tmp_path / "s.yaml"
            file.write_text(dump(config))
            assert resolve(file, sets, {"seed": int(seed)}).search.warmup == 0.25


def write_trials(home: Path, config: Config) -> None:
    """Write a study of two trials as it stands without a promotion."""
    folder = StudyFolder(home, "s")
    spent = {"seconds": 1.0, "gpu_seconds": 0.0}
    state = {"version": 1, "name": "s", "config": config.model_dump(mode="json"), "trials": 2, "spent": spent}
    write_json(folder.file, state)
    strategy = make_strategy(config)
    for number, score in enumerate((20.0, 10.0)):
        params = {"search.warmup": 0.25} if strategy is None else dict(strategy.propose(number, []))
        genotype = str(Space().random(number))
        row = Row(number, "completed", params, 7, genotype, 1, scores(score), (score,), parameters=9, macs=9)
        write_json(folder.trial(number) / "result.json", row.to_json())


def test_a_study_without_scores_has_no_page(home: Path) -> None:
    result = CliRunner().invoke(main, ["report", "nothing", "--home", str(home)])
    assert result.exit_code == 2
    assert f"no study 'nothing' in {home}; there is: {NAME}" in result.stderr


def test_the_study_run_in_mlflow_holds_the_overview(home: Path) -> None:
    tracking = open_tracking(home)
    (study,) = tracking.runs(role="study")
    for name in (
        "report.html", "summary.md", "leaderboard.md", "config.yaml", "provenance.json", "diagram.png",
        "importance.png", "parallel-coordinates.png", "optimisation-history.png", "pareto.png",
    ):  # fmt: skip
        assert tracking.download(study.run_id, name).stat().st_size > 0, name
    note = study.tags["mlflow.note.content"]
    assert note.startswith("- Champion: Fréchet distance ")
    assert "\n- Floor, real images against real ones: " in note
    assert "\n- 4 searches on digits" in note
    assert Genotype.parse(study.tags["degas.genotype"]).hash == study.tags["degas.genotype_hash"]


def test_every_child_has_pictures_over_steps_from_the_first_on(home: Path) -> None:
    tracking = open_tracking(home)
    (study,) = tracking.runs(role="study")
    children = tracking.runs(parent=study.run_id)
    assert sorted(child.role for child in children) == ["promotion", *["train"], *["trial"] * 4]
    for child in children:
        phase = "full" if child.role == "promotion" else "proxy"
        assert {f"{phase}/fid", f"{phase}/is_mean", f"{phase}/parameters", f"{phase}/macs"} <= set(child.metrics)
        images = [path.name for path in tracking.download(child.run_id, "images").iterdir()]
        steps = {int(name.split("+")[2]) for name in images if name.startswith("samples+")}
        assert {0, 8} <= steps, child.name
        assert any(name.startswith("real-beside-generated+") for name in images)
        for name in ("diagram.png", "config.yaml", "genotype.json", "provenance.json", "generator.ckpt"):
            assert tracking.download(child.run_id, name).exists(), (child.name, name)
        assert {"degas.genotype", "degas.scores_protocol", "degas.data_fingerprint", "degas.seed"} <= set(child.tags)


@pytest.mark.browser
def test_the_page_in_a_browser(page: str, home: Path, pytestconfig: pytest.Config) -> None:
    folder = pytestconfig.rootpath / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    with headless(1200, 1000) as driver:
        driver.set_network_conditions(offline=True, latency=0, throughput=0)
        driver.get((home / "page.html").as_uri())
        broken = "return [...document.images].filter(i => !i.complete || i.naturalWidth === 0).length"
        wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        facts: dict[str, Any] = {
            "images": driver.execute_script("return document.images.length"),
            "broken": driver.execute_script(broken),
            "too wide": driver.execute_script(wide),
            "errors": [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"],
        }
        height = driver.execute_script("return document.documentElement.scrollHeight")
        driver.set_window_size(1200, height)
        driver.save_screenshot(str(folder / "report.png"))
    assert facts["images"] >= 8
    assert facts == {**facts, "broken": 0, "too wide": 0, "errors": []}


@pytest.mark.browser
def test_the_study_run_in_mlflows_pages(home: Path, pytestconfig: pytest.Config) -> None:
    folder = pytestconfig.rootpath / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    (study,) = open_tracking(home).runs(role="study")
    server = start_server(home)
    try:
        page = server.front.partition("/runs?")[0] + f"/runs/{study.run_id}"
        with headless() as driver:

            def shows(*texts: str) -> None:
                def there(browser: Any) -> bool:
                    body = browser.find_element("tag name", "body").text
                    return all(text in body for text in texts)

                WebDriverWait(driver, 120).until(there, f"the page never showed all of {texts}")

            driver.get(page)
            shows(
                "Champion: Fréchet distance",
                "Floor, real images",
                f"{NAME} promotion",
                f"{NAME} trial 3",
                "degas.genotype",
            )
            driver.save_screenshot(str(folder / "mlflow-study.png"))
            driver.get("about:blank")
            driver.get(f"{page}/artifacts/report.html")
            shows("leaderboard.md", "parallel-coordinates.png", "pareto.png", "summary.md")
            frames = WebDriverWait(driver, 120).until(lambda b: b.find_elements("tag name", "iframe"))
            driver.switch_to.frame(frames[-1])
            shows(f"Study {NAME}", "What was found", "The winner")
            driver.switch_to.default_content()
            driver.save_screenshot(str(folder / "mlflow-report.png"))
    finally:
        server.stop()


def test_the_champion_is_sampled_by_its_name_in_the_registry(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "samples"
    name = f"models:/degas-ray-{NAME}@champion"
    result = CliRunner().invoke(main, ["sample", name, "--home", str(home), "-n", "3", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert len(list(out.glob("*.png"))) == 3


def test_the_champions_card_tells_a_stranger_all(home: Path) -> None:
    card = (open_tracking(home).resolve_model(f"models:/degas-ray-{NAME}@champion") / "README.md").read_text()
    promotion = load_study(home, NAME).promotion
    assert promotion is not None
    protocol = promotion.scores["protocol"]
    for piece in (
        promotion.genotype,
        f"Protocol {promotion.scores['protocol_hash']}: extractor {protocol['extractor']}",
        "52 images of digits at 16x16, fingerprint ",  # of 64, 12 are held out
        f"{promotion.macs:,}",
        "Class diversity score",
        "Limits",
        promotion.run_id,
    ):
        assert piece in card
