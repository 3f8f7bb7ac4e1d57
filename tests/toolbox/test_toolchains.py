"""Toolchains: which is taken, and that what they make runs on an old glibc."""

import sys
from pathlib import Path
from typing import get_args

import pytest

from edgekit.core.names import Architecture
from edgekit.toolbox import toolchains
from edgekit.toolbox.toolchains import Toolchain, compile_with, glibc_needed, zig_target

OLD, NEW = b"\x7fELF GLIBC_2.17\0GLIBC_2.27\0", b"\x7fELF GLIBC_2.17\0GLIBC_2.34\0"


def writer(content):
    """Return what runs a command by writing its last argument."""
    commands = []

    def run(command):
        commands.append(command)
        Path(command[-1]).write_bytes(content[command[0]])

    return run, commands


def test_every_architecture_has_a_triple():
    assert set(toolchains.TRIPLES) == set(get_args(Architecture))


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_zig_is_told_the_oldest_glibc(architecture):
    option, triple = zig_target(architecture, "2.27")
    assert option == "-target"
    assert triple.endswith(".2.27")
    assert zig_target(architecture)[1] == triple.removesuffix(".2.27")


def test_debians_compiler_comes_first_and_zig_runs_in_this_python(monkeypatch):
    monkeypatch.setattr(toolchains.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(toolchains.importlib.util, "find_spec", lambda _name: object())
    debian, zig = toolchains.toolchains("aarch64", "2.27")
    assert debian.command == ("/usr/bin/aarch64-linux-gnu-gcc",)
    assert zig.command[:4] == (sys.executable, "-m", "ziglang", "cc")
    assert "aarch64-linux-gnu.2.27" in zig.command
    assert zig.environment["ZIG_GLOBAL_CACHE_DIR"].startswith(sys.prefix)


def test_no_compiler_at_all_is_no_toolchain(monkeypatch):
    monkeypatch.setattr(toolchains.shutil, "which", lambda _name: None)
    monkeypatch.setattr(toolchains.importlib.util, "find_spec", lambda _name: None)
    assert toolchains.toolchains("aarch64", "2.27") == ()
    assert toolchains.how_to_install("aarch64") == "sudo apt install gcc-aarch64-linux-gnu"


def test_glibc_needed_is_the_newest_of_all():
    assert glibc_needed(NEW) == (2, 34)
    assert glibc_needed(b"GLIBC_2.9\0GLIBC_2.17\0") == (2, 17)
    assert glibc_needed(b"nothing") == (0, 0)
    assert glibc_needed(b"GLIBCXX_3.4.20\0") == (0, 0)


def test_compile_takes_the_first_whose_work_is_old_enough(tmp_path):
    found = (Toolchain("debian", ("gcc",)), Toolchain("ziglang", ("zig",)))
    run, commands = writer({"gcc": OLD, "zig": OLD})
    made = compile_with(found, tmp_path / "a.so", ["a.o"], glibc="2.27", run=run)
    assert made.name == "debian"
    assert commands == [["gcc", "a.o", "-o", str(tmp_path / "a.so")]]


def test_compile_throws_away_what_asks_for_a_newer_glibc(tmp_path):
    found = (Toolchain("debian", ("gcc",)), Toolchain("ziglang", ("zig",)))
    run, _ = writer({"gcc": NEW, "zig": OLD})
    made = compile_with(found, tmp_path / "a.so", [], glibc="2.27", run=run)
    assert made.name == "ziglang"
    assert (tmp_path / "a.so").read_bytes() == OLD


def test_compile_that_nothing_can_says_what_the_last_one_said(tmp_path):
    run, _ = writer({"gcc": NEW})
    with pytest.raises(RuntimeError, match=r"gcc made needs glibc 2\.34, not 2\.27"):
        compile_with((Toolchain("gcc", ("gcc",)),), tmp_path / "a.so", [], glibc="2.27", run=run)
    assert not (tmp_path / "a.so").exists()

    def fails(_command):
        raise RuntimeError("gcc ended with 1: no such header")

    with pytest.raises(RuntimeError, match="no such header"):
        compile_with((Toolchain("gcc", ("gcc",)),), tmp_path / "a.so", [], glibc="2.27", run=fails)
