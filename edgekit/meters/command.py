"""A command that prints watts: line after line, or one line each time it is called."""

import shlex
import shutil
import threading
import time
from pathlib import Path
from typing import Final

from edgekit.core.errors import UnreachableError, UsageError
from edgekit.meters.address import MeterAddress
from edgekit.meters.log import Log, ReadingError, microwatts
from edgekit.meters.process import Ended, Lines, Process

_RESTART_S: Final = 1.0
_SHOWN: Final = 60


def check_command(address: MeterAddress) -> None:
    """Look for the command, without starting it.

    Raises:
        UsageError: there is none that could be run.
    """
    command = address.argv[0]
    if shutil.which(command) is None:
        raise UsageError(
            f"meter command {command!r} is not there or cannot be run",
            hint="give its path, as in command:./read-watts, and make it executable",
        )


class CommandSource:
    """A command; one that goes on printing paces itself, one that ends is called again."""

    def __init__(self, address: MeterAddress) -> None:
        program, *words = address.argv
        self.name = shlex.join([Path(program).name, *words])[:_SHOWN]
        self.paces_itself = False
        self._address = address
        self._process: Process | None = None

    def open(self) -> None:
        """Start it and wait for its first line."""
        check_command(self._address)
        try:
            self._process = Process(self._address.argv)
            came = self._process.lines(self._address.timeout_s, threading.Event())
            if isinstance(came, Ended):
                came.check()
        except (ReadingError, OSError) as error:
            raise UnreachableError(
                f"meter command {self._address.target!r} gives no reading: {error}",
                hint="run it by hand; timeout= allows for longer",
            ) from error
        line = came.texts[0] if isinstance(came, Lines) else ""
        try:
            microwatts(line, self._address.scale)
        except ReadingError as error:
            if error.kind != "negative":
                raise UsageError(
                    f"meter command {self._address.target!r} prints {error}, not watts",
                    hint="have it print one number a line; scale= turns another unit into watts",
                ) from error

    def sample(self, log: Log, stopped: threading.Event) -> None:
        """Follow it, and start it again whenever it has ended."""
        period = 1 / self._address.asked_hz
        while not (stopped.is_set() or log.is_full):
            began = time.monotonic()
            is_fine = self._once(log, stopped)
            pause = period if is_fine else max(period, _RESTART_S)
            log.missed_rounds += 0 if self.paces_itself else int((time.monotonic() - began) / pause)
            stopped.wait(pause - (time.monotonic() - began) % pause)
        self._end(log)

    def close(self) -> None:
        """Kill it and all that it started."""
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _once(self, log: Log, stopped: threading.Event) -> bool:
        """Start it, or take it as ``open`` left it, and follow it to its end."""
        began_ns = time.monotonic_ns()
        fault: ReadingError | None = None
        try:
            if self._process is None:
                self._process = Process(self._address.argv)
            ended = self._follow(self._process, began_ns, log, stopped)
            if ended is not None:
                ended.check()
        except ReadingError as error:
            fault = error
        except OSError as error:
            fault = ReadingError("vanished", str(error))
        self._end(log)
        if fault is not None:
            log.fault(fault, time.monotonic_ns())
        return fault is None

    def _follow(
        self, process: Process, began_ns: int, log: Log, stopped: threading.Event
    ) -> Ended | None:
        """Take down its lines until it ends, or until it is stopped."""
        first: Lines | None = None
        while not log.is_full:
            came = process.lines(self._address.timeout_s, stopped)
            if came is None:
                return None
            if isinstance(came, Ended):
                # Called for one line: what it says was true while it ran.
                if first is not None:
                    log.rounds += 1
                    log.answer(first.texts[-1], began_ns, first.came_ns)
                return came
            if process.line_count > len(came.texts):
                self.paces_itself = True
                if first is not None:
                    _take(first, log)
                _take(came, log)
                first = None
            else:
                first = came
        return None

    def _end(self, log: Log) -> None:
        process, self._process = self._process, None
        if process is not None:
            log.cpu_s += process.end()


def _take(lines: Lines, log: Log) -> None:
    # Of lines that come together only the last is of now; when the others were, nobody knows.
    for text in lines.texts[:-1]:
        log.rounds += 1
        held = ReadingError("late", f"{text[:24]!r} came with the next: let it flush every line")
        log.fault(held, lines.came_ns)
    log.rounds += 1
    log.answer(lines.texts[-1], lines.came_ns, lines.came_ns)
