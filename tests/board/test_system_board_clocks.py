"""Clocks pinned through the kernel's own cpufreq, and put back whatever ends."""

import time

import pytest

from edgekit.core.clocks import ClockPlan
from edgekit.core.errors import ConnectionLostError
from edgekit.device import SshAddress, connect

pytestmark = [pytest.mark.board, pytest.mark.machine, pytest.mark.slow, pytest.mark.network]

POLICY = "/sys/devices/system/cpu/cpufreq/policy0"
LOOK = f"cd {POLICY} && cat scaling_governor scaling_min_freq scaling_max_freq"
TUNED = (
    f"cd {POLICY} && echo ondemand >scaling_governor && echo 47 >../ondemand/up_threshold"
    " && echo 686400 >scaling_min_freq && echo 1521600 >scaling_max_freq"
)
WITHIN_S = 10.0


@pytest.fixture
def open_as(system_board):
    def opened(user):
        return connect(
            SshAddress(
                system_board.host,
                user,
                system_board.port,
                identity_file=system_board.identity_file,
                known_hosts=system_board.known_hosts,
            )
        )

    return opened


@pytest.fixture
def look(as_root):
    """Look at what a person could have set."""
    as_root(TUNED)

    def seen():
        return as_root(f"{LOOK}; cat ../ondemand/up_threshold 2>/dev/null || true").split()

    assert seen() == ["ondemand", "686400", "1521600", "47"]
    return seen


def comes_back(look, before):
    deadline = time.monotonic() + WITHIN_S
    while look() != before:
        if time.monotonic() > deadline:
            return False
    return True


def test_governor_and_what_it_was_tuned_to_come_back(open_as, look):
    before = look()
    with open_as("root") as device, device.fixed_clocks() as pin:
        [clock] = pin.pinned.clocks
        assert pin.pinned.cores_pinned
        assert clock.cpus == (0, 1, 2, 3)
        assert clock.set == (("scaling_governor", "performance"),)
        assert clock.read_back.current_hz == clock.read_back.max_hz == 1_521_600_000
        assert look() == ["performance", "686400", "1521600"]
    assert pin.released.held
    assert look() == before


@pytest.mark.parametrize("khz", [408000, 964800, 1800000])
def test_clock_that_was_asked_for_is_the_one_there_is(open_as, look, khz):
    before = look()
    with open_as("root") as device, device.fixed_clocks(ClockPlan(khz=((0, khz),))) as pin:
        [clock] = pin.pinned.clocks
        assert clock.pinned, clock
        assert look() == ["ondemand", str(khz), str(khz), "47"]
        assert device.health().clusters[0].current_khz == khz
    assert pin.released.held
    assert look() == before


def test_clock_that_is_not_offered_is_refused(open_as, look):
    before = look()
    with open_as("root") as device, device.fixed_clocks(ClockPlan(khz=((0, 1000000),))) as pin:
        [refusal] = pin.pinned.clocks[0].refused
        assert refusal.why == "not_offered"
        assert look() == before


def test_heat_in_mid_run_is_told_and_the_former_limits_come_back(open_as, look, as_root):
    before = look()
    with open_as("root") as device:
        with device.fixed_clocks(ClockPlan(khz=((0, 1800000),))) as pin:
            as_root("virtual-sensors temperature 90000; sleep 2")
        assert {path.rpartition("/")[2] for path, _set, _found in pin.released.differing} == {
            "scaling_min_freq", "scaling_max_freq",
        }  # fmt: skip
        assert not pin.released.held
        # While it is hot, the true limits are hidden.
        with device.fixed_clocks(ClockPlan(khz=((0, 964800),))) as pin:
            assert [each.why for each in pin.pinned.clocks[0].refused] == ["throttled"]
        as_root("virtual-sensors temperature 45000; sleep 3")
    assert look() == before


def test_ordinary_user_is_refused_until_a_group_may_write(open_as, look, as_root, system_board):
    before = look()
    with open_as(system_board.user) as device:
        with device.fixed_clocks() as pin:
            [clock] = pin.pinned.clocks
            assert [(each.file, each.why) for each in clock.refused] == [
                ("scaling_governor", "EACCES")
            ]
            assert look() == before
        files = f"{POLICY}/scaling_governor {POLICY}/scaling_min_freq {POLICY}/scaling_max_freq"
        as_root(f"chgrp {system_board.user} {files}; chmod g+w {files}")
        try:
            # The governor's own files are root's still: it is left as it is.
            with device.fixed_clocks() as pin:
                assert pin.pinned.cores_pinned
                assert look() == ["ondemand", "1521600", "1521600", "47"]
        finally:
            as_root(f"chgrp root {files}; chmod g-w {files}")
    assert look() == before


@pytest.mark.parametrize("victim", ["agent", "guardian", "both", "session"])
def test_what_is_killed_leaves_no_clock_pinned(open_as, look, as_root, victim):
    before = look()
    try:
        with open_as("root") as device, device.fixed_clocks() as pin:
            assert look() != before
            guardian = pin.pinned.guardian_pid
            agents = as_root("pgrep -f '[a]gent-[0-9a-f]*.pyz'").split()
            agent = next(pid for pid in agents if int(pid) != guardian)
            as_root({
                "agent": f"kill -9 {agent}",
                "guardian": f"kill -9 {guardian}",
                "both": f"kill -STOP {agent}; kill -9 {guardian} {agent}",
                "session": f"kill -9 $(cut -d' ' -f4 /proc/{agent}/stat)",
            }[victim])  # fmt: skip
            if victim == "both":
                with open_as("root"):
                    assert look() == before
            assert comes_back(look, before)
    except ConnectionLostError:
        assert victim != "guardian"
