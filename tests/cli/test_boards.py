"""Virtual boards of one kind under names of their own, from the command line."""

import json
from pathlib import Path

import pytest

from edgekit.app.devices import locate, open_device
from edgekit.board.user_mode import RunningBoard
from edgekit.catalog.targets import load_target
from edgekit.cli.main import run
from edgekit.core.errors import UnreachableError
from edgekit.core.events import ignore


@pytest.fixture
def brought_up(monkeypatch):
    """What was asked to come up; nothing does."""
    asked = []

    def up(target, *, name=None, emit=ignore):
        asked.append((target.name, name))
        return RunningBoard(
            name or target.name,
            target.name,
            "127.0.0.1",
            1,
            "edge",
            Path("k"),
            Path("h"),
            1,
            Path(),
        )

    monkeypatch.setattr("edgekit.board.user_mode.up", up)
    return asked


@pytest.mark.parametrize(
    ("options", "name", "device"),
    [([], None, "virtual"), (["--name", "left"], "left", "virtual:left")],
)
def test_board_up_tells_by_which_name_the_board_is_a_device(
    options, name, device, brought_up, capsys
):
    assert run(["board", "up", "rk3566", *options]) == 0
    assert brought_up == [("rk3566", name)]
    assert f"--device {device}\n" in capsys.readouterr().out
    assert run(["board", "up", "rk3566", *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["name"] == (name or "rk3566")


@pytest.mark.parametrize(("device", "name"), [("virtual", None), ("virtual:left", "left")])
def test_virtual_device_brings_up_the_board_of_its_name(device, name, brought_up):
    located = locate(device, "rk3566")
    assert (located.name, located.board, located.address) == (device, name, None)
    with (
        pytest.raises(UnreachableError),  # nothing listens there
        open_device(located, load_target("rk3566"), emit=ignore),
    ):
        pass
    assert brought_up == [("rk3566", name)]


def test_device_behind_ssh_is_no_virtual_board():
    assert locate("me@rock:22", "rk3566").board is None
