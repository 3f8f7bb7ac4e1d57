"""Programs for boards without Python, compiled for each architecture."""

from typing import get_args

import pytest

from edgekit.core.events import Note
from edgekit.core.names import Architecture
from edgekit.toolbox.programs import program
from edgekit.toolbox.toolchains import glibc_needed

ELF_MACHINES = {"aarch64": 183, "armv7l": 40, "x86_64": 62}


def test_engine_without_a_program_has_none():
    events = []
    assert program("onnxruntime", "aarch64", emit=events.append) is None
    assert events == []


def test_compiler_that_is_not_to_be_had_is_told_and_leaves_the_program_out(toolbox):
    absent = toolbox(f"nosuchpackage==1 --hash=sha256:{'2' * 64}\n", python=">=3.99")
    events = []
    assert program("ncnn", "aarch64", emit=events.append, compiler=absent) is None
    (note,) = [event for event in events if isinstance(event, Note)]
    assert "ncnn-run" in note.text


@pytest.mark.toolbox
@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_program_is_for_the_board_and_any_glibc(monkeypatch, architecture):
    # The user's own cache: the toolbox takes its time to make.
    monkeypatch.delenv("EDGEKIT_CACHE_DIR", raising=False)
    events = []
    file = program("ncnn", architecture, emit=events.append)
    assert file is not None, events
    data = file.source.read_bytes()
    assert data[:4] == b"\x7fELF"
    assert int.from_bytes(data[18:20], "little") == ELF_MACHINES[architecture]
    assert glibc_needed(data) <= (2, 17)
    # ncnn is the board's own: the program starts without it, and says so.
    assert b"libncnn.so.1\x00" in data
    events.clear()
    assert program("ncnn", architecture, emit=events.append) == file
    assert events == []
