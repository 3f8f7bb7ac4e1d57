"""SCPI instruments: pyvisa-sim's, and one on a socket of this machine that misbehaves."""

import contextlib
import socket
import threading
import time

import pytest

from edgekit.core.errors import UnreachableError, UsageError
from edgekit.meters import scpi
from edgekit.meters.address import parse_meter
from edgekit.meters.log import Log
from edgekit.meters.meter import Meter
from edgekit.meters.scpi import ScpiSource

pyvisa = pytest.importorskip("pyvisa")
PATIENCE_S = 30.0
RESOURCE = "TCPIP0::meter.local::inst0::INSTR"
SIMULATED = """
spec: "1.1"
devices:
  meter:
    eom:
      TCPIP INSTR:
        q: "\\n"
        r: "\\n"
    error: ERROR
    dialogues:
      - q: "*IDN?"
        r: "Edge,PM-1,0042,1.07"
      - q: "SILENT?"
    properties:
      power:
        default: 3.125E+00
        getter:
          q: "MEAS:POW?"
          r: "{:s}"
resources:
  TCPIP0::meter.local::inst0::INSTR:
    device: meter
"""


@pytest.fixture
def instrument(tmp_path):
    """Return the address of a simulated power meter, and how to set what it answers."""
    pytest.importorskip("pyvisa_sim")
    file = tmp_path / "meter.yaml"
    file.write_text(SIMULATED)
    manager = pyvisa.ResourceManager(f"{file}@sim")
    power = manager.visalib.devices[RESOURCE]._properties["power"]
    yield f"scpi,rate=100,timeout=5,visa={file}@sim:{RESOURCE}?MEAS:POW?", power.set_value
    manager.close()


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def count(meter):
    return len(meter._log._times_ns)


def only(meter):
    (series,) = meter.stop().record.series
    return series


def test_simulated_instrument_is_asked_at_its_rate_and_named(instrument):
    address, put = instrument
    with Meter(parse_meter(address)) as meter:
        wait_for(lambda: count(meter) >= 20)
        put("6.25")
        known = count(meter)
        wait_for(lambda: count(meter) >= known + 5)
        readings = meter.stop()
    (series,) = readings.record.series
    assert set(series.values) == {3_125_000, 6_250_000}
    assert series.values == tuple(sorted(series.values))
    assert series.faults == ()
    assert series.rail.sensor == f"Edge,PM-1,0042,1.07 ({RESOURCE})"
    assert (series.rail.source, series.rail.scope) == ("scpi", "wall")
    assert readings.record.rate_hz == 100
    assert readings.record.rounds == len(series.values)
    assert readings.half_reading_ns > 0
    assert readings.record.cpu_s > 0


@pytest.mark.parametrize(
    ("answer", "kind"), [("+9.91E37", "garbage"), ("-1.0", "negative"), ("ERR 113", "garbage")]
)
def test_bad_answers_in_mid_run_are_stated_and_leave_a_gap(instrument, answer, kind):
    address, put = instrument
    with Meter(parse_meter(address)) as meter:
        wait_for(lambda: count(meter) >= 5)
        put(answer)
        wait_for(lambda: kind in meter._log._faults and meter._log._faults[kind].count >= 5)
        put("3.125")
        known = count(meter)
        wait_for(lambda: count(meter) >= known + 5)
        series = only(meter)
    assert set(series.values) == {3_125_000}
    (fault,) = series.faults
    assert (fault.kind, answer in fault.detail) == (kind, True)
    assert any(a < fault.first_ns and fault.last_ns < b
               for a, b in zip(series.times_ns, series.times_ns[1:], strict=False))  # fmt: skip


@pytest.mark.parametrize(
    ("query", "error", "why"),
    [
        ("NONSENSE?", UsageError, "answers 'NONSENSE\\?' with 'ERROR'"),
        ("SILENT?", UnreachableError, "does not answer"),
    ],
)
def test_query_that_gives_no_power_is_refused_before_the_run(instrument, query, error, why):
    address, _ = instrument
    with pytest.raises(error, match=why) as caught:
        Meter(parse_meter(address.replace("MEAS:POW?", query).replace("=5", "=0.5"))).start()
    assert caught.value.hint


def test_resource_or_library_that_is_not_there_is_refused_before_the_run(instrument):
    address, _ = instrument
    with pytest.raises(UnreachableError, match=r"nobody\.local"):
        Meter(parse_meter(address.replace("meter.local", "nobody.local"))).start()
    with pytest.raises(UsageError, match="VISA library"):
        Meter(parse_meter("scpi,visa=/none.so@ivi:TCPIP::a::INSTR?P?")).start()


class Instrument:
    """A SCPI instrument on a socket; ``answer`` makes its answer, or ``None`` for silence."""

    def __init__(self):
        self.answer = lambda query: b"3.125\n"
        self.delay_s = 0.0
        self.connections = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._open = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self):
        return f"scpi,rate=50,timeout=1:TCPIP::127.0.0.1::{self.port}::SOCKET?MEAS:POW?"

    def _serve(self):
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        try:
            with connection.makefile("rb") as lines:
                for line in lines:
                    answer = self.answer(line.strip().decode())
                    time.sleep(self.delay_s)
                    if answer is not None:
                        connection.sendall(answer)
        except OSError:
            pass

    def hang_up(self):
        """End every connection, as a meter does that is switched off and on."""
        for connection in self._open:
            # A file object of the other thread keeps the socket open until it is shut.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._open.clear()

    def close(self):
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.hang_up()


@pytest.fixture
def on_socket():
    pytest.importorskip("pyvisa_py")
    made = Instrument()
    yield made
    made.close()


def test_instrument_on_a_socket_is_asked_too(on_socket):
    on_socket.answer = lambda query: b"Edge,PM-2,1,1\n" if query == "*IDN?" else b"4.5 W\r\n"
    with Meter(parse_meter(on_socket.address)) as meter:
        wait_for(lambda: count(meter) >= 10)
        series = only(meter)
    assert set(series.values) == {4_500_000}
    assert series.rail.sensor.startswith("Edge,PM-2,1,1 (TCPIP::127.0.0.1::")


def test_instrument_without_a_name_is_called_by_its_address(on_socket):
    on_socket.answer = lambda query: None if query == "*IDN?" else b"4.5\n"
    with Meter(parse_meter(on_socket.address)) as meter:
        wait_for(lambda: count(meter) >= 5)
        series = only(meter)
    assert series.rail.sensor == f"TCPIP::127.0.0.1::{on_socket.port}::SOCKET"
    assert set(series.values) == {4_500_000}


def test_answer_that_comes_late_is_not_taken_for_the_next_one(on_socket):
    answers = iter(range(1, 10**6))
    given = {}

    def answer(query):
        number = next(answers)
        given[number] = time.monotonic_ns()
        return f"{number / 1000}\n".encode()

    on_socket.answer = answer
    with Meter(parse_meter(on_socket.address)) as meter:
        wait_for(lambda: count(meter) >= 5)
        on_socket.delay_s = 2.0
        wait_for(lambda: "timeout" in meter._log._faults)
        on_socket.delay_s = 0.0
        known = count(meter)
        wait_for(lambda: count(meter) >= known + 5)
        series = only(meter)
    # Each reading is the answer to its own question: made after it was asked.
    for time_ns, value in zip(series.times_ns, series.values, strict=True):
        assert abs(time_ns - given[value // 1000]) < 1_000_000_000


def test_meter_that_vanishes_leaves_a_gap_and_is_found_again(on_socket):
    with Meter(parse_meter(on_socket.address)) as meter:
        wait_for(lambda: count(meter) >= 5)
        was = on_socket.connections
        on_socket.hang_up()
        wait_for(lambda: meter._log._faults)
        known = count(meter)
        wait_for(lambda: count(meter) >= known + 5)
        assert on_socket.connections > was
        series = only(meter)
    assert {fault.kind for fault in series.faults} <= {"timeout", "vanished"}
    assert set(series.values) == {3_125_000}


def test_meter_that_is_gone_for_good_is_stated_and_holds_nothing_up(on_socket):
    with Meter(parse_meter(on_socket.address)) as meter:
        wait_for(lambda: count(meter) >= 5)
        on_socket.close()
        wait_for(lambda: "vanished" in meter._log._faults)
        known = count(meter)
        series = only(meter)
    assert len(series.values) == known
    assert series.faults


def test_bytes_that_are_no_text_are_garbage(on_socket):
    with Meter(parse_meter(on_socket.address)) as meter:
        wait_for(lambda: count(meter) >= 5)
        on_socket.answer = lambda query: b"\xff\xfe3.1\n"
        wait_for(lambda: "garbage" in meter._log._faults)
        series = only(meter)
    assert set(series.values) == {3_125_000}


def test_source_that_never_comes_back_does_not_keep_the_run(monkeypatch, on_socket):
    meter = Meter(parse_meter(on_socket.address))
    asleep = threading.Event()

    def stuck(log, stopped):
        asleep.wait(PATIENCE_S)

    monkeypatch.setattr(meter._source, "sample", stuck)
    meter.start()
    series = only(meter)
    asleep.set()
    (fault,) = series.faults
    assert (fault.kind, "did not come back" in fault.detail) == ("timeout", True)


def test_nobody_there_is_refused_before_the_run():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    pytest.importorskip("pyvisa_py")
    with pytest.raises(UnreachableError):
        Meter(parse_meter(f"scpi,timeout=0.2:TCPIP::127.0.0.1::{port}::SOCKET?P?")).start()


class Bench:
    """An instrument that takes its time, by a clock that only it and the waiting move."""

    def __init__(self, takes_s):
        self.now_s = 0.0
        self._takes_s = takes_s

    def monotonic(self):
        return self.now_s

    def take(self, _log):
        self.now_s += self._takes_s

    def is_set(self):
        return self.now_s >= 1

    def wait(self, seconds):
        self.now_s += seconds


@pytest.mark.parametrize(
    ("takes_s", "rounds", "missed"), [(0.03125, 8, 0), (0.125, 8, 0), (0.3125, 3, 6)]
)
def test_rounds_are_missed_only_where_an_answer_takes_longer_than_a_round(
    monkeypatch, takes_s, rounds, missed
):
    bench, log = Bench(takes_s), Log(1.0)
    source = ScpiSource(parse_meter("scpi,rate=8:TCPIP::meter?POW?"))
    monkeypatch.setattr(scpi, "time", bench)
    monkeypatch.setattr(source, "_take", bench.take)
    source.sample(log, bench)
    assert (log.rounds, log.missed_rounds) == (rounds, missed)
