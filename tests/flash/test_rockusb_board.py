"""Rockchip's own program, run against a board that ``rockusb_board.c`` plays."""

import hashlib
import random
import threading
from dataclasses import replace

import pytest
from rockusb_bench import RockusbBench, loader_file

from edgekit.catalog.targets import load_target
from edgekit.core.errors import FlashError, UsageError
from edgekit.core.events import StepFinished, StepProgress, ignore
from edgekit.core.flash_method import FlashJob
from edgekit.flash.methods import load_method

pytestmark = pytest.mark.slow  # the program itself rests for a second after each loader

IMAGE_BYTES = 3_000_000 + 100  # no whole number of sectors
STORAGE_BYTES = 8 << 20


@pytest.fixture
def bench(tmp_path, monkeypatch):
    return RockusbBench(tmp_path, monkeypatch, STORAGE_BYTES)


@pytest.fixture
def image(tmp_path):
    file = tmp_path / "an image.img"
    file.write_bytes(random.Random(6).randbytes(IMAGE_BYTES))
    return file


@pytest.fixture
def job(tmp_path, bench, image):
    loader = loader_file(tmp_path / "rk3588_spl_loader_v1.15.113.bin")
    return FlashJob(
        target=load_target("rk3588"),
        image=image,
        root=bench.root,
        options={"loader": str(loader)},
    )


def flash(job, emit=ignore):
    method = load_method("rockusb")
    (unit,) = method.units(job.target, job.root)
    return method.flash(unit, job, emit)


def test_board_in_mask_rom_gets_loader_image_and_restart(bench, job, image):
    events = []
    flashed = flash(job, events.append)
    assert bench.storage.read_bytes()[:IMAGE_BYTES] == image.read_bytes()
    assert flashed.sha256 == hashlib.sha256(image.read_bytes()).hexdigest()
    assert (flashed.checked, flashed.size_bytes) == ("all", IMAGE_BYTES)
    assert (flashed.unit.port, flashed.unit.state) == ("usb 1-1", "maskrom")
    assert bench.was("loaded")
    assert bench.was("restarted")
    percents = [e.done * 100 // e.total for e in events if isinstance(e, StepProgress)]
    written = percents[: percents.index(100) + 1]
    assert len(written) > 20
    assert written == sorted(set(written))
    ended = [e.step for e in events if isinstance(e, StepFinished) and e.ok]
    assert ended == ["loader:usb 1-1", "write:usb 1-1", "verify:usb 1-1"]


def test_board_in_its_loader_needs_none(bench, job, monkeypatch):
    bench.unplug()
    bench.plug(release=" 2.01")
    monkeypatch.setenv("ROCKUSB_LOADER", "1")
    assert flash(replace(job, options={})).unit.state == "loader"
    assert not bench.was("loaded")
    assert bench.was("restarted")


def test_mask_rom_without_a_loader_is_refused_before_anything_is_sent(bench, job, tmp_path):
    with pytest.raises(UsageError, match="needs a loader") as caught:
        flash(replace(job, options={}))
    assert "rkbin" in caught.value.hint
    idle = tmp_path / "rk3588_usbplug.bin"
    idle.write_bytes(b"\x82\0\0\x14\0\0\0\0RSAK")
    with pytest.raises(UsageError, match="not with BOOT or LDR"):
        flash(replace(job, options={"loader": str(idle)}))
    with pytest.raises(UsageError, match="check is 'some'"):
        flash(replace(job, options={**job.options, "check": "some"}))
    assert not bench.was("loaded")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"ROCKUSB_WRITE_FAILS_AT": "3000"}, "it holds a part of the image"),
        ({"ROCKUSB_READ_FAILS_AT": "3000"}, "the board stopped giving data"),
        ({"ROCKUSB_VANISHES_AT": "3000"}, "it holds a part of the image|was unplugged"),
        ({"ROCKUSB_REFUSES_LOADER": "1"}, "the board did not take the loader"),
        ({"ROCKUSB_CLOSED": "1"}, "the device cannot be opened"),
        ({"ROCKUSB_FLIPS_AT": "3000"}, "differs from the image at byte"),
        ({"ROCKUSB_PRODUCT": "0x350a"}, "2207:350b waits there, and rkdeveloptool lists 2207:350a"),
        ({"ROCKUSB_BOARDS": "2"}, "rkdeveloptool lists 2207:350b .*, 2207:350b"),
    ],
)
def test_every_fault_is_told_in_words_and_none_restarts_the_board(
    bench, job, monkeypatch, fault, words
):
    for name, value in fault.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(FlashError, match=words) as caught:
        flash(job)
    assert caught.value.hint
    assert not bench.was("restarted")


def test_flipped_bit_is_found_where_it_is(bench, job, image, monkeypatch):
    places = random.Random(7).sample(range(IMAGE_BYTES // 512), 3)
    for sector in places:
        monkeypatch.setenv("ROCKUSB_FLIPS_AT", str(sector))
        with pytest.raises(FlashError, match="differs from the image at byte") as caught:
            flash(job)
        # The board flips in the first sector of the transfer that holds this one.
        assert f"byte {sector // 128 * 65536 + 7}" in caught.value.message


def test_image_larger_than_the_storage_is_refused(bench, job):
    with bench.storage.open("wb") as file:
        file.truncate(2 << 20)
    with pytest.raises(FlashError, match=f"{IMAGE_BYTES} bytes and the board's storage {2 << 20}"):
        flash(job)
    assert bench.storage.read_bytes() == bytes(2 << 20)


def test_two_boards_are_not_confused(bench, job):
    bench.plug("1-2.4")
    method = load_method("rockusb")
    units = method.units(job.target, job.root)
    assert [unit.port for unit in units] == ["usb 1-1", "usb 1-2.4"]
    with pytest.raises(FlashError, match=r"2 Rockchip boards wait \(usb 1-1, usb 1-2.4\)"):
        method.flash(units[0], job, ignore)
    assert not bench.was("loaded")


def test_board_pulled_in_mid_write_ends_the_program(bench, job, monkeypatch):
    monkeypatch.setenv("ROCKUSB_HANGS_AT", "3000")

    def pull(event):
        if isinstance(event, StepProgress) and event.step.startswith("write"):
            threading.Timer(0.2, bench.unplug).start()
            pulled.append(event)

    pulled = []
    with pytest.raises(FlashError, match="the board was unplugged"):
        flash(job, lambda event: pulled or pull(event))
    assert pulled


def test_end_that_somebody_asks_for_stops_the_program(bench, job, monkeypatch):
    monkeypatch.setenv("ROCKUSB_HANGS_AT", "3000")
    asked = threading.Event()

    def ask(event):
        if isinstance(event, StepProgress):
            asked.set()

    with pytest.raises(FlashError, match="somebody asked for an end"):
        flash(replace(job, stopped=asked.is_set), ask)


def test_sample_reads_less_and_still_finds_a_bad_beginning(bench, job, monkeypatch):
    sampled = replace(job, options={**job.options, "check": "sample"})
    assert flash(sampled).checked == "sample"
    assert flash(sampled).sha256 == ""
    assert flash(replace(job, verify=False)).checked == "none"
    monkeypatch.setenv("ROCKUSB_FLIPS_AT", "0")
    with pytest.raises(FlashError, match="differs from the image at byte 7"):
        flash(sampled)
    assert flash(replace(job, verify=False)).checked == "none"


def test_program_that_is_missing_is_named_with_its_install_command(bench, job, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FlashError, match="rkdeveloptool is not installed") as caught:
        flash(job)
    assert caught.value.hint == "sudo apt-get install rkdeveloptool"
