"""Programs of vendors: heard while they speak, ended with all that they started."""

import sys
import time
from pathlib import Path

import pytest
from usb_tree import plug

from edgekit.core.errors import FlashError
from edgekit.flash.usb_units import usb_units
from edgekit.flash.vendor_program import Limits, run_program


def python(code):
    return [sys.executable, "-I", "-c", code]


def run(code, heard=lambda _line: None, **limits):
    return run_program(python(code), heard, Limits(**{"silence_s": 10.0, **limits}))


def test_lines_come_while_the_program_runs_and_not_at_its_end():
    code = (
        "import sys, time\n"
        "for n in range(3):\n"
        "    print('step', n)\n"  # not flushed: a pipe would hold it back
        "    time.sleep(0.3)\n"
    )
    came = []
    said = run(code, lambda line: came.append((line, time.monotonic())))
    assert said.lines == ("step 0", "step 1", "step 2")
    assert came[0][1] < came[2][1] - 0.3


def test_carriage_returns_end_lines_and_colours_are_taken_off():
    text = "\x1b[30;41mbad\x1b[0m\r\n10%\r20%\r\x1b[1A\x1b[2K30%\r\nrest"
    assert run(f"import sys; sys.stdout.write({text!r})").lines == (
        "bad",
        "10%",
        "20%",
        "30%",
        "rest",
    )


def test_status_and_signal_are_told():
    assert run("raise SystemExit(7)").status == 7
    assert run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)").status == -11


def test_program_that_asks_something_hears_the_end_of_input():
    said = run("import sys; print('again?', repr(sys.stdin.readline()), repr(sys.stdin.read()))")
    assert said.lines == ("again? '' ''",)


def test_silence_ends_it():
    with pytest.raises(FlashError, match=r"said nothing for 0\.5 s"):
        run("import time; time.sleep(60)", silence_s=0.5)


def test_one_that_closes_its_terminal_and_stays_is_ended():
    with pytest.raises(FlashError, match=r"said nothing for 0\.5 s"):
        run("import os, time\nfor n in (0, 1, 2): os.close(n)\ntime.sleep(60)", silence_s=0.5)


def test_reason_to_stop_ends_it_with_all_that_it_started(tmp_path):
    note = tmp_path / "child"
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(note)!r}, 'w').write(str(child.pid))\n"
        "print('begun')\n"
        "time.sleep(600)\n"
    )
    heard = []
    with pytest.raises(FlashError, match="was stopped: it was unplugged"):
        run(code, heard.append, reason=lambda: "it was unplugged" if heard else None)
    child = Path(f"/proc/{note.read_text()}")
    until = time.monotonic() + 10
    while child.exists() and "Z" not in (child / "stat").read_text().split()[2]:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_hears_may_raise_and_the_program_is_ended():
    def refuse(line):
        raise ValueError(line)

    with pytest.raises(ValueError, match="begun"):
        run("import time; print('begun', flush=True); time.sleep(600)", refuse)


def test_program_that_cannot_be_started_is_told(tmp_path):
    with pytest.raises(FlashError, match="cannot start nothing: No such file"):
        run_program([str(tmp_path / "nothing")], lambda _line: None, Limits(1.0))


def test_units_on_usb_are_found_by_port(tmp_path):
    plug(tmp_path, "2-10.1", "0955:7523")
    plug(tmp_path, "2-9", "2207:350b", serial="abc", release=" 2.01")
    plug(tmp_path, "usb2", "1d6b:0002")
    (tmp_path / "sys/bus/usb/devices/2-9:1.0").mkdir()
    (tmp_path / "sys/bus/usb/devices/2-3").mkdir()  # it leaves while it is looked at
    first, second = usb_units(tmp_path)
    assert (first.id, first.port, first.serial, first.release) == (
        "2207:350b",
        "usb 2-9",
        "abc",
        "2.01",
    )
    assert (second.id, second.port) == ("0955:7523", "usb 2-10.1")
    assert usb_units(tmp_path / "nothing") == ()
