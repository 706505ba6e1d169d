"""MLflow's pages in a real browser: what a user sees of a study. Needs Debian's chromium and chromium-driver."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from degas_ray import figures
from degas_ray.space import PUBLISHED
from degas_ray.tracking import Server, Tracking, open_tracking, start_server

pytestmark = pytest.mark.browser

SECONDS = 60


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    """A study of two trials, as a study writes them."""
    tracking = open_tracking(tmp_path_factory.mktemp("browser"))
    parent = tracking.run("digits", "study", key="digits")
    draw = np.random.default_rng(0)
    for number, genotype in enumerate((PUBLISHED["degas-cifar10"], PUBLISHED["degas-stl10"])):
        trial = tracking.run(f"trial {number}", "trial", key=f"digits/{number}", parent=parent.run_id)
        trial.params({"dataset": "digits", "search.lr": 0.1 + number, "seed": number})
        trial.tags({"degas.genotype": str(genotype), "degas.genotype_hash": genotype.hash})
        trial.figure(figures.draw_genotype(genotype, 16), "diagram.png")
        for step in range(0, 201, 20):
            trial.metrics({"proxy/critic_loss": math.exp(-step / 50) + number}, step)
        for step in (0, 100, 200):
            grid = figures.image_grid(draw.integers(0, 256, (16, 16, 16, 3), dtype=np.uint8), 4)
            trial.image(grid, "proxy/samples", step)
        trial.metrics({"proxy/fid": 823.5 + 100 * number}, 200)
        trial.finish("completed")
    parent.finish("completed")
    return tracking


@pytest.fixture(scope="module")
def server(study: Tracking) -> Iterator[Server]:
    """Its server."""
    server = start_server(study.address.home)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    """A headless browser."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1800,1200"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options)
    yield driver
    driver.quit()


@pytest.fixture
def screenshots(pytestconfig: pytest.Config) -> Path:
    """Where pictures of the pages are kept, to be looked at."""
    folder = pytestconfig.rootpath / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _open(driver: webdriver.Chrome, address: str) -> None:
    driver.get("about:blank")  # the pages differ in their fragment alone, which loads nothing
    driver.get(address)


def _wait_for_text(driver: webdriver.Chrome, *texts: str) -> None:
    def all_there(browser: webdriver.Chrome) -> bool:
        page = browser.find_element(By.TAG_NAME, "body").text
        return all(text in page for text in texts)

    WebDriverWait(driver, SECONDS).until(all_there, f"the page never showed all of {texts}")


def _close_assistant(driver: webdriver.Chrome) -> None:
    for button in driver.find_elements(By.CSS_SELECTOR, "[data-component-id='mlflow.assistant.chat_panel.close']"):
        button.click()


def _loaded_images(driver: webdriver.Chrome) -> list[str]:
    script = "return [...document.images].filter(i => i.naturalWidth > 0).map(i => i.src)"
    return [str(source) for source in driver.execute_script(script) if "get-artifact" in source]


def test_the_runs_table_shows_scores_and_genotypes(
    study: Tracking, server: Server, driver: webdriver.Chrome, screenshots: Path
) -> None:
    _open(driver, server.front)
    _wait_for_text(driver, "trial 0", "trial 1", "823.5", "923.5", "proxy/fid")
    _close_assistant(driver)
    _wait_for_text(driver, "degas.genotype", "N1a=sep_conv_5x5(U0)")
    page = driver.find_element(By.TAG_NAME, "body").text
    assert page.index("trial 0") < page.index("trial 1")  # the best first
    driver.save_screenshot(str(screenshots / "mlflow-runs.png"))


def test_two_children_stand_in_one_metric_chart(
    study: Tracking, server: Server, driver: webdriver.Chrome, screenshots: Path
) -> None:
    _open(driver, f"{server.front}&compareRunsMode=CHART")
    _wait_for_text(driver, "proxy/critic_loss", "trial 0 (proxy/critic_loss)", "trial 1 (proxy/critic_loss)")
    _close_assistant(driver)

    def lines(browser: webdriver.Chrome) -> list[WebElement]:
        found = browser.find_elements(By.CSS_SELECTOR, ".js-plotly-plot .scatterlayer .trace path.js-line")
        return found if len(found) >= 2 else []

    assert WebDriverWait(driver, SECONDS).until(lines)
    driver.save_screenshot(str(screenshots / "mlflow-compare.png"))


def test_the_image_grid_shows_samples_and_its_slider_moves(
    study: Tracking, server: Server, driver: webdriver.Chrome, screenshots: Path
) -> None:
    run = study.runs(role="trial")[0].run_id
    page = f"{server.address}/#/experiments/{study.address.experiment_id}/runs/{run}/model-metrics"
    _open(driver, page)
    _wait_for_text(driver, "proxy/samples")
    _close_assistant(driver)
    slider = WebDriverWait(driver, SECONDS).until(lambda b: b.find_element(By.CSS_SELECTOR, "[role=slider]"))
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
    assert [slider.get_attribute(f"aria-value{end}") for end in ("min", "max")] == ["0", "200"]
    first = WebDriverWait(driver, SECONDS).until(_loaded_images)
    assert all("%2Bstep%2B0%2B" in source for source in first)
    slider.send_keys(Keys.ARROW_RIGHT)
    WebDriverWait(driver, SECONDS).until(lambda b: any("%2Bstep%2B100%2B" in source for source in _loaded_images(b)))
    driver.save_screenshot(str(screenshots / "mlflow-samples.png"))


def test_the_diagram_opens_among_the_artifacts(
    study: Tracking, server: Server, driver: webdriver.Chrome, screenshots: Path
) -> None:
    run = study.runs(role="trial")[0].run_id
    _open(driver, f"{server.address}/#/experiments/{study.address.experiment_id}/runs/{run}/artifacts")
    _wait_for_text(driver, "diagram.png")
    _close_assistant(driver)
    entries = driver.find_elements(By.XPATH, "//*[normalize-space(.)='diagram.png']")
    entries[-1].click()  # the innermost

    def drawn(browser: webdriver.Chrome) -> bool:
        width = "return Math.max(0, ...[...document.images].map(i => i.naturalWidth))"
        return int(browser.execute_script(width)) > 1600

    WebDriverWait(driver, SECONDS).until(drawn)
    driver.save_screenshot(str(screenshots / "mlflow-diagram.png"))
