"""A flashing station, with plain files for the cards that come and go."""

import random
import threading
import time
from dataclasses import replace

import pytest
from root_trees import PUBLIC_KEY
from station_looks import CARD_AWAY_S, PACE, Looks

from edgekit.app.station import Bench, Ending, run_station
from edgekit.app.station_recipe import StationRecipe, StationSetup
from edgekit.core.errors import EdgekitError
from edgekit.core.events import Note, StepFinished, StepStarted
from edgekit.core.flash import Disk
from edgekit.flash.disks import disk_at

IMAGE_BYTES = 1 << 20
PATIENCE_S = 30


class Reader(Looks):
    """Sockets with cards in them; a card is a file."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.cards = {}
        self.extra = []

    def put(self, socket, serial, size=2 << 20):
        file = self.folder / f"{socket}-{serial}".replace(" ", "_")
        if not file.exists():
            with file.open("wb") as opened:
                opened.truncate(size)
        self.cards[socket] = replace(disk_at(file), port=socket, serial=serial)
        return file

    def take(self, socket):
        del self.cards[socket]
        self.until_missed(CARD_AWAY_S)

    def mount(self, socket):
        self.cards[socket] = replace(self.cards[socket], mounts=("/media/card",))

    def disks(self, root):
        return [*super().disks(root), *self.extra, *self.cards.values()]


class Run:
    """A station in a thread of its own."""

    def __init__(self, recipe, reader):
        self.events = []
        self.ending = Ending()
        self.report = None
        self.error = None
        self._thread = threading.Thread(target=self._run, args=(recipe, reader))
        self._thread.start()

    def _run(self, recipe, reader):
        bench = Bench(root=reader.folder / "root", disks=reader.disks, pace=PACE)
        try:
            self.report = run_station(
                recipe, emit=self.events.append, ending=self.ending, bench=bench
            )
        except EdgekitError as error:
            self.error = error

    def notes(self):
        return [event.text for event in self.events if isinstance(event, Note)]

    def wait_for(self, text, count=1):
        until = time.monotonic() + PATIENCE_S
        while sum(text in note for note in self.notes()) < count:
            assert time.monotonic() < until, self.notes()
            assert self._thread.is_alive(), (self.notes(), self.error)
            time.sleep(0.01)

    def end(self):
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.report


@pytest.fixture
def image(tmp_path):
    file = tmp_path / "image.img"
    file.write_bytes(random.Random(3).randbytes(IMAGE_BYTES))
    return file


@pytest.fixture
def reader(tmp_path):
    return Reader(tmp_path)


@pytest.fixture
def recipe(image):
    return StationRecipe(target="rpi4", image=str(image), name="bench-{n:02}", inspect=False)


@pytest.fixture
def start(reader):
    runs = []

    def begin(recipe):
        runs.append(Run(recipe, reader))
        runs[-1].wait_for("waiting for units by sdcard")
        return runs[-1]

    yield begin
    for run in runs:
        run.ending.ask()
        run.ending.ask()
        run.end()


def holds(card, image):
    return card.read_bytes()[:IMAGE_BYTES] == image.read_bytes()


def test_cards_are_flashed_as_they_come_until_there_are_enough(start, recipe, reader, image):
    run = start(replace(recipe, count=3))
    first = reader.put("usb 1-1", "a1")
    second = reader.put("usb 1-2", "b2")
    run.wait_for(": ok", 2)
    reader.take("usb 1-1")
    third = reader.put("usb 1-1", "c3")
    report = run.end()
    assert all(holds(card, image) for card in (first, second, third))
    assert report.ok
    assert report.made == 3
    assert sorted(unit.name for unit in report.units) == ["bench-01", "bench-02", "bench-03"]
    assert {(unit.port, unit.serial) for unit in report.units} == {
        ("usb 1-1", "a1"),
        ("usb 1-2", "b2"),
        ("usb 1-1", "c3"),
    }
    told = report.as_json()
    assert told["made"] == 3
    assert {unit["checked"] for unit in told["units"]} == {"all"}
    assert {unit["size_bytes"] for unit in told["units"]} == {IMAGE_BYTES}
    begun = {event.step for event in run.events if isinstance(event, StepStarted)}
    ended = {event.step for event in run.events if isinstance(event, StepFinished)}
    assert begun == ended
    assert all(step.startswith("bench-0") for step in begun)


def test_card_that_stays_is_not_flashed_twice_even_when_it_is_mounted(start, recipe, reader):
    run = start(recipe)
    card = reader.put("usb 1-1", "a1")
    run.wait_for(": ok")
    card.write_bytes(bytes(2 << 20))
    reader.mount("usb 1-1")
    time.sleep(0.4)
    reader.put("usb 1-1", "a1")  # and is let go again
    time.sleep(0.4)
    run.ending.ask()
    assert run.end().made == 1
    assert not any(card.read_bytes())


def test_card_that_was_taken_out_and_put_in_again_is_flashed_again(start, recipe, reader, image):
    run = start(replace(recipe, count=2))
    card = reader.put("usb 1-1", "a1")
    run.wait_for(": ok")
    reader.take("usb 1-1")
    card.write_bytes(bytes(2 << 20))
    reader.put("usb 1-1", "a1")
    assert [unit.name for unit in run.end().units] == ["bench-01", "bench-02"]
    assert holds(card, image)


def test_card_that_was_there_before_is_left_alone(start, recipe, reader):
    card = reader.put("usb 1-1", "mine")
    run = start(recipe)
    assert "usb 1-1: left alone, it was there before" in run.notes()[0]
    other = reader.put("usb 1-2", "b2")
    run.wait_for(": ok")
    run.ending.ask()
    assert [unit.serial for unit in run.end().units] == ["b2"]
    assert not any(card.read_bytes())
    assert any(other.read_bytes())


def test_unit_that_fails_does_not_stop_the_others_and_gives_its_number_back(
    start, recipe, reader, image
):
    run = start(replace(recipe, count=1))
    reader.put("usb 1-1", "small", size=IMAGE_BYTES - 512)
    run.wait_for(": failed")
    good = reader.put("usb 1-2", "good")
    report = run.end()
    assert holds(good, image)
    assert not report.ok
    failed, made = report.units
    assert (failed.state, failed.name, failed.serial) == ("failed", "bench-01", "small")
    assert "too small" in failed.error
    assert failed.hint
    assert (made.state, made.name) == ("ok", "bench-01")
    assert "bench-01  usb 1-1, serial small: failed: " in run.notes()[1]


def test_only_the_stations_own_sockets_and_cards_of_a_size_are_served(start, recipe, reader):
    run = start(replace(recipe, ports=("usb 1-2",), largest_gb=0.003))
    other = reader.put("usb 1-1", "a1")
    large = reader.put("usb 1-2", "large", size=4 << 20)
    time.sleep(0.4)
    reader.take("usb 1-2")
    reader.put("usb 1-2", "b2")
    run.wait_for(": ok")
    run.ending.ask()
    assert [unit.serial for unit in run.end().units] == ["b2"]
    assert not any(other.read_bytes())
    assert not any(large.read_bytes())


def test_system_disks_and_disks_in_use_are_never_touched(start, recipe, reader, tmp_path):
    kept = tmp_path / "kept"
    kept.write_bytes(bytes(2 << 20))
    run = start(recipe)
    told = {"path": kept, "size_bytes": 2 << 20, "is_file": True, "removable": True}
    reader.extra = [
        Disk(**told, port="usb 1-7", system=True, mounts=("/",)),
        Disk(**told, port="usb 1-8", mounts=("/media/data",)),
        Disk(**{**told, "removable": False}, port="pci 0000:00:17.0"),
        Disk(**told, port="usb 1-9", read_only=True),
    ]
    reader.put("usb 1-1", "a1")
    run.wait_for(": ok")
    run.ending.ask()
    assert [unit.port for unit in run.end().units] == ["usb 1-1"]
    assert not any(kept.read_bytes())


def test_first_end_lets_running_units_finish_and_begins_no_other(
    start, recipe, reader, image, monkeypatch
):
    going, goes_on = threading.Event(), threading.Event()
    slow(monkeypatch, going, goes_on)
    run = start(recipe)
    first = reader.put("usb 1-1", "a1")
    assert going.wait(PATIENCE_S)
    run.ending.ask()
    second = reader.put("usb 1-2", "b2")
    time.sleep(0.3)
    goes_on.set()
    report = run.end()
    assert [(unit.serial, unit.state) for unit in report.units] == [("a1", "ok")]
    assert holds(first, image)
    assert not any(second.read_bytes())


def test_second_end_marks_running_units_as_stopped(start, recipe, reader, monkeypatch):
    going, goes_on = threading.Event(), threading.Event()
    slow(monkeypatch, going, goes_on)
    run = start(recipe)
    card = reader.put("usb 1-1", "a1")
    assert going.wait(PATIENCE_S)
    run.ending.ask()
    run.ending.ask()
    goes_on.set()
    (unit,) = run.end().units
    assert unit.state == "stopped"
    assert "somebody asked for an end" in unit.error
    assert not any(card.read_bytes()[:4096])


def slow(monkeypatch, going, goes_on):
    """Let a write begin only when it is told to."""
    import edgekit.flash.write_unit as module

    write = module.write_image

    def wait(*arguments, **named):
        going.set()
        assert goes_on.wait(PATIENCE_S)
        return write(*arguments, **named)

    monkeypatch.setattr(module, "write_image", wait)


def test_plain_image_that_is_not_the_promised_one_ends_the_station_before_it_begins(
    reader, recipe, tmp_path, monkeypatch
):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    card = reader.put("usb 1-1", "a1")
    run = Run(replace(recipe, sha256="0" * 64), reader)
    assert run.end() is None
    assert "is not what was promised" in run.error.message
    assert not any(card.read_bytes())


def test_password_file_that_holds_none_makes_no_open_network(reader, recipe, tmp_path):
    empty = tmp_path / "wifi"
    empty.write_text("\n")
    setup = StationSetup((PUBLIC_KEY,), wifi="workshop", wifi_password_file=empty)
    card = reader.put("usb 1-1", "a1")
    run = Run(replace(recipe, setup=setup), reader)
    assert run.end() is None
    assert "no Wi-Fi password stands in" in run.error.message
    assert not any(card.read_bytes())


def test_image_that_does_not_fit_the_target_ends_the_station_before_it_begins(reader, recipe):
    run = Run(replace(recipe, inspect=True), reader)
    assert run.end() is None
    assert run.error.hint
    assert not [note for note in run.notes() if "waiting" in note]


def test_pattern_takes_the_socket(start, recipe, reader):
    run = start(replace(recipe, name="pi-{port}", names={"usb 1-2": "right"}))
    reader.put("usb 1-1.4", "a1")
    reader.put("usb 1-2", "b2")
    run.wait_for(": ok", 2)
    run.ending.ask()
    assert {unit.name for unit in run.end().units} == {"pi-1-1-4", "right"}
