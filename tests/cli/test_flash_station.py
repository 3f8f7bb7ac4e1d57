"""``edgekit flash --station`` as it is typed."""

import json
import lzma
import os
import signal
import sys
from dataclasses import replace

import pytest
from disk_images import device_tree, dos_image, ext4, fat, root_files
from root_trees import DEBIAN, PUBLIC_KEY

from edgekit.app import flash_image, station
from edgekit.catalog.devices import DeviceEntry, add_device, find_device
from edgekit.cli.main import run
from edgekit.flash.disks import disk_at

# A station waits for ever for a unit that does not come.
pytestmark = pytest.mark.timeout(120)
IMAGE_BYTES = 1 << 20


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "image.img").write_bytes(os.urandom(IMAGE_BYTES))
    file = tmp_path / "station.toml"
    file.write_text('target = "rpi4"\nimage = "image.img"\ncount = 1\ninspect = false\n')
    return file


class Reader:
    """Where cards are put in while the command runs: it counts how often the station looked."""

    def __init__(self, monkeypatch, root):
        self.cards = []
        self.at = {}
        self._looks = 0
        bench = station.Bench(root=root, disks=self._disks, pace=0.04)
        monkeypatch.setattr(station, "Bench", lambda: bench)

    def _disks(self, _root):
        self._looks += 1
        self.at.get(self._looks, lambda: None)()
        return list(self.cards)


# The first look is for what was there before. From then on there are two in each round, for what
# left and for what came, so that a card which is in at the second is begun after the third.
PUT_IN, BEGUN = 2, 4


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A card that is put in as soon as the station waits for it."""
    card = tmp_path / "card"
    with card.open("wb") as file:
        file.truncate(2 << 20)
    reader = Reader(monkeypatch, tmp_path)
    unit = replace(disk_at(card), port="usb 1-1", serial="a1")
    reader.at[PUT_IN] = lambda: reader.cards.append(unit)
    return reader, card


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def test_station_says_what_it_does_and_reports_each_unit(recipe, reader, tmp_path, capsys):
    _, card = reader
    assert run(["flash", "--station", str(recipe), "--yes"]) == 0
    said = capsys.readouterr()
    assert "sockets  any; disks of at most 256 GB" in said.err
    assert "unit-01  usb 1-1, serial a1: ok, 0.00 GB, read back and equal" in said.err
    assert "1 made, none failed" in said.out
    assert card.read_bytes()[:IMAGE_BYTES] == (tmp_path / "image.img").read_bytes()


def test_report_is_the_last_json_line(recipe, reader, capsys):
    assert run(["flash", "--station", str(recipe), "--yes", "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["ok"], report["made"], report["method"]) == (True, 1, "sdcard")
    assert report["units"][0]["serial"] == "a1"


def test_ctrl_c_ends_it_with_its_report(recipe, reader, capsys):
    recipe.write_text(recipe.read_text().replace("count = 1", "count = 0"))
    reader[0].at = {PUT_IN: press_ctrl_c}
    before = signal.getsignal(signal.SIGINT)
    assert run(["flash", "--station", str(recipe), "--yes"]) == 0
    assert signal.getsignal(signal.SIGINT) is before
    said = capsys.readouterr()
    assert "running units finish" in said.err
    assert "no unit came" in said.out


def test_ctrl_c_ends_it_while_the_image_is_unpacked(recipe, reader, tmp_path, monkeypatch, capsys):
    packed = tmp_path / "image.img.xz"
    packed.write_bytes(lzma.compress(bytes(IMAGE_BYTES)))
    recipe.write_text(recipe.read_text().replace("image.img", packed.name))
    unpack = flash_image.unpack

    def interrupted(source, place, *, emit):
        press_ctrl_c()
        unpack(source, place, emit=emit)

    monkeypatch.setattr(flash_image, "unpack", interrupted)
    before = signal.getsignal(signal.SIGINT)
    assert run(["flash", "--station", str(recipe), "--yes"]) == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert "running units" not in capsys.readouterr().err


def test_failed_unit_is_told_by_the_exit_status(recipe, reader, capsys, tmp_path):
    cards, card = reader
    recipe.write_text(recipe.read_text().replace("count = 1", "count = 0"))
    (tmp_path / "image.img").write_bytes(os.urandom(3 << 20))
    cards.at[BEGUN] = press_ctrl_c
    assert run(["flash", "--station", str(recipe), "--yes"]) == 3
    assert "0 made, 1 not: flash those anew" in capsys.readouterr().out
    assert not any(card.read_bytes())


def test_nothing_is_begun_without_a_yes(recipe, reader, capsys):
    assert run(["flash", "--station", str(recipe)]) == 2
    assert "nobody is there to be asked" in capsys.readouterr().err
    assert run(["flash", "some.img", "--station", str(recipe), "--yes"]) == 2
    assert "cannot be given IMAGE besides" in capsys.readouterr().err
    recipe.write_text('target = "rpi4"\nimagge = "a"\n')
    assert run(["flash", "--station", str(recipe), "--yes"]) == 2
    assert "station.toml:2: unknown key 'imagge'; did you mean 'image'?" in capsys.readouterr().err


def test_answer_other_than_yes_writes_nothing(recipe, reader, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.prompt", lambda *_, **__: "y")
    assert run(["flash", "--station", str(recipe)]) == 2
    assert "the answer was not yes" in capsys.readouterr().err


@pytest.mark.slow
def test_each_unit_is_set_up_as_itself_and_kept_in_the_inventory(
    tmp_path, monkeypatch, capsys, recipe
):
    root = ext4(tmp_path, {**root_files(), **DEBIAN, "sbin": "->usr/sbin"}, 32 << 20)
    tree = device_tree(("raspberrypi,4-model-b", "brcm,bcm2711"))
    boot = fat(tmp_path, {"bcm2711.dtb": tree})
    image = tmp_path / "image.img"
    image.write_bytes(dos_image((0x0C, boot), (0x83, root)))
    (tmp_path / "id.pub").write_text(f"{PUBLIC_KEY}\n")
    recipe.write_text(
        'target = "rpi4"\nimage = "image.img"\nname = "bench-{n:02}"\ncount = 2\n'
        '[setup]\nssh_keys = ["id.pub"]\n'
    )
    add_device(DeviceEntry(name="bench-01", address="10.0.0.9", target="rpi4"))
    reader = Reader(monkeypatch, tmp_path)

    def put_in():
        for number in (1, 2):
            card = tmp_path / f"card{number}"
            with card.open("wb") as file:
                file.truncate(image.stat().st_size)
            reader.cards.append(replace(disk_at(card), port=f"usb 1-{number}"))

    reader.at[PUT_IN] = put_in
    assert run(["flash", "--station", str(recipe), "--yes", "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert sorted(unit["name"] for unit in report["units"]) == ["bench-02", "bench-03"]
    for unit in report["units"]:
        card = tmp_path / f"card{unit['port'][-1]}"
        assert unit["done"][0] == "ext4"
        assert hostname_of(card).decode() == f"{unit['name']}\n"
        assert find_device(unit["name"]).address == f"{unit['name']}.local"
        assert unit["checked"] == "all"
    assert (tmp_path / "card1").read_bytes() != (tmp_path / "card2").read_bytes()


def hostname_of(card):
    from edgekit.flash.ext4 import Ext4
    from edgekit.flash.inspect import inspect
    from edgekit.flash.region import Region

    partition = inspect(card).partitions[-1]
    with card.open("rb") as file:
        region = Region(file.fileno(), partition.start_bytes, partition.size_bytes)
        return Ext4(region).read("/etc/hostname")
