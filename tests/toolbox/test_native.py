"""The steps in C, compiled for boards."""

import platform
from typing import get_args

import numpy as np
import pytest

from edgekit.core.events import Note
from edgekit.core.names import Architecture
from edgekit.onboard import native
from edgekit.onboard.steps import PREPROCESS
from edgekit.toolbox.native import COMPILER, native_steps

ELF_MACHINES = {"aarch64": 183, "armv7l": 40, "x86_64": 62}


def test_compiler_that_is_not_to_be_had_is_told_once_and_costs_only_speed(toolbox, cache):
    absent = toolbox(f"nosuchpackage==1 --hash=sha256:{'0' * 64}\n", python=">=3.99")
    events = []
    assert native_steps("aarch64", emit=events.append, compiler=absent) is None
    (note,) = [event for event in events if isinstance(event, Note)]
    assert "NumPy" in note.text
    events.clear()
    assert native_steps("aarch64", emit=events.append, compiler=absent) is None
    assert events == []
    assert not list((cache / "native").glob("[0-9a-f]*"))


def test_compiler_missed_with_one_cache_is_asked_for_again_with_another(
    toolbox, tmp_path, monkeypatch
):
    absent = toolbox(f"nosuchpackage==1 --hash=sha256:{'1' * 64}\n", python=">=3.99")
    for name in ("one", "other"):
        monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / name))
        events = []
        assert native_steps("aarch64", emit=events.append, compiler=absent) is None
        assert any(isinstance(event, Note) for event in events)


def test_machine_that_no_target_is_has_no_library():
    events = []
    assert native_steps("riscv64", emit=events.append) is None
    assert events == []


def test_names_agree_on_both_sides():
    from edgekit.core.bundle import STEPS_FILE

    assert STEPS_FILE == native.FILE_NAME
    assert ELF_MACHINES.keys() == set(get_args(Architecture))


@pytest.fixture
def users_cache(monkeypatch):
    """The user's own cache: the toolbox takes its time to make."""
    monkeypatch.delenv("EDGEKIT_CACHE_DIR")


@pytest.mark.toolbox
@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_library_is_for_the_board_and_needs_no_other(users_cache, architecture):
    events = []
    file = native_steps(architecture, emit=events.append)
    assert file is not None, events
    data = file.source.read_bytes()
    assert data[:4] == b"\x7fELF"
    assert int.from_bytes(data[18:20], "little") == ELF_MACHINES[architecture]
    # What is not found on the board would be found out at the first call.
    assert b"__aeabi" not in data
    assert b"libc.so" not in data
    events.clear()
    assert native_steps(architecture, emit=events.append) == file
    assert events == []


@pytest.mark.toolbox
def test_library_for_this_machine_is_taken_up(users_cache):
    machine = platform.machine()
    if machine not in ELF_MACHINES:
        pytest.skip(f"no board has a {machine}")
    file = native_steps(machine, emit=lambda _event: None)
    frame = np.random.RandomState(0).randint(0, 256, (48, 64, 3), np.uint8)
    expected = PREPROCESS["letterbox"]({"size": [32, 32]})(frame)["images"]
    try:
        assert native.take_up(str(file.source)) == ""
        tensor = PREPROCESS["letterbox"]({"size": [32, 32]})(frame)["images"]
    finally:
        native.put_down()
    np.testing.assert_array_equal(tensor, expected)


def test_compiler_is_locked_by_hash():
    lock = COMPILER.requirements.read_text(encoding="utf-8")
    assert lock.startswith("ziglang==")
