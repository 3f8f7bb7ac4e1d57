"""``edgekit flash --station`` as it is typed."""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import replace

import pytest
from disk_images import device_tree, dos_image, ext4, fat, root_files
from root_trees import DEBIAN, PUBLIC_KEY

from edgekit.app import station
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


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """Cards that are put in while the command runs."""
    card = tmp_path / "card"
    with card.open("wb") as file:
        file.truncate(2 << 20)
    cards = []
    monkeypatch.setattr(
        station, "Bench", lambda: real(root=tmp_path, disks=lambda _root: list(cards), pace=0.04)
    )
    unit = replace(disk_at(card), port="usb 1-1", serial="a1")
    return card, lambda: cards.append(unit)


real = station.Bench


def later(seconds, what):
    threading.Timer(seconds, what).start()


def test_station_says_what_it_does_and_reports_each_unit(recipe, reader, tmp_path, capsys):
    card, put_in = reader
    later(0.5, put_in)
    assert run(["flash", "--station", str(recipe), "--yes"]) == 0
    said = capsys.readouterr()
    assert "sockets  any; disks of at most 256 GB" in said.err
    assert "unit-01  usb 1-1, serial a1: ok, 0.00 GB, read back and equal" in said.err
    assert "1 made, none failed" in said.out
    assert card.read_bytes()[:IMAGE_BYTES] == (tmp_path / "image.img").read_bytes()


def test_report_is_the_last_json_line(recipe, reader, capsys):
    _, put_in = reader
    later(0.5, put_in)
    assert run(["flash", "--station", str(recipe), "--yes", "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["ok"], report["made"], report["method"]) == (True, 1, "sdcard")
    assert report["units"][0]["serial"] == "a1"


def test_ctrl_c_ends_it_with_its_report(recipe, reader, capsys):
    recipe.write_text(recipe.read_text().replace("count = 1", "count = 0"))
    main = os.getpid()
    later(1.0, lambda: os.kill(main, signal.SIGINT))
    before = signal.getsignal(signal.SIGINT)
    began = time.monotonic()
    assert run(["flash", "--station", str(recipe), "--yes"]) == 0
    assert time.monotonic() - began < 30
    assert signal.getsignal(signal.SIGINT) is before
    said = capsys.readouterr()
    assert "running units finish" in said.err
    assert "no unit came" in said.out


def test_failed_unit_is_told_by_the_exit_status(recipe, reader, capsys, tmp_path):
    card, put_in = reader
    recipe.write_text(recipe.read_text().replace("count = 1", "count = 0"))
    (tmp_path / "image.img").write_bytes(os.urandom(3 << 20))
    later(0.3, put_in)
    later(1.5, lambda: os.kill(os.getpid(), signal.SIGINT))
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
    cards = []

    def put_in():
        for number in (1, 2):
            card = tmp_path / f"card{number}"
            with card.open("wb") as file:
                file.truncate(image.stat().st_size)
            cards.append(replace(disk_at(card), port=f"usb 1-{number}"))

    monkeypatch.setattr(
        station, "Bench", lambda: real(root=tmp_path, disks=lambda _root: list(cards), pace=0.04)
    )
    later(0.5, put_in)
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
