"""This machine as a device: the agent is a subprocess and speaks the same protocol."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from edgekit.core.errors import ConnectionLostError, UnreachableError
from edgekit.device.address import LocalAddress

if TYPE_CHECKING:
    from edgekit.core.contracts import AgentStream

_END_TIMEOUT_S = 5.0
_DIAGNOSTICS_BYTES = 16 << 10


class LocalStream:
    """The standard streams of a subprocess. See ``edgekit.core.contracts.AgentStream``."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        assert process.stdin is not None  # noqa: S101 - both were asked for as pipes
        assert process.stdout is not None  # noqa: S101
        self._process = process
        self._stdin = process.stdin.fileno()
        self._stdout = process.stdout.fileno()
        self._errors = errors
        self._said = ""

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes; ``b""`` at the end."""
        return os.read(self._stdout, size)

    def write(self, data: bytes | memoryview) -> None:
        """Write all of ``data``.

        Raises:
            ConnectionLostError: the agent is gone.
        """
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._stdin, left) :]
        except OSError as error:
            raise ConnectionLostError(f"the local agent ended: {error.strerror}") from error

    def diagnostics(self) -> str:
        """Return the end of what the agent wrote to standard error so far."""
        if self._errors.closed:
            return self._said
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _DIAGNOSTICS_BYTES))
        return self._errors.read().decode(errors="replace")

    def close(self) -> int | None:
        """Close the agent's input, which ends it, and return its exit status."""
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._said = self.diagnostics()
        self._errors.close()
        return process.returncode


class LocalTransport:
    """Runs commands on this machine. See ``edgekit.core.contracts.Transport``."""

    def __init__(self, address: LocalAddress | None = None) -> None:
        self._address = address or LocalAddress()
        self._streams: list[LocalStream] = []

    @property
    def name(self) -> str:
        """What the user calls the device."""
        return str(self._address)

    def open(self, command: Sequence[str]) -> "AgentStream":
        """Start ``command`` with its streams attached.

        Raises:
            UnreachableError: it could not be started.
        """
        environment = dict(os.environ)
        # The Python that runs edgekit is known to be there, whatever shims stand on PATH.
        environment.setdefault("EDGEKIT_DEVICE_PYTHON", sys.executable)
        if self._address.root is not None:
            environment["EDGEKIT_DEVICE_ROOT"] = str(self._address.root)
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the stream
        try:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                bufsize=0,
                # Ctrl-C at the terminal is for the host alone; the agent sees its input close.
                start_new_session=True,
            )
        except OSError as error:
            errors.close()
            raise UnreachableError(f"could not start {command[0]}: {error.strerror}") from error
        stream = LocalStream(process, errors)
        self._streams.append(stream)
        return stream

    def close(self) -> None:
        """End every command that still runs."""
        while self._streams:
            self._streams.pop().close()
