"""Compute modules: ``rpiboot`` played from transcripts, then a disk in the same socket."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from transcript_player import play_as
from usb_tree import plug

from edgekit.catalog.targets import load_target
from edgekit.core.errors import FlashError
from edgekit.core.events import StepFinished, ignore
from edgekit.core.flash_method import FlashJob
from edgekit.flash.disks import disk_at
from edgekit.flash.methods import rpiboot

TRANSCRIPTS = Path(__file__).parent / "transcripts"
PORT = "1-1.4"
IMAGE_BYTES = 2 << 20


class Bench:
    """A module in a socket, its storage, and the program in PATH."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.root = folder / "root"
        self.device = plug(self.root, PORT, "0a5c:2712", serial="10000000abcd")
        self.storage = folder / "storage"
        with self.storage.with_suffix(".waiting").open("wb") as file:
            file.truncate(4 << 20)
        self.others = []
        self.calls = folder / "calls"
        monkeypatch.setenv("PLAYED_UNIT", str(self.device))
        monkeypatch.setenv("PLAYED_DISK", str(self.storage.with_suffix(".waiting")))
        monkeypatch.setenv("PLAYED_CALLS", str(self.calls))
        monkeypatch.setenv("PATH", str(folder / "bin"))
        self.image = folder / "image.img"
        self.image.write_bytes(random.Random(2).randbytes(IMAGE_BYTES))

    def disks(self, _root):
        own = [self.storage] if self.storage.exists() else []
        modelled = [
            replace(disk_at(path), port=f"usb {PORT}", model=f"mmcblk0 {path.name}")
            for path in own + self.others
        ]
        elsewhere = replace(disk_at(self.image), port="usb 1-1.3")
        return [elsewhere, *modelled]

    def flash(self, transcript, emit=ignore, **options):
        play_as(self.folder / "bin/rpiboot", TRANSCRIPTS / f"{transcript}.txt")
        method = replace(rpiboot.METHOD, disks=self.disks)
        job = FlashJob(
            target=load_target("rpi5"), image=self.image, root=self.root, options=options
        )
        (unit,) = method.units(job.target, job.root)
        return method.flash(unit, job, emit)

    def called(self):
        return [json.loads(line) for line in self.calls.read_text().splitlines()]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(rpiboot, "_SETTLED_S", 0.3)
    return Bench(tmp_path, monkeypatch)


def test_module_becomes_a_disk_which_is_written(bench):
    gadget = bench.root / "usr/share/rpiboot/mass-storage-gadget64"
    gadget.mkdir(parents=True)
    events = []
    flashed = bench.flash("rpiboot-cm5", events.append)
    assert bench.called() == [["-d", str(gadget), "-p", PORT]]
    assert bench.storage.read_bytes()[:IMAGE_BYTES] == bench.image.read_bytes()
    assert flashed.unit.port == f"usb {PORT}"
    assert (flashed.method, flashed.checked) == ("rpiboot", "all")
    assert events[1] == StepFinished(f"rpiboot:usb {PORT}")


def test_folder_of_the_user_is_sent_instead(bench, tmp_path):
    bench.flash("rpiboot-cm5", folder=str(tmp_path / "gadget"))
    assert bench.called() == [["-d", str(tmp_path / "gadget"), "-p", PORT]]


@pytest.mark.parametrize(
    ("transcript", "words"),
    [
        ("rpiboot-denied", "the module may not be opened"),
        ("rpiboot-pulled", "the module was lost on USB"),
        ("rpiboot-old", "does not know how to be told a socket"),
        ("rpiboot-no-disk", "no disk came in"),
        ("rpiboot-waits", "said nothing for"),
    ],
)
def test_fault_is_told_and_nothing_is_written(bench, monkeypatch, transcript, words):
    monkeypatch.setattr(rpiboot, "_SILENCE_S", 0.6)
    monkeypatch.setattr(rpiboot, "_DISK_S", 0.6)
    events = []
    with pytest.raises(FlashError, match=words) as caught:
        bench.flash(transcript, events.append)
    assert caught.value.hint
    assert events[-1] == StepFinished(f"rpiboot:usb {PORT}", ok=False)
    assert not bench.storage.exists()


def test_program_that_knows_no_sockets_is_called_without_one_where_no_other_module_waits(bench):
    with pytest.raises(FlashError):
        bench.flash("rpiboot-old")
    assert bench.called() == [["-p", PORT], []]
    plug(bench.root, "1-2", "0a5c:2711")
    bench.calls.unlink()
    with pytest.raises(FlashError):
        bench.flash("rpiboot-old")
    assert bench.called() == [["-p", PORT]]


def test_module_with_several_storages_needs_a_word_which(bench, tmp_path):
    other = tmp_path / "nvme0n1"
    with other.open("wb") as file:
        file.truncate(8 << 20)
    bench.others = [other]
    with pytest.raises(FlashError, match="2 storages of the module"):
        bench.flash("rpiboot-cm5")
    plug(bench.root, PORT, "0a5c:2712")
    bench.storage.rename(bench.storage.with_suffix(".waiting"))
    bench.flash("rpiboot-cm5", storage="nvme0n1")
    assert other.read_bytes()[:IMAGE_BYTES] == bench.image.read_bytes()
    assert not any(bench.storage.read_bytes())


def test_program_that_is_missing_is_named_with_its_install_command(bench, tmp_path):
    method = replace(rpiboot.METHOD, disks=bench.disks)
    job = FlashJob(target=load_target("rpi5"), image=bench.image, root=bench.root)
    (unit,) = method.units(job.target, job.root)
    with pytest.raises(FlashError, match="rpiboot is not installed") as caught:
        method.flash(unit, job, ignore)
    assert "apt-get install rpiboot" in caught.value.hint
