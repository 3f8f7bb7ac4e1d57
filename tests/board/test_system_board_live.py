"""A system board as a device: its identity, its sleep, and what ends it."""

import os
import signal
import subprocess
import time

import pytest

from edgekit.app.devices import locate, open_device
from edgekit.board import boards, system_mode
from edgekit.board.instances import kind_of
from edgekit.board.process import mark_process
from edgekit.catalog.targets import load_target
from edgekit.core.errors import UsageError
from edgekit.core.events import Note, ignore

pytestmark = [pytest.mark.board, pytest.mark.machine, pytest.mark.slow, pytest.mark.network]


def test_board_has_the_targets_identity_and_its_own_kernel(as_root, system_board):
    tree = "/sys/firmware/devicetree/base"
    assert as_root(f"cat {tree}/compatible") == "rockchip,rk3566\0"
    assert as_root("cat /proc/device-tree/model") == "Rockchip RK3566 virtual board\0"
    assert as_root("uname -r").endswith("-arm64\n")
    assert as_root("uname -r").strip() != os.uname().release
    assert as_root("hostname; nproc").split() == [system_board.name, "4"]
    assert '"kind": "system"' in as_root("cat /etc/edgekit/virtual-board.json")


def test_device_by_its_name_is_emulated_and_fits_its_target(system_board):
    target = load_target("rk3566")
    located = locate(f"virtual:{system_board.name}", "rk3566")
    with open_device(located, target, emit=ignore) as device:
        assert device.facts.emulated
        assert device.facts.compatible == target.compatible
        assert device.facts.machine == "aarch64"
        assert device.facts.cpu_count == target.cores


def test_board_sleeps_and_wakes_without_root(as_root, system_board, monkeypatch):
    def refuse(purpose):
        raise AssertionError(purpose)

    monkeypatch.setattr("edgekit.board.privilege.obtain", refuse)
    name = system_board.name
    as_root("echo kept >/root/file; nohup sleep 100000 >/dev/null 2>&1 & echo $! >/root/pid")
    before = float(as_root("cut -d' ' -f1 /proc/uptime"))
    assert system_mode.down(name)
    assert mark_process(system_board.pid) is None
    assert kind_of(name) == "system"
    time.sleep(3)
    again = boards.up(load_target("rk3566"), name=name)
    assert (again.kind, again.port) == ("system", system_board.port)
    assert as_root("cat /root/file; cat /proc/$(cat /root/pid)/comm") == "kept\nsleep\n"
    # The monotonic clock goes on from where it stood; the time of day is that of the host.
    assert before < float(as_root("cut -d' ' -f1 /proc/uptime"))
    earliest = time.time()
    there = float(as_root("date +%s.%N"))
    assert earliest - 2 < there < time.time() + 2
    assert boards.up(load_target("rk3566"), name=name) == again
    with pytest.raises(UsageError, match="is up as a system board"):
        boards.up(load_target("rk3566"), name=name, kind="user")


def test_board_that_was_killed_begins_anew_and_says_so(as_root, system_board):
    name = system_board.name
    as_root("echo gone >/root/lost")
    os.kill(system_mode.find_board(name).pid, signal.SIGKILL)
    while name in {board.name for board in system_mode.list_boards()}:
        time.sleep(0.05)
    notes = []
    boards.up(load_target("rk3566"), name=name, emit=notes.append)
    told = [event.text for event in notes if isinstance(event, Note)]
    assert any("begins anew" in text for text in told), told
    assert as_root("ls /root") == ""


def test_board_reaches_nothing_outside(as_root):
    script = "import socket; socket.create_connection(('10.0.2.2', 22), 3)"
    with pytest.raises(AssertionError, match="Error"):
        as_root(f'python3 -c "{script}"')


def test_each_cluster_has_a_clock_of_its_own_and_both_are_throttled(system_board):
    name = f"{system_board.name}-two"
    system_mode.up(load_target("rk3399"), name=name)
    try:
        script = """
            cd /sys/devices/system/cpu/cpufreq
            for each in policy*; do echo performance >$each/scaling_governor; done
            show() { cat policy*/scaling_cur_freq /sys/class/thermal/cooling_device*/cur_state; }
            show
            virtual-sensors temperature 95000
            while [ "$(echo $(show))" != "408000 408000 5 5" ]; do sleep 0.2; done
            cat policy*/related_cpus
        """
        done = subprocess.run(
            [*system_mode.ssh_command(name, as_root=True), script],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        lines = done.stdout.splitlines()
        assert lines[:4] == ["1416000", "1800000", "0", "0"]
        little, big = (line.split() for line in lines[4:])
        assert little[0] == "0"
        assert int(big[0]) == int(little[-1]) + 1
    finally:
        system_mode.down(name, wipe=True)


def test_user_has_no_root_rights(system_board):
    command = [*system_mode.ssh_command(system_board.name), "virtual-sensors temperature 1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode != 0
    assert "Permission denied" in done.stderr
