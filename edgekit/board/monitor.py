"""QEMU's monitor: what a running machine is told over a socket in its folder.

Source: QEMU Machine Protocol, docs/interop/qmp-spec.rst.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from edgekit.board.process import POLL_S
from edgekit.core.errors import DeviceError

SOCKET: Final = "qmp"
_ANSWER_TIMEOUT_S: Final = 60.0
_MIGRATION_TIMEOUT_S: Final = 120.0


class Monitor:
    """A connection to a machine's monitor.

    Args:
        folder: the machine's own, in which it made the socket.

    Raises:
        DeviceError: there is no machine.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._left = b""
        self._socket = _connected(folder)
        try:
            self._next()  # the greeting
            self.execute("qmp_capabilities")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def execute(self, command: str, **arguments: object) -> dict[str, object]:
        """Give a command and return its answer.

        Raises:
            DeviceError: it is refused, or the machine ended.
        """
        names = {name.replace("_", "-"): value for name, value in arguments.items()}
        asked = {"execute": command, "arguments": names}
        try:
            self._socket.sendall(json.dumps(asked).encode() + b"\n")
        except OSError as error:
            raise self._gone() from error
        while True:
            told = self._next()
            if "return" in told:
                answer = told["return"]
                return answer if isinstance(answer, dict) else {}
            if "error" in told:
                raise DeviceError(f"the machine in {self._folder} refused {command}: {told}")

    def save(self, file: Path) -> None:
        """Write the memory of the running machine to a file; the machine stands still then.

        Raises:
            DeviceError: it cannot be written.
        """
        # Nobody waits for the machine meanwhile: as fast as it can.
        self.execute("migrate-set-parameters", max_bandwidth=1 << 33, downtime_limit=60_000)
        self.execute("migrate", uri=f"exec:{_compressor(file)}")
        deadline = time.monotonic() + _MIGRATION_TIMEOUT_S
        while time.monotonic() < deadline:
            state = self.execute("query-migrate").get("status")
            if state == "completed":
                return
            if state in {"failed", "cancelled"}:
                break
            time.sleep(POLL_S)
        raise DeviceError(f"the state of the machine in {self._folder} could not be saved")

    def wait_until_running(self) -> None:
        """Wait until a machine that was started from a saved state has it.

        Raises:
            DeviceError: it ended, or takes too long.
        """
        deadline = time.monotonic() + _MIGRATION_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.execute("query-status").get("status") == "running":
                return
            time.sleep(POLL_S)
        raise DeviceError(f"the machine in {self._folder} does not run")

    def quit(self) -> None:
        """End the machine; what it was told to write is written."""
        with contextlib.suppress(DeviceError):
            self.execute("quit")

    def _next(self) -> dict[str, object]:
        while b"\n" not in self._left:
            try:
                piece = self._socket.recv(1 << 16)
            except OSError as error:
                raise self._gone() from error
            if not piece:
                raise self._gone()
            self._left += piece
        line, _, self._left = self._left.partition(b"\n")
        told = json.loads(line)
        # Events come in between; nothing here waits for one.
        return told if isinstance(told, dict) else {}

    def _gone(self) -> DeviceError:
        return DeviceError(f"the machine in {self._folder} ended or does not answer")


def restoring(file: Path) -> str:
    """Return how a machine is told to begin with a saved state."""
    return f"exec:zstd -dcq {_quoted(file)}"


def _compressor(file: Path) -> str:
    return f"zstd -q -3 -f -o {_quoted(file)}"


def _quoted(file: Path) -> str:
    import shlex

    return shlex.quote(str(file))


def _connected(folder: Path) -> socket.socket:
    with _short_name(folder) as name:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_ANSWER_TIMEOUT_S)
        try:
            connection.connect(name)
        except OSError as error:
            connection.close()
            raise DeviceError(f"no machine answers in {folder}: {error.strerror}") from error
    return connection


@contextlib.contextmanager
def _short_name(folder: Path) -> Iterator[str]:
    """Give the socket a name that fits: the kernel takes 107 characters, and folders are longer."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)
