"""Debian's chromium, headless, for pages that a person will look at."""

from collections.abc import Iterator
from contextlib import contextmanager

from selenium import webdriver


@contextmanager
def headless(width: int = 1800, height: int = 1200) -> Iterator[webdriver.Chrome]:
    """Yield a browser that is closed at the end; it must reach nothing but this machine.

    Args:
        width: Of its window.
        height: Of its window.
    """
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--window-size={width},{height}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options)
    try:
        yield driver
    finally:
        driver.quit()
