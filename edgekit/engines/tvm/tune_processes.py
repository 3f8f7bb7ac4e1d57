"""Processes that compile candidates on this machine. Runs in the toolbox of tuning.

One that crashes, or takes too long, costs the candidate that it compiled and is replaced.
"""

import base64
import contextlib
import json
import queue
import signal
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

Compiled = tuple[bytes | None, str]

_DEATH_S = 10.0  # for a process whose output is closed to be gone: it may write its core


class Processes:
    """So many processes, each with one candidate at a time.

    Args:
        command: starts one that speaks as ``tune_process`` does.
        limit_s: after which a candidate is given up.
    """

    def __init__(self, command: Sequence[str], count: int, limit_s: float) -> None:
        self._command = command
        self._limit_s = limit_s
        self._closed = False
        # A thread for each waits for its answers.
        self._threads = ThreadPoolExecutor(count)
        self._all: list[_Process] = []
        self._free: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(self._started())

    def submit(self, module: str, target: str, tvm: str) -> "Future[Compiled]":
        """Have a function compiled: see ``tune_kernel.compile_kernel``."""
        asked = json.dumps({"module": module, "target": target, "tvm": tvm})
        return self._threads.submit(self._compile, asked)

    def close(self) -> None:
        """End them, whatever they are at."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in tuple(self._all):
            process.kill()
        # Threads that waited for them go on; one may have begun a last process.
        self._threads.shutdown()
        for process in self._all:
            process.kill()
            process.obituary()

    def _started(self) -> "_Process":
        process = _Process(self._command)
        self._all.append(process)
        return process

    def _compile(self, asked: str) -> Compiled:
        process = self._free.get()
        try:
            line = process.answer(asked, self._limit_s)
            if line:
                said = json.loads(line)
                code = said["object"]
                return None if code is None else base64.b64decode(code), said["error"]
            self._all.remove(process)
            why = process.obituary()
            if not self._closed:
                process = self._started()
        finally:
            self._free.put(process)
        return None, why


class _Process:
    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._overdue_s: float | None = None

    def answer(self, asked: str, limit_s: float) -> str:
        """Return a line's answer; an empty one of a process that died or took too long."""
        ask, answers = self._process.stdin, self._process.stdout
        if ask is None or answers is None:
            raise AssertionError  # both are pipes

        def end() -> None:
            self._overdue_s = limit_s
            self.kill()

        timer = threading.Timer(limit_s, end)
        timer.daemon = True
        timer.start()
        try:
            ask.write(asked + "\n")
            ask.flush()
            return answers.readline()
        except OSError:
            return ""
        finally:
            timer.cancel()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def obituary(self) -> str:
        """Return what ended it: it gives no answer any more."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what was asked and never read
                    stream.close()
        try:
            status = self._process.wait(_DEATH_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        if self._overdue_s is not None:
            return f"it was not compiled within {self._overdue_s:g} s"
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        return f"it ended its compiler with {how}"
