"""What is told does not hold up who tells it."""

import json
import threading

from edgekit.onboard.camera.teller import Teller


def test_every_event_is_told_where_somebody_reads():
    lines, told = [], threading.Event()

    def write(line):
        lines.append(json.loads(line))
        told.set()

    teller = Teller(write)
    for number in range(5):
        told.clear()
        teller.tell({"phase": "second", "number": number})
        assert told.wait(5)
    teller.close()
    assert [line["number"] for line in lines] == list(range(5))


def test_reader_that_is_slow_gets_the_newest_of_each_kind():
    lines, gate, begun = [], threading.Event(), threading.Event()

    def write(line):
        begun.set()
        gate.wait(10)
        lines.append(json.loads(line))

    teller = Teller(write)
    teller.tell({"phase": "second", "number": 0})
    assert begun.wait(5)
    for number in range(1, 100):
        teller.tell({"phase": "preview", "number": number})
        teller.tell({"phase": "second", "number": number})
    gate.set()
    teller.close()
    assert lines[0] == {"phase": "second", "number": 0}
    assert sorted((line["phase"], line["number"]) for line in lines[1:]) == [
        ("preview", 99),
        ("second", 99),
    ]


def test_reader_that_is_gone_hinders_nobody():
    def write(_line):
        raise BrokenPipeError

    teller = Teller(write)
    for number in range(10):
        teller.tell({"phase": "second", "number": number})
    teller.close()
