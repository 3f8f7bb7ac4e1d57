"""A Dask cluster on this machine, started as a user starts one, ended by its own processes."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

WITHIN_S = 120.0
COMES = "Register worker"
EDGEKIT = (sys.executable, "-m", "edgekit", "cluster")


class Cluster:
    """A scheduler on a free port, and the workers that were added."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.log = folder / "scheduler.log"
        self.processes = []
        self.scheduler = self._start(self.log, [*EDGEKIT, "scheduler", "--port", "0"])
        found = self._wait(r"Scheduler at: +tcp://(\S+)")
        self.address = found[-1]

    def add_worker(self, command=None, environment=None):
        """Start a worker of one process; return it when the scheduler has it."""
        count = len(re.findall(COMES, self.log.read_text()))
        log = self._folder / f"worker-{len(self.processes)}.log"
        command = command or [*EDGEKIT, "worker", self.address, "--processes", "1"]
        worker = self._start(log, command, environment)
        self._wait(COMES, count + 1)
        return worker

    def end(self, process, number=signal.SIGTERM):
        """End a process and what it started."""
        if process.poll() is None:
            os.killpg(process.pid, number)
        process.wait(30)

    def close(self):
        """End all, the workers first."""
        for process in reversed(self.processes):
            self.end(process)

    def _start(self, log, command, environment=None):
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=environment,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def _wait(self, pattern, count=1):
        deadline = time.monotonic() + WITHIN_S
        while len(found := re.findall(pattern, self.log.read_text())) < count:
            assert time.monotonic() < deadline, self.log.read_text()
            assert self.scheduler.poll() is None, self.log.read_text()
            time.sleep(0.1)
        return found
