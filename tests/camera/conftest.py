"""Fixtures for tests of the live page in a real browser."""

import pytest
from browser import complaints, open_browser, requested, skip_without_browser
from simulated_camera import CLASSES, SimulatedCamera

from edgekit.camera.page import LivePage

SIZE = (1000, 700)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    skip_without_browser()
    with open_browser(tmp_path_factory.mktemp("chromium") / "profile") as driver:
        yield driver


@pytest.fixture
def tab(chromium):
    """A fresh tab, the only one; nothing may be amiss in it in the end."""
    chromium.switch_to.new_window("tab")
    new = chromium.current_window_handle
    for old in chromium.window_handles:
        if old != new:
            chromium.switch_to.window(old)
            chromium.close()
    chromium.switch_to.window(new)
    chromium.set_window_size(*SIZE)
    complaints(chromium)
    requested(chromium)
    yield chromium
    assert complaints(chromium) == []


@pytest.fixture
def page():
    with LivePage(title="shapes on rk3566", classes=CLASSES) as opened:
        yield opened


@pytest.fixture
def camera():
    return SimulatedCamera(height=180, width=320)
