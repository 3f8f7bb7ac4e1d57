"""Virtual boards of one kind under names of their own, from the command line."""

import json
import os
from pathlib import Path

import pytest

from edgekit.app.devices import locate, open_device
from edgekit.board.instances import board_folder
from edgekit.board.process import ProcessMark, mark_process
from edgekit.board.state import BoardState, write_state
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


@pytest.fixture
def left_is_up(tmp_path, monkeypatch):
    """Have it written down that a board ``left`` is up; its process is this one."""
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = board_folder("left")
    folder.mkdir(parents=True)
    mark = mark_process(os.getpid())
    write_state(folder, BoardState("left", "rk3566", 20022, "f" * 64, mark))
    return folder


@pytest.mark.usefixtures("left_is_up")
@pytest.mark.parametrize(
    "asked",
    [
        ["status", "--device"],
        ["rollback", "--device"],
        ["deploy", "shapes", "--device"],
        ["race", "shapes", "--device"],
        ["bench", "--device"],
        ["bench", "shapes", "--device"],
        ["layers", "shapes", "--device"],
        ["diff", "shapes", "-e", "onnxruntime", "--device"],
        ["camera", "list", "--device"],
        ["camera", "profile", "--source", "drawn", "--device"],
        ["camera", "watch", "shapes", "--no-browser", "--device"],
        ["devices", "probe"],
    ],
)
def test_board_that_is_up_needs_no_target(asked, brought_up):
    assert run([*asked, "virtual:left"]) == 3  # nothing listens there
    assert set(brought_up) == {("rk3566", "left")}


def test_target_that_is_given_stands_whatever_is_up(left_is_up, monkeypatch):
    assert locate("virtual:left", None).target == "rk3566"
    assert locate("virtual:left", "rpi4").target == "rpi4"
    assert locate("virtual:right", None).target is None
    gone = BoardState("left", "rk3566", 20022, "f" * 64, ProcessMark(os.getpid(), 1, "a boot"))
    write_state(left_is_up, gone)
    assert locate("virtual:left", None).target is None
    monkeypatch.setenv("EDGEKIT_TARGET", "rpi4")
    assert locate("virtual:right", None).target == "rpi4"


def test_board_that_is_up_as_another_is_refused(left_is_up, capsys):
    assert left_is_up.is_dir()
    assert run(["status", "--device", "virtual:left", "--target", "rpi4"]) == 2
    assert "virtual board left is up as a rk3566" in capsys.readouterr().err


def test_device_behind_ssh_is_no_virtual_board():
    assert locate("me@rock:22", "rk3566").board is None


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("virtual:nobody", "no virtual board nobody is up"),
        ("virtual", "no target was given for virtual"),
    ],
)
def test_virtual_board_of_no_known_target_is_refused(
    own_home, monkeypatch, tmp_path, capsys, device, words
):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path))
    assert run(["status", "--device", device]) == 2
    said = capsys.readouterr().err
    assert f"error: {words}\nhint: --target NAME has one made" in said


@pytest.mark.parametrize(("options", "left"), [([], True), (["--wipe"], False)])
def test_files_of_a_board_that_is_down_stay_unless_it_is_wiped(
    options, left, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    folder = board_folder("left")
    (folder / "upper").mkdir(parents=True)
    (folder / "kind").write_text("system")  # whose files are the user's own
    assert run(["board", "down", "left", *options]) == 0
    told = capsys.readouterr().out
    assert ("its files are gone" in told) is not left
    assert (folder / "upper").is_dir() is left
    assert run(["board", "down", "left", *options]) == (0 if left else 2)
