"""A kernel that crashes, hangs or cannot be loaded is a result; the ones after it are timed."""

import ctypes
import faulthandler
import json
import os
import signal
import time

import pytest

from edgekit.engines.tvm import runner_kernels

PLAN = {"min_seconds": 0.05, "samples": 3, "limit_s": 0.5}
ARGUMENTS = [[2, 32, [1, 3]], [0, 64, [4]]]


class Native:
    """Stands for ``libsession.so``; what a kernel does follows from its name.

    Args:
        counts: where the emulator would write what lies before and between the marks.
    """

    def __init__(self, counts=None):
        self.memory = []
        self.counts = counts
        self.runs = 0

    def tvm_session_load(self, library, function):
        assert function == b"main"
        self.does = library.decode()
        return None if self.does == "not loadable" else 1

    def tvm_session_argument(self, kernel, code, bits, rank, sizes):
        self.memory.append(ctypes.create_string_buffer(bits // 8 * 16))
        return ctypes.addressof(self.memory[-1])

    def tvm_session_run(self, kernel):
        if self.does == "crash":
            faulthandler.disable()  # pytest's, which would print all of its stack
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.does == "hang":
            time.sleep(60)
        if self.does == "exit":
            os._exit(3)
        time.sleep(0.001)
        self.runs += 1
        return 1 if self.does == "refuse" else 0

    def tvm_session_run_marked(self, kernel):
        before = {"child": True, "end": "mark", "instructions": 7_000_000}
        status = self.tvm_session_run(kernel)
        if self.counts:
            with self.counts.open("a") as stream:
                for line in (before, {**before, "instructions": 1234}):
                    stream.write(json.dumps(line) + "\n")
        return status

    def tvm_session_error(self):
        return b"TVM would not"


def time_kernel(does):
    return runner_kernels._apart(Native(), does, ARGUMENTS, PLAN)


@pytest.mark.parametrize(
    ("does", "failure", "words"),
    [
        ("not loadable", "run_error", "TVM would not"),
        ("refuse", "run_error", "TVM would not"),
        ("crash", "run_error", "SIGSEGV"),
        ("exit", "run_error", "status 3"),
        ("hang", "timeout", "0.5 s"),
    ],
)
def test_bad_kernel_is_a_failure_of_its_own(does, failure, words):
    answer = time_kernel(does)
    assert answer["failure"] == failure
    assert words in answer["detail"]


def test_good_kernel_is_timed_several_times():
    seconds = time_kernel("well")["seconds"]
    assert len(seconds) == PLAN["samples"]
    assert all(sample >= 0.001 for sample in seconds)


def test_kernel_that_is_counted_is_run_once_to_warm_up_and_once_between_marks(tmp_path):
    counts = tmp_path / "counts"
    counts.write_text('{"child": true, "end": "exit", "instructions": 5}\n')
    native = Native(counts)
    found = runner_kernels._measured(native, "well", ARGUMENTS, {**PLAN, "counts": str(counts)})
    assert found == {"instructions": 1234}
    assert native.runs == 2


@pytest.mark.parametrize(
    ("does", "failure", "words"),
    [
        ("refuse", "run_error", "TVM would not"),
        ("crash", "run_error", "SIGSEGV"),
        ("well", "run_error", "counts nothing"),
    ],
)
def test_kernel_that_cannot_be_counted_is_a_failure(does, failure, words, tmp_path):
    counts = tmp_path / "counts"
    counts.touch()
    plan = {**PLAN, "counts": str(counts)}
    answer = runner_kernels._apart(Native(), does, ARGUMENTS, plan)
    assert answer["failure"] == failure
    assert words in answer["detail"]


def test_floats_are_filled_and_indices_stay_zero():
    native = Native()
    assert "seconds" in runner_kernels._measured(native, "well", ARGUMENTS, PLAN)
    floats, indices = native.memory
    assert floats.raw[:12] == b"\x3c" * 12
    assert set(floats.raw[12:]) == {0}
    assert set(indices.raw) == {0}
