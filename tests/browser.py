"""A real browser for tests of pages: Debian's Chromium, without a window, asking nobody else."""

import contextlib
import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

CHROMIUM = "/usr/bin/chromium"
DRIVER = "/usr/bin/chromedriver"
PATIENCE_S = 30
# What a fresh profile would otherwise fetch by itself, and what needs a GPU, a sandbox
# (which root has none of), or more shared memory than a container may have.
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-device-scale-factor=1",
)


def missing():
    """What a browser lacks here, in words; empty if nothing."""
    for program in (CHROMIUM, DRIVER):
        if shutil.which(program) is None:
            return f"{program} is missing: scripts/system-packages.sh browser installs it"
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed: make venv"
    return ""


def skip_without_browser():
    """Skip the test where there is no browser, and say why."""
    lacking = missing()
    if lacking:
        pytest.skip(lacking)


@contextlib.contextmanager
def open_browser(profile: Path, width=1000, height=700):
    """Start a browser with an empty profile in ``profile``; it ends with the block."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in (*OPTIONS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
        options.add_argument(option)
    # Not the new tab's page, which has much of its own to fetch.
    options.add_experimental_option(
        "prefs", {"session.restore_on_startup": 4, "session.startup_urls": ["about:blank"]}
    )
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(DRIVER, log_output=subprocess.DEVNULL)
    driver = webdriver.Chrome(options, service)
    try:
        yield driver
    finally:
        driver.quit()


def complaints(driver):
    """What the browser's console said since it was asked last."""
    return [entry["message"] for entry in driver.get_log("browser")]


def requested(driver):
    """Every address that the current tab asked for since it was asked last."""
    entries = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [
        entry["params"]["request"]["url"]
        for entry in entries
        if entry["method"] == "Network.requestWillBeSent"
    ]


def until(tab, condition):
    """Wait for something to become true of the page."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, (
            f"the page says:\n{tab.find_element('tag name', 'body').text}"
        )
        time.sleep(0.05)
    return found


def text(tab, name):
    return tab.find_element("id", name).text


def shows(tab, name, words):
    """Wait for a text."""
    until(tab, lambda: text(tab, name) == words)


def rows(tab, name):
    """A table's cells, as they are to be read."""
    lines = tab.find_elements("css selector", f"#{name} tr")
    return [[cell.text for cell in line.find_elements("css selector", "th, td")] for line in lines]
