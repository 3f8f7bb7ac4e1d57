"""The emulator that counts, made or refused."""

from shutil import which

import pytest

from edgekit.board import counting_kit as kits
from edgekit.board import requirements
from edgekit.board.counts import InstructionCount, MemoryAccesses, per_round
from edgekit.core.errors import DeviceError, UsageError
from edgekit.core.events import ignore


def _never():
    pytest.fail("no compiler is needed here")


def _emulator(folder, says):
    """A program that answers to -h, in place of the host's emulator."""
    program = folder / "bin" / "qemu-aarch64"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    return program.parent


def test_missing_emulator_is_told_with_the_command(own_cache, monkeypatch):
    monkeypatch.setattr(kits, "SYSTEM_PATH", "/nowhere")
    monkeypatch.setattr(requirements, "SYSTEM_PATH", "/nowhere")
    assert not requirements.counting_requirement().present
    with pytest.raises(DeviceError, match="qemu-aarch64 is not installed") as raised:
        kits.counting_kit("aarch64", _never, emit=ignore)
    assert "apt-get install --no-install-recommends -y qemu-user`" in raised.value.hint
    with pytest.raises(DeviceError, match="qemu-arm is not installed"):
        kits.counting_kit("armv7l", _never, emit=ignore)


def test_emulator_without_plugins_is_refused(own_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(kits, "SYSTEM_PATH", str(_emulator(tmp_path, "-cpu model")))
    with pytest.raises(DeviceError, match="takes no plugins"):
        kits.counting_kit("aarch64", _never, emit=ignore)
    assert not list((own_cache / "counting").glob("[0-9a-f]*"))


def test_plugin_that_does_not_compile_leaves_no_kit(own_cache, tmp_path, monkeypatch):
    if which("ldd") is None:
        pytest.skip("a kit is made with the host's ldd")
    folder = _emulator(tmp_path, "-plugin file")
    monkeypatch.setattr(kits, "SYSTEM_PATH", str(folder))
    monkeypatch.setattr(kits, "_said", lambda command: "-plugin\n\t/bin/sh (0x0)\n")
    with pytest.raises(DeviceError, match="could not be compiled by false"):
        kits.counting_kit("aarch64", lambda: ("false",), emit=ignore)
    with pytest.raises(DeviceError, match="could not be compiled"):
        kits.counting_kit("aarch64", lambda: ("/nowhere/cc",), emit=ignore)
    assert not list((own_cache / "counting").glob("[0-9a-f]*"))


def test_round_is_the_difference_by_the_rounds():
    fewer = InstructionCount(1_000, 10, 100, 200, MemoryAccesses(150, 50, 1_200, 400))
    more = InstructionCount(1_700, 17, 170, 340, MemoryAccesses(255, 85, 2_040, 680), 7)
    accesses = MemoryAccesses(15, 5, 120, 40)
    assert per_round(fewer, more, 7) == InstructionCount(100, 1, 10, 20, accesses, 1)
    narrow = InstructionCount(1_000, None, None, None)
    assert per_round(narrow, more, 7) == InstructionCount(100, None, None, None, None, 1)
    with pytest.raises(UsageError, match="are not those of 7 more rounds"):
        per_round(more, fewer, 7)
