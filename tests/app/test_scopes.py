"""Under what tuning records of this machine count."""

from pathlib import Path

import pytest

from edgekit.app.scopes import scope_of
from edgekit.catalog.targets import load_target

BOARDS = Path(__file__).resolve().parents[1] / "agent" / "boards"
X86 = "processor\t: 0\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel name\t: AMD EPYC\n"
PI_32 = "model name\t: ARMv7 Processor rev 3 (v7l)\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n"

BIG_LITTLE = "".join(
    f"processor\t: {number}\nCPU implementer\t: 0x41\nCPU variant\t: 0x0\nCPU part\t: {part}\n\n"
    for number, part in enumerate(["0xd03"] * 4 + ["0xd08"] * 2)
)


@pytest.fixture
def mcpu(monkeypatch, tmp_path):
    def told(text):
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr("edgekit.app.scopes._CPUINFO", tmp_path / "cpuinfo")
        return scope_of(load_target("local")).fingerprint.mcpu

    return told


def test_local_records_are_kept_under_the_name_of_the_cpu(mcpu):
    assert mcpu(X86) == "native: AMD EPYC"
    assert mcpu("").startswith("native: ")


def test_local_records_of_two_kinds_of_arm_cores_do_not_meet(mcpu):
    assert mcpu((BOARDS / "rk3566/proc/cpuinfo").read_text()) == "native: 0x41 0xd05"
    assert mcpu(BIG_LITTLE) == "native: 0x41 0xd03, 0x41 0xd08"
    assert mcpu(PI_32) == "native: 0x41 0xd08"
