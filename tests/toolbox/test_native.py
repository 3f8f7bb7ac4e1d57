"""What is written in C, compiled for boards."""

import platform
from typing import get_args

import numpy as np
import pytest

from device_agent import jobs
from device_agent.power.native import load
from device_agent.power.rail import Rail
from device_agent.power.sampler import Sampler
from edgekit.core.bundle import SAMPLER_FILE, STEPS_FILE
from edgekit.core.events import Note
from edgekit.core.names import Architecture
from edgekit.onboard import native
from edgekit.onboard.steps import PREPROCESS
from edgekit.toolbox.native import COMPILER, native_libraries

ELF_MACHINES = {"aarch64": 183, "armv7l": 40, "x86_64": 62}


def test_compiler_that_is_not_to_be_had_is_told_once_and_costs_only_speed(toolbox, cache):
    absent = toolbox(f"nosuchpackage==1 --hash=sha256:{'0' * 64}\n", python=">=3.99")
    events = []
    assert native_libraries("aarch64", emit=events.append, compiler=absent) == ()
    (note,) = [event for event in events if isinstance(event, Note)]
    assert "NumPy" in note.text
    events.clear()
    assert native_libraries("aarch64", emit=events.append, compiler=absent) == ()
    assert events == []
    assert not list((cache / "native").glob("[0-9a-f]*"))


def test_compiler_missed_with_one_cache_is_asked_for_again_with_another(
    toolbox, tmp_path, monkeypatch
):
    absent = toolbox(f"nosuchpackage==1 --hash=sha256:{'1' * 64}\n", python=">=3.99")
    for name in ("one", "other"):
        monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / name))
        events = []
        assert native_libraries("aarch64", emit=events.append, compiler=absent) == ()
        assert any(isinstance(event, Note) for event in events)


def test_machine_that_no_target_is_has_no_library():
    events = []
    assert native_libraries("riscv64", emit=events.append) == ()
    assert events == []


def test_names_agree_on_both_sides():
    assert STEPS_FILE == native.FILE_NAME
    assert SAMPLER_FILE == jobs.SAMPLER
    assert ELF_MACHINES.keys() == set(get_args(Architecture))


@pytest.fixture
def users_cache(monkeypatch):
    """The user's own cache: the toolbox takes its time to make."""
    monkeypatch.delenv("EDGEKIT_CACHE_DIR")


@pytest.mark.toolbox
@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_libraries_are_for_the_board_and_need_no_other(users_cache, architecture):
    events = []
    files = native_libraries(architecture, emit=events.append)
    assert [file.path for file in files] == [STEPS_FILE, SAMPLER_FILE], events
    for file in files:
        data = file.source.read_bytes()
        assert data[:4] == b"\x7fELF"
        assert int.from_bytes(data[18:20], "little") == ELF_MACHINES[architecture]
        # What is not found on the board would be found out at the first call.
        assert b"__aeabi" not in data
        assert b"libc.so" not in data
    events.clear()
    assert native_libraries(architecture, emit=events.append) == files
    assert events == []


def libraries_for_this_machine():
    machine = platform.machine()
    if machine not in ELF_MACHINES:
        pytest.skip(f"no board has a {machine}")
    return native_libraries(machine, emit=lambda _event: None)


@pytest.mark.toolbox
def test_steps_for_this_machine_are_taken_up(users_cache):
    file, _sampler = libraries_for_this_machine()
    frame = np.random.RandomState(0).randint(0, 256, (48, 64, 3), np.uint8)
    expected = PREPROCESS["letterbox"]({"size": [32, 32]})(frame)["images"]
    try:
        assert native.take_up(str(file.source)) == ""
        tensor = PREPROCESS["letterbox"]({"size": [32, 32]})(frame)["images"]
    finally:
        native.put_down()
    np.testing.assert_array_equal(tensor, expected)


@pytest.mark.toolbox
def test_sampler_for_this_machine_reads_files(users_cache, tmp_path):
    _steps, file = libraries_for_this_machine()
    (tmp_path / "power").write_text("3125000\n")
    rail = Rail("hwmon", "ina226 0-0040", "VIN").reads([str(tmp_path / "power")])
    rail.open()
    loop = load(str(file.source), file.sha256)
    sampler = Sampler([rail], 200, most_samples=5, native=loop)
    sampler.run()
    rail.close()
    assert sampler.series[0].values.tolist() == [3_125_000] * 5
    assert sampler.as_json()["loop"] == "c"


def test_compiler_is_locked_by_hash():
    lock = COMPILER.requirements.read_text(encoding="utf-8")
    assert lock.startswith("ziglang==")
