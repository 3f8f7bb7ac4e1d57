"""What a system board is put together from, without one: trees, disks, orders, answers."""

import json
import os
import shutil
import socket
import subprocess
import threading
from dataclasses import replace

import pytest

from edgekit.board import boards, instances, requirements, system_mode, user_mode
from edgekit.board.device_tree import identity, rail_labels, write_device_tree
from edgekit.board.emulated_cpu import EmulatedCpu
from edgekit.board.initial_ramdisk import initial_ramdisk
from edgekit.board.kernel import load_order
from edgekit.board.machine import PROGRAM, Machine
from edgekit.board.monitor import Monitor
from edgekit.board.process import mark_process
from edgekit.board.state import BoardState, read_state, write_state
from edgekit.catalog.targets import load_target
from edgekit.cli.main import run
from edgekit.core.errors import DeviceError, UsageError


@pytest.fixture
def sleeping(own_cache):
    """Write down a board of a kind that is not up."""

    def put(name, kind):
        (own_cache / "boards" / "instances" / name).mkdir(parents=True)
        instances.note_kind(name, kind)

    return put


@pytest.fixture
def asked(monkeypatch):
    """Which kinds of boards were asked to come up; nothing does."""
    kinds = []
    for module, kind in ((system_mode, "system"), (user_mode, "user")):
        monkeypatch.setattr(
            module, "up", lambda target, *, name=None, emit=None, kind=kind: kinds.append(kind)
        )
    return kinds


def test_board_comes_up_again_as_what_it_was(sleeping, asked):
    sleeping("left", "system")
    sleeping("right", "user")
    target = load_target("rk3566")
    for name, kind in (("left", None), ("right", None), ("new", None), ("new", "system")):
        boards.up(target, name=name, kind=kind)
    assert asked == ["system", "user", "user", "system"]


def test_name_held_by_the_other_kind_is_refused(sleeping, own_cache):
    sleeping("bench", "system")
    folder = own_cache / "boards" / "instances" / "bench"
    held = BoardState("bench", "rk3566", 20022, "f" * 64, mark_process(os.getpid()), "system")
    write_state(folder, held)
    assert read_state(folder) == held
    with pytest.raises(UsageError, match="is up as a system board"):
        user_mode.up(load_target("rk3566"), name="bench")
    board = system_mode.find_board("bench")
    assert (board.kind, board.rootfs) == ("system", None)
    assert system_mode.ssh_command("bench", as_root=True)[-1] == "root@127.0.0.1"
    with pytest.raises(UsageError, match="counting takes a user-mode board"):
        instances.need_user_mode(board, "counting")


def test_user_mode_board_has_no_root_to_log_in_as(sleeping, own_cache):
    sleeping("bench", "user")
    folder = own_cache / "boards" / "instances" / "bench"
    write_state(folder, BoardState("bench", "rk3566", 20022, "f" * 64, mark_process(os.getpid())))
    with pytest.raises(UsageError, match="has no root") as raised:
        system_mode.ssh_command("bench", as_root=True)
    assert "--kind system" in raised.value.hint


def test_32_bit_board_cannot_be_a_system_board(own_cache):
    with pytest.raises(UsageError, match="no system board for armv7l"):
        system_mode.up(load_target("rpi3-32"))


def test_missing_packages_are_named_with_the_command(own_cache, monkeypatch):
    monkeypatch.setattr(requirements, "SYSTEM_PATH", "/nowhere")
    with pytest.raises(DeviceError, match=r"qemu-system-arm .*device-tree-compiler") as raised:
        system_mode.up(load_target("rk3566"))
    assert "apt-get install" in raised.value.hint


def test_device_tree_is_the_targets_in_the_compilers_eyes(tmp_path):
    if shutil.which("dtc") is None:
        pytest.skip("needs device-tree-compiler")
    own = tmp_path / "own.dts"
    own.write_text('/dts-v1/; / { model = "linux,dummy-virt"; memory { reg = <1 2>; }; };')
    raw = tmp_path / "own.dtb"
    subprocess.run(["dtc", "-q", "-O", "dtb", "-o", raw, own], check=True)
    target = replace(load_target("rk3566"), soc='Some "SoC"', compatible=("a,b", "c,d"))
    made = tmp_path / "board.dtb"
    write_device_tree(raw, target, made)
    told = subprocess.run(
        ["dtc", "-q", "-I", "dtb", "-O", "dts", made], check=True, capture_output=True, text=True
    ).stdout
    assert 'model = "Some \\"SoC\\" virtual board";' in told
    assert told.count("compatible =") == 3
    assert 'compatible = "a,b\\0c,d";' in told
    assert "memory {" in told
    assert "dummy" not in told


def test_monitor_has_the_targets_own_rails_where_it_has_some():
    assert rail_labels(load_target("jetson-orin-nano")) == ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")
    assert rail_labels(load_target("rk3566")) == ("VDD_CPU", "VDD_GPU", "VDD_DDR")
    # It has four, on two chips; one chip has three channels.
    assert len(rail_labels(load_target("jetson-agx-orin"))) == 3
    assert 'label = "VDD_SOC";' in identity(load_target("jetson-orin-nano"))


def read_archive(packed):
    """Yield name, mode, device number and content of each entry, by the format's description."""
    place = 0
    while packed[place : place + 6] == b"070701":
        fields = [
            int(packed[place + 6 + 8 * n : place + 14 + 8 * n].decode(), 16) for n in range(13)
        ]
        mode, size, major, minor, length = (fields[n] for n in (1, 6, 9, 10, 11))
        name = packed[place + 110 : place + 110 + length]
        assert name.endswith(b"\0")
        start = (place + 110 + length + 3) // 4 * 4
        yield name[:-1].decode(), mode, (major, minor), packed[start : start + size]
        place = (start + size + 3) // 4 * 4
    assert place == len(packed)


def test_initial_ramdisk_is_an_archive_of_folders_programs_and_a_console():
    packed = initial_ramdisk({"init": b"#!/bin/sh\n", "lib/deep/a.ko": b"module", "bin/b": b""})
    found = {name: rest for name, *rest in read_archive(packed)}
    assert list(found) == [
        *("dev", "proc", "root", "lib", "lib/deep", "bin"),
        *("bin/b", "init", "lib/deep/a.ko", "dev/console", "TRAILER!!!"),
    ]
    assert found["lib/deep"] == [0o040755, (0, 0), b""]
    assert found["lib/deep/a.ko"] == [0o100755, (0, 0), b"module"]
    assert found["dev/console"] == [0o020600, (5, 1), b""]


def test_modules_are_loaded_after_those_that_they_need(tmp_path):
    (tmp_path / "modules.dep").write_text(
        "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/lib/crc16.ko\n"
        "kernel/fs/jbd2/jbd2.ko:\nkernel/lib/crc16.ko:\nkernel/drivers/i2c/i2c-dev.ko:\n"
    )
    (tmp_path / "modules.builtin").write_text("kernel/drivers/virtio/virtio.ko\n")
    assert load_order(tmp_path, ("virtio", "ext4", "i2c_dev")) == (
        "kernel/lib/crc16.ko",
        "kernel/fs/jbd2/jbd2.ko",
        "kernel/fs/ext4/ext4.ko",
        "kernel/drivers/i2c/i2c-dev.ko",
    )
    with pytest.raises(DeviceError, match="has no module reiserfs"):
        load_order(tmp_path, ("reiserfs",))


@pytest.fixture
def machine(tmp_path):
    """A monitor's socket, in a folder of a long name; lines answer each line that it is sent."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    server = socket.socket(socket.AF_UNIX)
    threads = []

    def answer(*answers):
        here = os.open(folder, os.O_PATH)
        server.bind(f"/proc/self/fd/{here}/qmp")
        os.close(here)
        server.listen(1)

        def serve():
            connection, _ = server.accept()
            with connection, connection.makefile("rwb") as stream:
                stream.write(b'{"QMP": {}}\n')
                for lines in ([{"return": {}}], *answers):
                    stream.flush()
                    stream.readline()
                    for line in lines:
                        stream.write(json.dumps(line).encode() + b"\n")

        threads.append(threading.Thread(target=serve))
        threads[0].start()
        return folder

    yield answer
    for thread in threads:
        thread.join()
    server.close()


def test_monitors_events_are_passed_over_and_refusals_are_told(machine):
    event = {"event": "STOP"}
    folder = machine([event, {"return": {"status": "paused"}}], [event, {"error": {"desc": "no"}}])
    with Monitor(folder) as monitor:
        assert monitor.execute("query-status") == {"status": "paused"}
        with pytest.raises(DeviceError, match="refused bogus"):
            monitor.execute("bogus")


def test_machine_that_ends_in_mid_answer_is_told(machine):
    folder = machine()
    with Monitor(folder) as monitor, pytest.raises(DeviceError, match="ended or does not answer"):
        monitor.execute("query-status")


def test_no_machine_is_told(tmp_path):
    with pytest.raises(DeviceError, match="no machine answers"):
        Monitor(tmp_path)


@pytest.mark.parametrize(
    ("target", "host_cores", "told"),
    [
        ("rk3566", 1, "4"),
        ("rk3399", 2, "2,2"),
        ("rk3399", 3, "4,2"),
        ("jetson-agx-orin", 4, "8"),
        ("jetson-agx-orin", 64, "12"),
    ],
)
def test_machine_has_no_more_cores_than_the_host_can_run(
    target, host_cores, told, monkeypatch, tmp_path
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(host_cores)))
    cpu = EmulatedCpu(PROGRAM, "7.2", "cortex-a53", exact=False)
    machine = Machine(load_target(target), cpu, tmp_path, tmp_path)
    assert machine.cores == sum(map(int, told.split(",")))
    assert f"edgekit.cores={told} " in machine.key


def test_raspberry_pi_3_alone_gets_qemus_own_machine(tmp_path):
    cpu = EmulatedCpu(PROGRAM, "7.2", "cortex-a53", exact=True)
    kinds = {name: Machine(load_target(name), cpu, tmp_path, tmp_path) for name in ("rpi3", "rpi4")}
    assert [kind.type.name for kind in kinds.values()] == ["raspi3b", "virt"]
    tree = tmp_path / "trees" / "broadcom" / "bcm2837-rpi-3-b.dtb"
    tree.parent.mkdir(parents=True)
    tree.write_bytes(b"Debian's")
    kinds["rpi3"].write_device_tree(tmp_path)
    assert (tmp_path / "board.dtb").read_bytes() == b"Debian's"
    assert "edgekit.disk=/dev/mmcblk0 " in kinds["rpi3"].key
    assert "edgekit.disk=/dev/vda " in kinds["rpi4"].key


def test_command_line_asks_for_the_kind_and_shows_it(asked, monkeypatch, capsys, own_cache):
    def up(target, *, name=None, emit=None):
        folder = own_cache / "boards" / "instances" / (name or target.name)
        mark = mark_process(os.getpid())
        held = BoardState(folder.name, target.name, 20022, "f" * 64, mark, "system")
        write_state(folder, held)
        return instances.running_board(held)

    monkeypatch.setattr(system_mode, "up", up)
    assert run(["board", "up", "rk3566", "--name", "bench", "--kind", "system", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["kind"] == "system"
    assert run(["board", "list"]) == 0
    assert "system" in capsys.readouterr().out
    argv = []
    monkeypatch.setattr(os, "execvp", lambda _, words: argv.extend(words))
    assert run(["board", "ssh", "bench", "--root", "--", "ls", "-l"]) == 0
    assert argv[-3:] == ["root@127.0.0.1", "ls", "-l"]
    assert asked == []
    assert run(["board", "count", "bench", "--", "ls"]) == 2
    assert "system board" in capsys.readouterr().err
