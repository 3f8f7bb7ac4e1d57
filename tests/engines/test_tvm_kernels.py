"""A kernel that crashes, hangs or cannot be loaded is a result; the ones after it are timed."""

import ctypes
import faulthandler
import os
import signal
import time

import pytest

from edgekit.engines.tvm import runner_kernels

PLAN = {"min_seconds": 0.002, "samples": 3, "limit_s": 0.5}
ARGUMENTS = [[2, 32, [1, 3]], [0, 64, [4]]]


class Native:
    """Stands for ``libsession.so``; what a kernel does follows from its name."""

    def __init__(self):
        self.memory = []

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
        return 1 if self.does == "refuse" else 0

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


def test_floats_are_filled_and_indices_stay_zero():
    native = Native()
    assert runner_kernels._timed(native, "well", ARGUMENTS, PLAN)
    floats, indices = native.memory
    assert floats.raw[:12] == b"\x3c" * 12
    assert set(floats.raw[12:]) == {0}
    assert set(indices.raw) == {0}
