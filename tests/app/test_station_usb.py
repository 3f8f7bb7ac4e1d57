"""A flashing station for boards on USB: Rockchip's program, played from its transcripts."""

import json
import shutil
import threading
import time
from pathlib import Path

import pytest
from station_looks import BOARD_AWAY_S, PACE, Looks
from transcript_player import play_as
from usb_tree import plug

from edgekit.app.station import Bench, Ending, run_station
from edgekit.app.station_recipe import StationRecipe
from edgekit.core.events import Note

TRANSCRIPTS = Path(__file__).parents[1] / "flash/transcripts"
PATIENCE_S = 30
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def station(tmp_path, monkeypatch):
    """Start one; it ends with the test."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PLAYED_CALLS", str(tmp_path / "calls"))
    (tmp_path / "image.img").write_bytes(bytes(1_000_000))
    (tmp_path / "loader.bin").write_bytes(b"LDR and so on")
    recipe = StationRecipe(
        target="rk3588",
        method="rockusb",
        image=str(tmp_path / "image.img"),
        name="rock-{n}",
        inspect=False,
        verify=False,
        options={"loader": str(tmp_path / "loader.bin")},
    )
    ending, events, reports, looks = Ending(), [], [], Looks()

    def run():
        bench = Bench(root=tmp_path / "root", disks=looks.disks, pace=PACE)
        reports.append(run_station(recipe, emit=events.append, ending=ending, bench=bench))

    thread = threading.Thread(target=run)

    def wait_for(text, count=1):
        until = time.monotonic() + PATIENCE_S
        while sum(text in e.text for e in events if isinstance(e, Note)) < count:
            assert time.monotonic() < until
            assert thread.is_alive()
            time.sleep(0.01)

    def end():
        ending.ask()
        thread.join(PATIENCE_S)
        return reports[0]

    thread.start()
    wait_for("waiting for units by rockusb")

    def unplug(device):
        shutil.rmtree(device)
        looks.until_missed(BOARD_AWAY_S)

    yield wait_for, unplug, end
    ending.ask()
    ending.ask()
    thread.join(PATIENCE_S)


def test_boards_in_one_socket_are_flashed_one_after_the_other(station, tmp_path):
    wait_for, unplug, end = station
    play_as(tmp_path / "bin/rkdeveloptool", TRANSCRIPTS / "rockusb")
    device = plug(tmp_path / "root", "1-3", "2207:350b", serial="first")
    wait_for(": ok")
    time.sleep(0.4)  # it stays, and is not flashed again
    unplug(device)
    plug(tmp_path / "root", "1-3", "2207:350b", serial="second")
    wait_for(": ok", 2)
    units = end().units
    assert [(unit.name, unit.serial, unit.checked) for unit in units] == [
        ("rock-1", "first", "none"),
        ("rock-2", "second", "none"),
    ]
    calls = [json.loads(line)[0] for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls == ["ld", "db", "td", "rfi", "wl", "rd"] * 2


def test_board_that_fails_is_let_be_until_it_was_unplugged(station, tmp_path):
    wait_for, unplug, end = station
    play_as(tmp_path / "bin/rkdeveloptool", TRANSCRIPTS / "rockusb-write-fails")
    device = plug(tmp_path / "root", "1-3", "2207:350b", serial="bad")
    wait_for(": failed")
    time.sleep(0.4)
    play_as(tmp_path / "bin/rkdeveloptool", TRANSCRIPTS / "rockusb")
    unplug(device)
    plug(tmp_path / "root", "1-3", "2207:350b", serial="bad")
    wait_for(": ok")
    failed, made = end().units
    assert (failed.name, failed.state) == ("rock-1", "failed")
    assert "it holds a part of the image" in failed.error
    assert (made.name, made.state) == ("rock-1", "ok")
