"""Counting from the app: which compiler makes the plugin."""

import shutil
from pathlib import Path

import pytest

from edgekit.app import counting
from edgekit.core.errors import DeviceError, UnknownNameError
from edgekit.core.events import ignore


def test_compiler_is_the_hosts_own_where_there_is_one(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert counting.host_compiler(emit=ignore) == ("/usr/bin/cc",)


@pytest.mark.toolbox
@pytest.mark.slow
def test_toolboxs_compiler_makes_the_plugin(monkeypatch, tmp_path):
    from edgekit.board import counting_kit

    monkeypatch.setattr(counting.shutil, "which", lambda name: None)
    command = counting.host_compiler(emit=ignore)
    assert command[1:] == ("-m", "ziglang", "cc")
    counting_kit._compile(command, tmp_path / "plugin.so")
    content = (tmp_path / "plugin.so").read_bytes()
    assert content.startswith(b"\x7fELF")
    assert b"qemu_plugin_install\0" in content


def test_counting_asks_for_a_board_that_is_up(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path))
    with pytest.raises(UnknownNameError):
        counting.count_on_board("rk3566", ["true"])
    Path(tmp_path / "boards" / "instances" / "rk3566").mkdir(parents=True)
    with pytest.raises(DeviceError, match="not up"):
        counting.count_on_board("rk3566", ["true"])
