"""The face plate: what the real device agent reads off it is the target."""

import pytest

from device_agent.probe import Roots, facts
from edgekit.board.face_plate import face_plate, write_face_plate
from edgekit.catalog.targets import load_target, match_target, target_names
from edgekit.core.target import DeviceFacts, PythonFacts

BOARDS = [name for name in target_names() if load_target(name).architecture != "x86_64"]


@pytest.fixture
def read_off(tmp_path):
    """Write a target's face plate and let the agent read it, as on a board of its machine."""

    def read(name):
        target = load_target(name)
        write_face_plate(face_plate(target, target.features), tmp_path)
        roots = Roots(str(tmp_path / "proc"), str(tmp_path / "sys"), str(tmp_path / "etc"))
        table = facts(roots, str(tmp_path)) | {"machine": target.architecture}
        table["compatible"] = tuple(table["compatible"])
        table["pythons"] = tuple(PythonFacts(**python) for python in table["pythons"])
        return target, DeviceFacts(**table)

    return read


@pytest.mark.parametrize("name", BOARDS)
def test_face_plate_shows_the_agent_the_target(read_off, name):
    target, seen = read_off(name)
    expected = [c.midr_part for c in target.clusters for _ in range(c.count)]
    assert list(seen.cpu_parts) == expected
    assert tuple(seen.cpu_features) == target.features
    assert seen.cpu_count == target.cores
    assert seen.compatible == target.compatible
    assert seen.model == f"{target.soc} virtual board"


@pytest.mark.parametrize("name", BOARDS)
def test_face_plate_is_recognised_as_its_own_target(read_off, name):
    _, seen = read_off(name)
    assert match_target(seen) == name


def test_face_plate_numbers_the_cores_of_two_clusters_on():
    files = face_plate(load_target("rk3399"), ("fp",))
    cpu = "sys/devices/system/cpu"
    assert files[f"{cpu}/present"] == b"0-5\n"
    assert files[f"{cpu}/cpu3/regs/identification/midr_el1"] == b"0x00000000410fd030\n"
    assert files[f"{cpu}/cpu4/regs/identification/midr_el1"] == b"0x00000000410fd080\n"
    assert files[f"{cpu}/cpu4/cpufreq/related_cpus"] == b"4-5\n"
    assert files[f"{cpu}/cpu4/topology/core_id"] == b"0\n"
    assert files[f"{cpu}/cpu4/topology/core_cpus"] == b"10\n"
    assert files[f"{cpu}/cpu4/topology/core_cpus_list"] == b"4\n"
    assert files[f"{cpu}/cpu4/topology/package_cpus"] == b"3f\n"
    assert files[f"{cpu}/cpu4/topology/package_cpus_list"] == b"0-5\n"


def test_face_plate_names_the_maker_of_the_core():
    info = face_plate(load_target("jetson-xavier-nx"), ())["proc/cpuinfo"].decode()
    assert "CPU implementer\t: 0x4e\n" in info
    assert "CPU part\t: 0x004\n" in info


def test_face_plate_of_32_bit_speaks_as_a_32_bit_kernel():
    info = face_plate(load_target("rpi3-32"), ("neon",))["proc/cpuinfo"].decode()
    assert info.count("model name\t: ARMv7 Processor") == 4
    assert info.count("CPU architecture: 7\n") == 4
