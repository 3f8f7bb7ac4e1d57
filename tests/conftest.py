"""Fixtures for all, and which tests may run side by side."""

import pytest
from side_by_side import BoardsApart

from edgekit.catalog.in_use import let_go

pytest_plugins = ["sshd_fixture"]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Take the place of pytest-xdist's own ways to share tests out, where ``-n`` asks for it."""
    return BoardsApart(config, log)


@pytest.fixture(autouse=True)
def hold_no_cache():
    """Let each test's cache go with it, as a process does when it ends."""
    yield
    let_go()
