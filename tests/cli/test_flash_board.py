"""``edgekit flash --method``: one board that waits over USB, Rockchip's program played."""

import hashlib
import json
from pathlib import Path

import pytest
from flash_disks import block_map
from transcript_player import play_as
from usb_tree import plug

from edgekit.app.flash_board import BoardOptions, flash_board, plan_board
from edgekit.cli.main import run
from edgekit.core.errors import FlashError, UsageError

TRANSCRIPTS = Path(__file__).parents[1] / "flash/transcripts"
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def options(tmp_path, monkeypatch):
    """What is put onto a board in mask ROM whose program is played."""
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PLAYED_CALLS", str(tmp_path / "calls"))
    play_as(tmp_path / "bin/rkdeveloptool", TRANSCRIPTS / "rockusb")
    (tmp_path / "image.img").write_bytes(bytes(1_000_000))
    (tmp_path / "loader.bin").write_bytes(b"LDR and so on")

    def make(**changed):
        given = {
            "method": "rockusb",
            "target": "rk3588",
            "image": str(tmp_path / "image.img"),
            "inspect": False,
            "verify": False,
            "options": {"loader": str(tmp_path / "loader.bin")},
            "root": tmp_path / "root",
        }
        return BoardOptions(**{**given, **changed})

    return make


def test_board_that_waits_is_flashed(options, tmp_path):
    plug(tmp_path / "root", "1-3", "2207:350b", serial="abc")
    plan = plan_board(options())
    assert (plan.unit.port, plan.unit.serial) == ("usb 1-3", "abc")
    flashed = flash_board(plan)
    assert flashed.unit.flashed.size_bytes == 1_000_000
    calls = [json.loads(line)[0] for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls == ["ld", "db", "td", "rfi", "wl", "rd"]
    assert json.loads(json.dumps(flashed.as_json()))["unit"]["port"] == "usb 1-3"


def test_image_that_does_not_fit_never_reaches_the_board(options, tmp_path):
    plug(tmp_path / "root", "1-3", "2207:350b", serial="abc")
    with pytest.raises(FlashError, match="not recognised"):
        flash_board(plan_board(options(inspect=True)))
    assert not (tmp_path / "calls").exists()


def test_plain_image_that_is_not_the_promised_one_never_reaches_the_board(options, tmp_path):
    plug(tmp_path / "root", "1-3", "2207:350b", serial="abc")
    with pytest.raises(FlashError, match="is not what was promised"):
        flash_board(plan_board(options(sha256="0" * 64)))
    with pytest.raises(UsageError, match="'abc' is no SHA-256"):
        flash_board(plan_board(options(sha256="abc")))
    assert not (tmp_path / "calls").exists()
    digest = hashlib.sha256((tmp_path / "image.img").read_bytes()).hexdigest()
    assert flash_board(plan_board(options(sha256=digest.upper()))).unit.flashed.size_bytes


def test_plain_image_that_is_not_its_block_maps_never_reaches_the_board(options, tmp_path):
    plug(tmp_path / "root", "1-3", "2207:350b", serial="abc")
    image, mapped = tmp_path / "image.img", tmp_path / "its.bmap"
    content = bytes(4096) + b"system" * 10_000 + bytes(40_000)
    image.write_bytes(content)
    mapped.write_bytes(block_map(content.replace(b"s", b"S")))
    with pytest.raises(FlashError, match="block map"):
        flash_board(plan_board(options(block_map=str(mapped))))
    assert not (tmp_path / "calls").exists()
    mapped.write_bytes(block_map(content))
    assert flash_board(plan_board(options(block_map=str(mapped)))).unit.flashed.size_bytes


def test_several_boards_are_told_apart_by_their_port(options, tmp_path):
    plug(tmp_path / "root", "1-3", "2207:350b", serial="abc")
    plug(tmp_path / "root", "1-4.2", "2207:350b", serial="def")
    with pytest.raises(FlashError, match=r"2 boards wait: 1-3 \(.*1-4\.2 \(") as caught:
        plan_board(options())
    assert "--port" in caught.value.hint
    assert plan_board(options(port="1-4.2")).unit.serial == "def"
    with pytest.raises(FlashError, match="no rk3588 waits for an image by rockusb at 1-9"):
        plan_board(options(port="1-9"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "no rk3588 waits"),
        ({"method": "sdcard"}, "named by its disk"),
        ({"method": "jetson"}, "rk3588 is not flashed by jetson"),
        ({"image": None}, "writes an image, and none is named"),
        ({"options": {"loadr": "x"}}, "no option 'loadr'"),
        ({"options": {"loader": "/nowhere/loader.bin"}}, "there is no /nowhere/loader.bin"),
        ({"target": "jetson-orin-nano", "method": "jetson"}, "brings its own system"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, changed, said):
    with pytest.raises((UsageError, FlashError), match=said) as caught:
        plan_board(options(**changed))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--port", "1-3"), "for a board that waits"),
        (("--method", "rockusb"), "--target says which board"),
        (("--method", "rockusb", "-t", "rk3588", "--option", "loader"), "is not KEY=VALUE"),
        (("--method", "rockusb", "-t", "rk3588", "--to", "/dev/sdX"), "named by its --port"),
        (("--method", "rockub", "-t", "rk3588"), "rockusb"),
    ],
)
def test_command_that_cannot_be_meant_is_refused(words, said, capsys):
    assert run(["flash", "image.img", *words]) == 2
    assert said in capsys.readouterr().err
