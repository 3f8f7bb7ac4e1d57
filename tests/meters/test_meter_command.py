"""A command as a meter: real processes, and what can go wrong with them."""

import itertools
import os
import shlex
import statistics
import sys
import time
from pathlib import Path

import pytest
from processes import has_ended

from edgekit.bench.board_energy import board_energy
from edgekit.bench.clocks import ClockOffset, on_device_clock
from edgekit.bench.run_power import power_of_run
from edgekit.core.errors import EdgekitError, UnreachableError, UsageError
from edgekit.meters.address import parse_meter
from edgekit.meters.log import ReadingError, microwatts
from edgekit.meters.meter import Meter

PATIENCE_S = 30.0


def command(tmp_path, body, options="", interpreter=sys.executable):
    """Return the meter's address of a script of this text."""
    script = tmp_path / "read-watts"
    script.write_text(f"#!{interpreter}\n{body}")
    script.chmod(0o755)
    return parse_meter(f"command{options}:{shlex.quote(str(script))}")


def measured(address, until=lambda meter: len(meter._log._times_ns) >= 12):
    """Let it run until it has said enough."""
    meter = Meter(address)
    meter.start()
    deadline = time.monotonic() + PATIENCE_S
    while not until(meter) and time.monotonic() < deadline:
        time.sleep(0.01)
    return meter.stop()


def fault_seen(kind):
    return lambda meter: kind in meter._log._faults


def only(readings):
    (series,) = readings.record.series
    return series


def faults(readings):
    return {fault.kind: fault for fault in only(readings).faults}


STREAM = """
import itertools, time
for k in itertools.count():
    print(3 + k % 2, flush=True)
    time.sleep(0.01)
"""


def test_lines_that_go_on_are_stamped_as_they_come(tmp_path):
    before_ns = time.monotonic_ns()
    readings = measured(command(tmp_path, STREAM))
    series = only(readings)
    assert set(series.values) == {3_000_000, 4_000_000}
    assert before_ns < series.times_ns[0] <= series.times_ns[-1] <= time.monotonic_ns()
    # It paces itself: what is said of the rate is what came, not what nobody asked for.
    steps = [b - a for a, b in itertools.pairwise(series.times_ns)]
    assert readings.record.rate_hz == pytest.approx(1e9 / statistics.median(steps))
    assert readings.half_reading_ns == 0
    assert readings.record.cpu_s > 0
    facts = series.rail
    assert (facts.source, facts.scope, facts.label) == ("command", "wall", "meter")
    assert facts.sensor == "read-watts"


def test_command_that_ends_is_called_again_and_again(tmp_path):
    body = "echo x >>calls; echo 2.5\n"
    address = command(tmp_path, f"cd {shlex.quote(str(tmp_path))}\n{body}", ",rate=50", "/bin/sh")
    readings = measured(address)
    series = only(readings)
    assert set(series.values) == {2_500_000}
    assert series.faults == ()
    assert readings.record.rate_hz == 50
    calls = len((tmp_path / "calls").read_text().splitlines())
    assert calls >= len(series.values) + 1  # the first was the trial before the run
    # True somewhere between its start and its line.
    assert readings.half_reading_ns > 0


def test_number_without_a_line_end_is_one_all_the_same(tmp_path):
    readings = measured(command(tmp_path, "printf '1250 W'\n", ",rate=50,scale=0.001", "/bin/sh"))
    assert set(only(readings).values) == {1_250_000}


@pytest.mark.parametrize(
    ("text", "scale", "microwatt"),
    [
        ("3.125", 1, 3_125_000),
        (" +3.125E+00 W\r", 1, 3_125_000),
        (".5w", 1, 500_000),
        ("4250", 1e-3, 4_250_000),
        ("0", 1, 0),
    ],
)
def test_watts_are_read_as_meters_write_them(text, scale, microwatt):
    assert microwatts(text, scale) == microwatt


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "garbage"),
        ("nan", "garbage"),
        ("inf", "garbage"),
        ("9.91E37", "garbage"),
        ("1e999", "garbage"),
        ("3 mW", "garbage"),
        ("3.1,4.2", "garbage"),
        ("3 4", "garbage"),
        ("0x10", "garbage"),
        ("1_000", "garbage"),
        ("\u0663", "garbage"),
        ("-0.5", "negative"),
    ],
)
def test_what_is_no_power_is_no_reading(text, kind):
    with pytest.raises(ReadingError) as caught:
        microwatts(text, 1)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("line", "kind", "told"),
    [("oops", "garbage", "'oops'"), ("-1.5", "negative", "'-1.5'")],
)
def test_bad_line_in_mid_run_is_stated_and_leaves_a_gap(tmp_path, line, kind, told):
    body = STREAM.replace("print(3 + k % 2", f"print({line!r} if k == 3 else 3")
    readings = measured(command(tmp_path, body))
    assert faults(readings)[kind].count == 1
    assert told in faults(readings)[kind].detail
    assert set(only(readings).values) == {3_000_000}


def test_lines_that_a_command_holds_back_are_not_given_a_time(tmp_path):
    body = "import os\n" + STREAM.replace(
        "print(3 + k % 2, flush=True)", "os.write(1, b'%d.1\\n%d.2\\n%d.3\\n' % (k, k, k))"
    )
    readings = measured(command(tmp_path, body))
    held = faults(readings)["late"]
    assert held.count >= 2 * (len(only(readings).values) - 1)
    assert "flush" in held.detail
    # Only the last of each three was true when it came.
    assert {value % 1_000_000 for value in only(readings).values} == {300_000}


def test_silence_in_mid_run_is_a_timeout_and_the_command_is_started_anew(tmp_path):
    body = "echo 3; sleep 0.05; echo 3; exec sleep 1000\n"
    readings = measured(
        command(tmp_path, body, ",timeout=1", "/bin/sh"),
        until=lambda meter: (f := meter._log._faults.get("timeout")) and f.count >= 2,
    )
    assert "no line in 1 s" in faults(readings)["timeout"].detail


def test_command_that_fails_in_mid_run_says_its_own_words(tmp_path):
    body = """
import pathlib, sys
seen = pathlib.Path(__file__).with_name("seen")
if seen.exists():
    sys.exit("no meter on /dev/ttyUSB0")
seen.touch()
print(3)
"""
    readings = measured(command(tmp_path, body), until=fault_seen("unreadable"))
    told = faults(readings)["unreadable"].detail
    assert told == "exit status 1: no meter on /dev/ttyUSB0"
    assert only(readings).values == ()


def test_stream_that_ends_and_command_that_goes_are_stated(tmp_path):
    body = STREAM + "    if k == 4: break\n"
    readings = measured(command(tmp_path, body), until=fault_seen("vanished"))
    assert "it ended after 5 lines" in faults(readings)["vanished"].detail
    address = command(tmp_path, "echo 3\n", ",rate=50", "/bin/sh")
    meter = Meter(address)
    meter.start()
    Path(address.argv[0]).unlink()
    deadline = time.monotonic() + PATIENCE_S
    while not fault_seen("vanished")(meter) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "No such file" in faults(meter.stop())["vanished"].detail


@pytest.mark.parametrize(
    ("body", "error", "why"),
    [
        ("echo hello\n", UsageError, "prints 'hello', not watts"),
        ("echo 9.9E37\n", UsageError, "not watts"),
        ("true\n", UnreachableError, "gives no reading: it printed nothing"),
        ("echo no such meter >&2; exit 3\n", UnreachableError, "status 3: no such meter"),
        ("exec sleep 1000\n", UnreachableError, "no line in 1 s"),
        ("exec >&-; sleep 1000\n", UnreachableError, "did not end"),
        ("head -c 9000 /dev/zero; sleep 1000\n", UnreachableError, "a line without an end"),
    ],
)
def test_command_that_is_no_meter_is_refused_before_the_run(tmp_path, body, error, why):
    with pytest.raises(error, match=why) as caught:
        Meter(command(tmp_path, body, ",timeout=1", "/bin/sh")).start()
    assert caught.value.hint


def test_command_that_is_not_there_is_refused_before_the_run(tmp_path):
    with pytest.raises(UsageError, match="cannot be run"):
        Meter(parse_meter(f"command:{tmp_path}/none")).start()


def test_whatever_the_command_started_is_killed_with_it(tmp_path):
    body = f"sleep 1000 & echo $! >{shlex.quote(str(tmp_path))}/pid\necho 3; echo 4; wait\n"
    with Meter(command(tmp_path, body, "", "/bin/sh")):
        pid = int((tmp_path / "pid").read_text())
        os.kill(pid, 0)
    deadline = time.monotonic() + PATIENCE_S
    while not has_ended(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert has_ended(pid)


def test_meter_never_leaves_by_an_error_that_is_not_ours(tmp_path):
    (tmp_path / "no-program").write_bytes(b"\x7fELF garbage")
    (tmp_path / "no-program").chmod(0o755)
    with pytest.raises(EdgekitError):
        Meter(parse_meter(f"command:{tmp_path}/no-program")).start()


STEP = """
import os, time
while True:
    print(6.25 if os.path.exists(__file__ + ".load") else 3.125, flush=True)
    time.sleep(0.01)
"""


def wait_until_it_reads(meter, value_uw):
    deadline = time.monotonic() + PATIENCE_S
    while meter._log._values_uw[-1:] != [value_uw] and time.monotonic() < deadline:
        time.sleep(0.005)


def test_step_of_a_real_command_becomes_joules_by_the_devices_clock(tmp_path):
    address = command(tmp_path, STEP)
    load = Path(address.argv[0] + ".load")
    moments = []
    with Meter(address) as meter:
        for watts_uw in (3_125_000, 6_250_000, 3_125_000):
            # A time begins once the meter has seen it, and ends before anything changes.
            wait_until_it_reads(meter, watts_uw)
            began_ns = time.monotonic_ns()
            time.sleep(0.4)
            moments.append((began_ns, time.monotonic_ns()))
            load.unlink() if load.exists() else load.touch()
        wait_until_it_reads(meter, 6_250_000)
        readings = meter.stop()
    offset = ClockOffset(offset_ns=10**12, uncertainty_ns=2_000_000, round_trips=8)
    record, unsure_ns = on_device_clock(readings.record, offset, readings.half_reading_ns)
    before, run, after = (tuple(edge + 10**12 for edge in span) for span in moments)
    rails = power_of_run(record, run, 10, before, after, unsure_ns)
    told = board_energy(rails)
    if told.energy is None:
        # A machine that stalls gives too few readings; then it is said, and that is right too.
        assert "readings in" in told.reason or "no reading" in told.reason or "late" in told.reason
        pytest.skip(told.reason)
    assert told.name == "wall"
    assert told.energy.run.mean_w == pytest.approx(6.25, rel=0.02)
    assert told.energy.idle_w == pytest.approx(3.125, rel=0.02)
    assert told.energy.edge_uncertainty_ns >= 2_000_000
    assert "of the host" in rails[0].words()
