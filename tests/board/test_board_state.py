"""What is written down of a board, and knowing its process again."""

import os
import subprocess
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.board.privilege import Privilege
from edgekit.board.process import ProcessMark, child_of, is_alive, kill_board, mark_process
from edgekit.board.state import STATE_FILE, BoardState, forget_state, read_state, write_state

STATE = BoardState("bench", "rk3566", 20022, "f" * 64, ProcessMark(1234, 5678, "boot"))


def test_state_reads_back_as_written(tmp_path):
    write_state(tmp_path, STATE)
    assert read_state(tmp_path) == STATE
    forget_state(tmp_path)
    assert read_state(tmp_path) is None
    forget_state(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"process": {}}', '{"process": 3}', "\udcff"],
)
def test_state_that_makes_no_sense_counts_as_none(tmp_path, text):
    (tmp_path / STATE_FILE).write_text(text, errors="surrogateescape")
    assert read_state(tmp_path) is None


def test_state_with_a_wrong_type_counts_as_none(tmp_path):
    write_state(tmp_path, replace(STATE, port="20022"))
    assert read_state(tmp_path) is None


@settings(deadline=None)
@given(cut=st.integers(min_value=0, max_value=200))
def test_state_cut_short_counts_as_none(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("state")
    write_state(folder, STATE)
    whole = (folder / STATE_FILE).read_bytes()
    (folder / STATE_FILE).write_bytes(whole[: min(cut, len(whole) - 3)])
    assert read_state(folder) is None


def test_own_process_is_alive_and_its_likeness_is_not():
    mark = mark_process(os.getpid())
    assert is_alive(mark)
    assert not is_alive(replace(mark, start_ticks=mark.start_ticks + 1))
    assert not is_alive(replace(mark, boot_id="another boot"))


def test_process_that_ended_has_no_mark():
    with subprocess.Popen(["sleep", "60"]) as child:
        mark = mark_process(child.pid)
        assert is_alive(mark)
        child.kill()
        # Dead but not yet waited for: a zombie runs nothing any more.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(mark)
    assert mark_process(child.pid) is None


@pytest.fixture
def parent_and_child():
    """A shell that waits for its child and then says so by its exit status."""
    with subprocess.Popen(["sh", "-c", "sleep 60; exit 7"]) as shell:
        while child_of(shell.pid) is None:
            time.sleep(0.01)
        yield shell
        shell.kill()


def test_kill_board_ends_the_child_and_leaves_the_parent_to_end_by_itself(parent_and_child):
    kill_board(mark_process(parent_and_child.pid), Privilege())
    assert parent_and_child.wait(timeout=20) == 7


def test_kill_board_spares_a_stranger_with_the_same_id(parent_and_child):
    mark = mark_process(parent_and_child.pid)
    child = mark_process(child_of(parent_and_child.pid))
    kill_board(replace(mark, start_ticks=mark.start_ticks - 1), Privilege())
    assert is_alive(mark)
    assert is_alive(child)
    kill_board(child, Privilege())
