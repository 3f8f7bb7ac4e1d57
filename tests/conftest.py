"""Which tests may run side by side, where ``make test`` runs two processes of them."""

import pytest

pytest_plugins = ["sshd_fixture"]


def pytest_collection_modifyitems(items):
    """Keep tests of virtual boards apart, which share the boards, and a file's tests together."""
    for item in items:
        board = item.get_closest_marker("board")
        item.add_marker(pytest.mark.xdist_group("board" if board else str(item.path)))
