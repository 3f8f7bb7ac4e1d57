"""One agent at a time changes a device. The kernel frees the lock when its holder dies."""

import errno
import fcntl
import json
import os
import time

from device_agent.protocol import VerbError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Optional, Type

WAIT_S = 3.0
_POLL_S = 0.05


class DeviceLock:
    """Held for the length of one verb, so that an agent which only waits blocks nobody."""

    def __init__(self, path: str, purpose: str, wait_s: float = WAIT_S) -> None:
        self._path = path
        self._purpose = purpose
        self._wait_s = wait_s
        self._descriptor = -1

    def __enter__(self) -> "DeviceLock":
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._take(descriptor)
            note = {"pid": os.getpid(), "verb": self._purpose, "since": int(time.time())}
            note["from"] = os.environ.get("SSH_CLIENT", "").split(" ")[0] or "this machine"
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(note).encode("ascii"), 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return self

    def __exit__(
        self,
        kind: "Optional[Type[BaseException]]",
        error: "Optional[BaseException]",
        trace: "Optional[TracebackType]",
    ) -> None:
        os.close(self._descriptor)

    def _take(self, descriptor: int) -> None:
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
            else:
                return
            if time.monotonic() >= deadline:
                raise _busy(descriptor)
            time.sleep(_POLL_S)


def _busy(descriptor: int) -> VerbError:
    try:
        note = json.loads(os.pread(descriptor, 4096, 0).decode("ascii"))
        age_s = max(0, int(time.time()) - int(note["since"]))
        holder = f"{note['verb']}, process {note['pid']}, from {note['from']}, since {age_s} s"
    except (ValueError, KeyError, TypeError):
        note, holder = {}, "unknown"
    return VerbError("busy", f"another agent is at work on this device ({holder})", {"by": note})
