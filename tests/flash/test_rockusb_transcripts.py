"""What Rockchip's program printed, played where the program itself is not at hand."""

import json
from pathlib import Path

import pytest
from transcript_player import play_as
from usb_tree import plug

from edgekit.catalog.targets import load_target
from edgekit.core.errors import FlashError
from edgekit.core.events import StepProgress, ignore
from edgekit.core.flash_method import FlashJob
from edgekit.flash.methods import load_method

TRANSCRIPTS = Path(__file__).parent / "transcripts"


@pytest.fixture
def job(tmp_path):
    plug(tmp_path / "root", "3-2", "2207:350b")
    image, loader = tmp_path / "image.img", tmp_path / "loader.bin"
    image.write_bytes(bytes(1_000_000))
    loader.write_bytes(b"LDR and so on")
    return FlashJob(
        target=load_target("rk3588"),
        image=image,
        verify=False,
        root=tmp_path / "root",
        options={"loader": str(loader)},
    )


def flash(job, tmp_path, monkeypatch, transcript, emit=ignore):
    play_as(tmp_path / "bin/rkdeveloptool", TRANSCRIPTS / transcript)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PLAYED_CALLS", str(tmp_path / "calls"))
    method = load_method("rockusb")
    (unit,) = method.units(job.target, job.root)
    return method.flash(unit, job, emit)


def calls(tmp_path):
    return [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]


def test_commands_come_in_order_and_percents_become_progress(job, tmp_path, monkeypatch):
    events = []
    flashed = flash(job, tmp_path, monkeypatch, "rockusb", events.append)
    assert flashed.checked == "none"
    assert flashed.sha256 == ""
    told = calls(tmp_path)
    assert [arguments[0] for arguments in told] == ["ld", "db", "td", "rfi", "wl", "rd"]
    assert told[4][1:] == ["0", str(job.image)]
    moved = [e.done for e in events if isinstance(e, StepProgress)]
    assert moved == sorted(set(moved))
    assert moved[-1] == 1_000_000
    assert len(moved) > 10


@pytest.mark.parametrize(
    ("transcript", "last", "words"),
    [
        ("rockusb-write-fails", "wl", "it holds a part of the image"),
        ("rockusb-none", "ld", "2207:350b waits there, and rkdeveloptool lists none"),
        ("rockusb-bad-loader", "db", "the file is no loader that rkdeveloptool knows"),
    ],
)
def test_fault_ends_it_there(job, tmp_path, monkeypatch, transcript, last, words):
    with pytest.raises(FlashError, match=words):
        flash(job, tmp_path, monkeypatch, transcript)
    assert calls(tmp_path)[-1][0] == last
