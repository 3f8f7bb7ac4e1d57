"""Cards as the way of flashing that writes to disks: what is offered, refused and written."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.catalog.targets import load_target
from edgekit.core.errors import FlashError, UsageError
from edgekit.core.events import StepFinished, ignore
from edgekit.core.flash import Disk
from edgekit.core.flash_method import FlashJob, FlashUnit
from edgekit.flash.disks import disk_at
from edgekit.flash.methods.sdcard import METHOD

IMAGE_BYTES = 3 << 20
GB = 10**9


@pytest.fixture
def image(tmp_path):
    file = tmp_path / "image.img"
    file.write_bytes(random.Random(1).randbytes(IMAGE_BYTES))
    return file


@pytest.fixture
def card(tmp_path):
    file = tmp_path / "card"
    with file.open("wb") as opened:
        opened.truncate(4 << 20)
    return file


def job(image, **changes):
    return replace(FlashJob(target=load_target("rpi4"), image=image), **changes)


def unit_at(path):
    return FlashUnit("a card", str(path), disk=disk_at(path))


def test_only_removable_disks_that_nothing_uses_are_offered():
    disks = [
        Disk(Path("/dev/sda"), 500 * GB, model="system", system=True, mounts=("/",)),
        Disk(Path("/dev/sdb"), 32 * GB, model="card", serial="7", port="usb 1-1", removable=True),
        Disk(Path("/dev/sdc"), 32 * GB, removable=True, mounts=("/media/card",)),
        Disk(Path("/dev/sdd"), 32 * GB, removable=True, read_only=True),
        Disk(Path("/dev/sde"), 0, removable=True),
        Disk(Path("/dev/nvme0n1"), 500 * GB),
        Disk(Path("/dev/mmcblk0"), 16 * GB, removable=True),
    ]
    method = replace(METHOD, disks=lambda root: disks)
    units = method.units(load_target("rpi4"), Path("/"))
    assert [(unit.port, unit.serial) for unit in units] == [("usb 1-1", "7"), ("/dev/mmcblk0", "")]
    assert units[0].title == "/dev/sdb (card)"


def test_card_is_written_and_read_back(image, card):
    events = []
    flashed = METHOD.flash(unit_at(card), job(image), events.append)
    assert card.read_bytes()[:IMAGE_BYTES] == image.read_bytes()
    assert flashed.size_bytes == IMAGE_BYTES
    assert flashed.checked == "all"
    assert any(isinstance(event, StepFinished) for event in events)
    assert METHOD.flash(unit_at(card), job(image, verify=False), ignore).checked == "none"


def test_card_that_is_too_small_read_only_or_gone_is_refused(image, card):
    unit = unit_at(card)
    with card.open("wb") as file:
        file.truncate(IMAGE_BYTES - 512)
    with pytest.raises(FlashError, match="too small"):
        METHOD.flash(unit, job(image), ignore)
    assert not any(card.read_bytes())
    card.unlink()
    with pytest.raises(FlashError, match="there is no disk"):
        METHOD.flash(unit, job(image), ignore)
    with pytest.raises(UsageError, match="is no disk"):
        METHOD.flash(replace(unit, disk=None), job(image), ignore)


def test_disk_that_was_changed_since_it_was_found_is_refused(image, card, monkeypatch):
    found = Disk(Path("/dev/sdb"), 32 * GB, serial="one", removable=True)
    now = replace(found, serial="other")
    monkeypatch.setattr("edgekit.flash.write_unit.disk_at", lambda path: now)
    with pytest.raises(FlashError, match="not the disk that was found"):
        METHOD.flash(FlashUnit("a card", disk=found), job(image), ignore)


def test_system_disk_is_refused_even_if_it_is_handed_over(image, monkeypatch):
    system = Disk(Path("/dev/sda"), 500 * GB, system=True, mounts=("/",))
    monkeypatch.setattr("edgekit.flash.write_unit.disk_at", lambda path: system)
    with pytest.raises(FlashError, match="own system"):
        METHOD.flash(FlashUnit("a disk", disk=system), job(image, allow_system=True), ignore)


def test_end_that_somebody_asks_for_leaves_no_card_that_boots(image, card):
    with pytest.raises(FlashError, match="somebody asked for an end"):
        METHOD.flash(unit_at(card), job(image, stopped=lambda: True), ignore)
    assert not any(card.read_bytes()[:4096])
