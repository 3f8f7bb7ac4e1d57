"""A run that somebody may stop: the device is told, and what it has so far comes home."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from edgekit.core.errors import EdgekitError
from edgekit.device.client import AgentClient

_LOOK_S: Final = 0.1
_JOIN_S: Final = 2.0


@contextmanager
def stopped_by(client: AgentClient, stop: threading.Event | None) -> Iterator[None]:
    """Have the agent stop what it is about within the block once ``stop`` is set.

    The block itself goes on to wait for the answer, which comes soon after.
    """
    if stop is None:
        yield
        return
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            if stop.wait(_LOOK_S):
                # A lost link is told by whoever waits for an answer on it.
                with suppress(EdgekitError, OSError):
                    client.submit("cancel")
                return

    thread = threading.Thread(target=look, name="edgekit-stop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_JOIN_S)
