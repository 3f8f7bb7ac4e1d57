import dataclasses
import shutil

import pytest

from edgekit.app import doctor
from edgekit.board.requirements import Requirement
from edgekit.catalog.targets import load_target
from edgekit.core.target import DeviceFacts, PythonFacts

# A ROCK 3C with Debian 12, put together from its device tree and the distribution; not recorded.
ROCK_3C = DeviceFacts(
    hostname="rock-3c",
    machine="aarch64",
    kernel="6.1.84",
    os_name="Debian GNU/Linux 12 (bookworm)",
    libc="glibc",
    libc_version="2.36",
    model="Radxa ROCK 3C",
    compatible=("radxa,rock-3c", "rockchip,rk3566"),
    cpu_parts=(0xD05,) * 4,
    cpu_features=("fp", "asimd", "crc32", "asimdhp", "asimddp"),
    cpu_count=4,
    cpu_usable=4,
    memory_total_bytes=2_000_000_000,
    memory_available_bytes=1_500_000_000,
    disk_free_bytes=8_000_000_000,
    pythons=(PythonFacts("/usr/bin/python3", "3.11.2"),),
    agent_version="1",
    home="/root",
    emulated=False,
)


def check_of(checks, name):
    found = [check for check in checks if check.name == name]
    assert len(found) == 1, [check.name for check in checks]
    return found[0]


def changed(**values):
    return dataclasses.replace(ROCK_3C, **values)


def test_sound_device_passes_every_check():
    checks = doctor.doctor_device(ROCK_3C, load_target("rk3566"))
    assert [check for check in checks if not check.ok] == []
    assert {"target", "Python", "disk", "memory"} <= {check.name for check in checks}


def test_device_without_target_is_named_by_what_it_is():
    assert "rk3566" in check_of(doctor.doctor_device(ROCK_3C), "target").detail


def test_device_of_another_kind_is_told_with_the_command_for_its_own():
    check = check_of(doctor.doctor_device(ROCK_3C, load_target("rk3588")), "target")
    assert not check.ok
    assert "rk3566" in (check.fix or "")


def test_full_disk_is_told_with_a_command():
    checks = doctor.doctor_device(changed(disk_free_bytes=1_000_000), load_target("rk3566"))
    check = check_of(checks, "disk")
    assert not check.ok
    assert "1 MB free" in check.detail
    assert check.fix


def test_little_memory_is_told():
    checks = doctor.doctor_device(changed(memory_available_bytes=10_000_000))
    assert not check_of(checks, "memory").ok


def test_facts_that_the_device_does_not_tell_are_no_fault():
    checks = doctor.doctor_device(changed(memory_available_bytes=None, disk_free_bytes=None))
    assert check_of(checks, "memory").ok
    assert check_of(checks, "disk").ok


def test_device_without_python_names_the_package():
    check = check_of(doctor.doctor_device(changed(pythons=())), "Python")
    assert not check.ok
    assert check.fix == "sudo apt-get install -y python3"


def test_libc_that_no_wheel_is_made_for_is_told_for_each_engine():
    checks = doctor.doctor_device(changed(libc="musl"), load_target("rk3566"))
    engines = [check for check in checks if check.name.startswith("engine ")]
    assert engines
    assert not any(check.ok for check in engines)


def test_host_checks_have_a_command_for_every_fault():
    checks = doctor.doctor_host()
    assert check_of(checks, "Python").ok
    assert [check for check in checks if not check.ok and not check.fix] == []


def test_host_tells_what_virtual_boards_lack(monkeypatch):
    missing = Requirement("mmdebstrap", False, "apt-get install -y mmdebstrap")
    monkeypatch.setattr("edgekit.board.requirements.requirements", lambda: (missing,))
    check = check_of(doctor.doctor_host(), "virtual boards: mmdebstrap")
    assert not check.ok
    assert (check.fix or "").endswith("apt-get install -y mmdebstrap")


def test_host_without_the_emulator_that_counts_is_told_and_well(monkeypatch):
    monkeypatch.setattr("edgekit.board.requirements.SYSTEM_PATH", "/nowhere")
    check = check_of(doctor.doctor_host(), "virtual boards: counting instructions")
    assert check.ok
    assert (check.fix or "").endswith("apt-get install --no-install-recommends -y qemu-user")


def test_host_tells_a_mirror_that_is_no_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_MODEL_PATH", str(tmp_path / "absent"))
    check = check_of(doctor.doctor_host(), "model mirror")
    assert not check.ok
    assert check.fix == f"mkdir -p {tmp_path / 'absent'}"


def test_host_tells_a_small_disk(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path))
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    check = check_of(doctor.doctor_host(), "cache")
    assert not check.ok
    assert "1.0 GB free" in check.detail


@pytest.mark.parametrize(
    ("file", "name"), [("config.toml", "settings"), ("devices.toml", "devices")]
)
def test_host_tells_a_broken_file_of_the_user(monkeypatch, tmp_path, file, name):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "edgekit").mkdir()
    (tmp_path / "edgekit" / file).write_text("nonsense = = 1\n", encoding="utf-8")
    check = check_of(doctor.doctor_host(), name)
    assert not check.ok
    assert file in check.detail
