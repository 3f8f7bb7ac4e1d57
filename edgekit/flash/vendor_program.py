"""Runs a vendor's program, hears what it says while it says it, and never leaves it behind.

It runs on a terminal of its own: such programs hold back what they print to a pipe, four
kilobytes at a time, and progress would come in lumps. Its input is empty, so one that asks for
something hears the end instead of waiting for ever.
"""

import contextlib
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.core.errors import FlashError
from edgekit.core.flash_method import VendorTool

_LOOK_S: Final = 0.2
_BLOCK_BYTES: Final = 1 << 16
_MOST_LINE_BYTES: Final = 1 << 16
_KEPT_LINES: Final = 400
_ESCAPE: Final = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]")
_LINE_END: Final = re.compile(rb"[\r\n]+")

Heard = Callable[[str], None]


def no_reason() -> str | None:
    """Answer that there is no reason to stop."""
    return None


@dataclass(frozen=True)
class Limits:
    """When a program is given up.

    Attributes:
        silence_s: seconds without a word after which it hangs.
        reason: asked several times a second; what it answers ends the program, in words.
    """

    silence_s: float
    reason: Callable[[], str | None] = no_reason


@dataclass(frozen=True)
class Said:
    """How a program ended and what it said last."""

    status: int
    lines: tuple[str, ...]

    def last(self, count: int = 6) -> str:
        """Return its last lines, indented."""
        return "\n".join(f"  {line}" for line in self.lines[-count:])


def find_program(tool: VendorTool) -> Path:
    """Return where a vendor's program is.

    Raises:
        FlashError: it is not in ``PATH``; the hint is the command that installs it.
    """
    found = shutil.which(tool.program)
    if found is None:
        raise FlashError(f"{tool.program} is not installed", hint=tool.install)
    return Path(found)


def run_program(
    command: Sequence[str], heard: Heard, limits: Limits, *, cwd: Path | None = None
) -> Said:
    """Run ``command`` to its end; ``heard`` gets each line, without colours, as it comes.

    A line ends with a line feed or a carriage return. Whatever raises, the program and all that
    it started are killed.

    Raises:
        FlashError: it cannot be started, it hangs, or there was a reason to stop it.
    """
    name = Path(command[0]).name
    ours, theirs = pty.openpty()
    try:
        process = _start(command, theirs, cwd)
    except OSError as error:
        os.close(ours)
        raise FlashError(
            f"cannot start {name}: {error.strerror}",
            hint=f"is {command[0]} for this machine, and may it be run?",
        ) from error
    finally:
        os.close(theirs)
    try:
        lines = _listen(ours, name, heard, limits)
        status = _wait(process, name, limits)
    finally:
        os.close(ours)
        _end(process)
    return Said(status, lines)


def _start(command: Sequence[str], terminal: int, cwd: Path | None) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
        cwd=cwd,
        start_new_session=True,
    )


def _listen(terminal: int, name: str, heard: Heard, limits: Limits) -> tuple[str, ...]:
    kept: deque[str] = deque(maxlen=_KEPT_LINES)
    waiting = select.poll()
    waiting.register(terminal, select.POLLIN)
    rest = b""
    spoke = time.monotonic()
    while True:
        _give_up(name, spoke, limits)
        if not waiting.poll(_LOOK_S * 1000):
            continue
        block = _read(terminal)
        spoke = time.monotonic()
        *whole, rest = _LINE_END.split(rest + (block or b"\n"))
        if len(rest) > _MOST_LINE_BYTES:
            *whole, rest = *whole, rest, b""
        for line in whole:
            text = _ESCAPE.sub(b"", line).decode("utf-8", "replace").strip()
            if text:
                kept.append(text)
                heard(text)
        if not block:
            return tuple(kept)


def _read(terminal: int) -> bytes:
    """Read what came; empty at the end, which a terminal tells as an error."""
    try:
        return os.read(terminal, _BLOCK_BYTES)
    except OSError:
        return b""


def _give_up(name: str, spoke: float, limits: Limits) -> None:
    reason = limits.reason()
    if reason is not None:
        raise FlashError(f"{name} was stopped: {reason}", hint="flash the unit anew")
    if time.monotonic() - spoke > limits.silence_s:
        raise FlashError(
            f"{name} said nothing for {limits.silence_s:g} s and was stopped",
            hint="take power from the unit, bring it into flashing mode again and flash it anew; "
            "a shorter cable and a socket of the machine itself, no hub, help most often",
        )


def _wait(process: "subprocess.Popen[bytes]", name: str, limits: Limits) -> int:
    """Wait for one that closed its terminal; it need not end by that."""
    closed = time.monotonic()
    while process.poll() is None:
        _give_up(name, closed, limits)
        time.sleep(0.01)
    return process.returncode


def _end(process: "subprocess.Popen[bytes]") -> None:
    # The group, too, where the program itself ended: scripts leave helpers behind.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
