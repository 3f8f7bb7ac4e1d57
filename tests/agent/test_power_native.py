"""The sampler's loop in C: it reads what Python's reads, and only what the host sent is loaded."""

import ctypes
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sampler_loops import SOURCE, Loop, compiled, compiled_sampler

import device_agent
from device_agent.power import native
from device_agent.power.rail import ATTRIBUTE_BYTES, Rail
from device_agent.power.sampler import Sampler

NUMBERS = st.one_of(
    st.integers(-9, 10**7),
    st.integers(),
    st.sampled_from([10**10, 10**10 + 1, 10**18 - 1, 10**18, 2**32, 2**63 - 1, 2**63, 2**64]),
)
TEXTS = st.one_of(
    NUMBERS.map(b"%d\n".__mod__),
    NUMBERS.map(b"%d".__mod__),
    st.tuples(NUMBERS, st.sampled_from("+-_ .\t/:\0\n"), NUMBERS).map(
        lambda parts: f"{parts[0]}{parts[1]}{abs(parts[2]) % 100}\n".encode()
    ),
    st.tuples(NUMBERS, st.sampled_from("+-_ .\t\0\n")).map(
        lambda parts: b"%d%c" % (parts[0], ord(parts[1]))
    ),
    st.text("0123456789+-_ \t\n\0x.\u0665", max_size=24).map(str.encode),
    st.binary(max_size=ATTRIBUTE_BYTES),
    st.integers(60, 70).map(lambda count: b"0" * count + b"\n"),
    st.sampled_from([5, 6, 11, 19]).map(lambda number: OSError(number, os.strerror(number))),
)


@pytest.fixture
def loops(played_library, monkeypatch):
    """Both of them."""
    made = [Loop(name, played_library, monkeypatch) for name in ("python", "c")]
    yield made
    for loop in made:
        loop.close()


def told_of(loop, rail, texts):
    """Return what one round makes of these texts."""
    left = iter(texts)

    def pread(_number, size, _offset):
        text = next(left)
        if isinstance(text, OSError):
            raise text
        return text[:size]

    loop.play(pread)
    sampler = loop.sampler([rail], 1000, most_samples=1)
    sampler.run()
    (series,) = sampler.series
    faults = {kind: (each["count"], each["detail"]) for kind, each in series.faults.items()}
    assert len(series.times_ns) == len(series.values)
    return series.values.tolist(), faults


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=2),
    times=st.sampled_from([1, 1000]),
    largest=st.sampled_from([10**10, 262143328850, 2**63 - 1]),
)
def test_whatever_files_hold_both_make_the_same_of_it(loops, texts, times, largest):
    rail = Rail("hwmon", "ina226 0-0040", "VIN")
    rail.reads([os.devnull] * len(texts), times if len(texts) == 1 else 1).largest = largest
    rail.open()
    python, c = (told_of(loop, rail, texts) for loop in loops)
    rail.close()
    assert python == c
    assert len(python[0]) + len(python[1]) == 1


def test_readings_are_seen_while_the_loop_goes_on(loop, rail, tmp_path):
    sampler = loop.sampler([rail], 200)
    sampler.start()
    values = sampler.series[0].values
    for text in ("3125000", "6250000", "1000000"):
        (tmp_path / "power").write_text(text + "\n")
        while not values or values[-1] != int(text):
            time.sleep(0.001)
    sampler.stop()
    assert {3125000, 6250000, 1000000} <= set(values)


def test_time_stamp_lies_within_its_reading(loop, rail):
    reads = []

    def slow(*file):
        began_ns = time.monotonic_ns()
        time.sleep(0.002)
        text = os.pread(*file)
        reads.append((began_ns, time.monotonic_ns()))
        return text

    loop.play(slow)
    sampler = loop.sampler([rail], 1000, most_samples=3)
    sampler.run()
    for (began_ns, ended_ns), read_ns in zip(reads, sampler.series[0].times_ns, strict=True):
        assert began_ns < read_ns < ended_ns


def test_rounds_left_out_are_counted_once_however_often_c_comes_back(rail, loop, monkeypatch):
    monkeypatch.setattr(native, "_LOOKS_HZ", 1000)

    def slow(*file):
        time.sleep(0.005)
        return os.pread(*file)

    loop.play(slow)
    sampler = loop.sampler([rail], 1000, most_samples=20)
    sampler.run()
    told = sampler.as_json()
    assert 4 * 19 <= told["missed_rounds"] <= told["wall_s"] * 1000 - 19


def test_signal_that_comes_while_it_samples_is_heeded(loop, rail):
    def heed(*_signal):
        raise InterruptedError

    sampler = loop.sampler([rail], 100)
    before = signal.signal(signal.SIGALRM, heed)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(InterruptedError):
            sampler.run()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_signal_that_means_nothing_costs_no_round(loop, rail):
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
    sampler = loop.sampler([rail], 20, most_samples=6)
    try:
        sampler.run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    times_ns = sampler.series[0].times_ns
    assert len(times_ns) == sampler.as_json()["rounds"] == 6
    # Between two rounds lies a period, or more where this machine is busy: not a signal's.
    assert times_ns[-1] - times_ns[0] >= 4.5 * 0.05e9


def test_it_goes_on_where_it_stopped_and_ends_when_it_is_full(loop, rail):
    sampler = loop.sampler([rail], 1000, most_samples=40)
    sampler.run(seconds=0)
    assert sampler.as_json()["rounds"] == 0
    sampler.start()
    while not sampler.as_json()["ended_full"]:
        time.sleep(0.001)
    sampler.stop()
    sampler.run(seconds=0.01)
    (series,) = sampler.series
    assert len(series.values) == len(series.times_ns) == sampler.as_json()["rounds"] == 40


def odd_one(tmp_path):
    (tmp_path / "power").write_text("3125000\n")
    (tmp_path / "status").write_text("Discharging\n")
    rail = Rail("power_supply", "BAT0", "BAT0").reads([str(tmp_path / "power")])
    return rail.reads_while_discharging(str(tmp_path / "status"))


def costly_one(tmp_path):
    (tmp_path / "power").write_text("3125000\n")
    rail = Rail("pmic", "vcgencmd", "PMIC rails").reads([str(tmp_path / "power")])
    rail.most_hz = 1000.0
    return rail


@pytest.mark.parametrize("make", [odd_one, costly_one])
def test_rails_that_are_not_plain_are_pythons(make, rail, tmp_path, played_library):
    other = make(tmp_path)
    other.open()
    sampler = Sampler([rail, other], 100, native=native.load(*played_library))
    sampler.run(seconds=0.03)
    other.close()
    assert sampler.as_json()["loop"] == "python"
    assert all(series.values for series in sampler.series)


def test_rate_so_slow_that_it_is_to_be_stopped_between_is_pythons(rail, played_library):
    sampler = Sampler([rail], 1, native=native.load(*played_library))
    sampler.start()
    while not sampler.series[0].values:
        time.sleep(0.001)
    sampler.stop()
    assert sampler.as_json()["loop"] == "python"


def test_only_what_the_host_sent_is_loaded(tmp_path):
    path, sha256 = compiled_sampler(tmp_path)
    assert native.load(path, sha256) is not None
    assert native.load(path, "0" * 64) is None
    assert native.load(str(tmp_path / "absent.so"), sha256) is None
    text = tmp_path / "text.so"
    text.write_bytes(b"of another machine")
    assert native.load(str(text), hashlib.sha256(text.read_bytes()).hexdigest()) is None


def test_library_of_another_version_is_left_alone(tmp_path):
    (defined,) = re.findall(r"#define SAMPLER_VERSION (\d+)", SOURCE.read_text())
    assert int(defined) == native._VERSION
    assert native.load(*compiled(tmp_path / "a.so", SOURCE, "-Dsampler_version=other")) is None
    newer = SOURCE.read_text().replace(f"VERSION {defined}", f"VERSION {int(defined) + 1}")
    (tmp_path / "newer.c").write_text(newer)
    assert native.load(*compiled(tmp_path / "b.so", tmp_path / "newer.c")) is None


def test_sampler_without_the_library_needs_no_ctypes():
    script = (
        "import sys\n"
        "import device_agent.watch, device_agent.power.sources\n"
        "from device_agent.power.sampler import Sampler\n"
        "Sampler([], 100).run(0.01)\n"
        "print('ctypes' in sys.modules, 'device_agent.power.native' in sys.modules)\n"
    )
    root = Path(device_agent.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False False\n"


def test_structures_are_laid_out_as_c_has_them(tmp_path):
    fields = {"Rail": native._Rail, "Sampling": native._Sampling}
    lines = ["#include <stddef.h>", f'#include "{SOURCE}"', "const int layout[] = {"]
    expected = []
    for name, structure in fields.items():
        lines.append(f"sizeof({name}),")
        expected.append(ctypes.sizeof(structure))
        for field, *_ in structure._fields_:
            lines.append(f"offsetof({name}, {field}),")
            expected.append(getattr(structure, field).offset)
    (tmp_path / "layout.c").write_text("\n".join([*lines, "};"]))
    path, _ = compiled(tmp_path / "layout.so", tmp_path / "layout.c")
    library = ctypes.CDLL(path)
    assert list((ctypes.c_int * len(expected)).in_dll(library, "layout")) == expected
