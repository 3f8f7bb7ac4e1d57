"""Run a program with its words in a log, and never leave it behind."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_LAST_LINES: Final = 12
_KEPT_LOGS: Final = 40


def new_log(folder: Path, name: str) -> Path:
    """Return the path of a new log below ``folder``; the oldest beyond forty go.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("*.log"))[:-_KEPT_LOGS]:
        old.unlink(missing_ok=True)
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    return folder / f"{moment}-{os.getpid()}-{name}.log"


def last_lines(log: Path, count: int = _LAST_LINES) -> str:
    """Return the last lines of a log that are not empty, indented."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in [x for x in lines if x.strip()][-count:])


def run_logged(
    command: Sequence[str],
    log: Path,
    *,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> int:
    """Run ``command`` in a process group of its own; append both its streams to ``log``.

    Returns:
        Its exit status; negative for the signal that ended it.

    Raises:
        TimeoutError: it took longer than ``timeout_s`` and was killed.
        OSError: it cannot be started.
    """
    with log.open("ab") as stream:
        stream.write(f"$ {' '.join(command)}\n".encode())
        stream.flush()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=None if environment is None else {**os.environ, **environment},
            cwd=cwd,
            start_new_session=True,
        )
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(
                f"{Path(command[0]).name} took longer than {timeout_s:g} s"
            ) from error
        finally:
            # Ctrl-C reaches only us: the group is the process's own, and all of it goes.
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
