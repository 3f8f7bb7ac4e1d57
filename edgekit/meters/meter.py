"""A meter on the host, sampled in a thread of its own."""

import threading
import time
from types import TracebackType
from typing import Final, Protocol, Self

from edgekit.core.power import RailFacts
from edgekit.meters.address import SCPI, MeterAddress
from edgekit.meters.log import Log, MeterReadings, ReadingError

_GRACE_S: Final = 1.0  # beyond the time limit of a reading, until its thread is left alone


class Source(Protocol):
    """A way to ask a meter."""

    name: str
    """What answers, once it is open."""

    paces_itself: bool
    """Whether it, and not the host, decides how often there is a reading."""

    def open(self) -> None:
        """Reach the meter and try one reading.

        Raises:
            EdgekitError: it cannot be reached, or does not answer with watts.
        """

    def sample(self, log: Log, stopped: threading.Event) -> None:
        """Take readings down until it is stopped; a fault is written down, never raised."""

    def close(self) -> None:
        """Let go of the meter, from whatever thread."""


class Meter:
    """Asks a meter from ``start`` to ``stop``, and never keeps a run waiting for it."""

    def __init__(self, address: MeterAddress) -> None:
        self._address = address
        self._source = _source(address)
        self._log = Log(address.scale)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._began = time.monotonic()

    def start(self) -> None:
        """Reach the meter, and ask it until ``stop``.

        Raises:
            EdgekitError: it cannot be reached, or does not answer with watts.
        """
        try:
            self._source.open()
        except BaseException:
            self._source.close()
            raise
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)
        self._thread.start()

    def stop(self) -> MeterReadings:
        """Return what it read, at the latest a second after a reading's time limit."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(self._address.timeout_s + _GRACE_S)
            if self._thread.is_alive():
                hung = ReadingError("timeout", "the meter did not come back at all")
                self._log.fault(hung, time.monotonic_ns())
            else:
                self._source.close()
            self._thread = None
        rate_hz = self._address.asked_hz
        return self._log.readings(
            RailFacts(
                self._address.kind, self._source.name, self._address.label, self._address.scope
            ),
            self._address.rate_hz if self._source.paces_itself else rate_hz,
            time.monotonic() - self._began,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is not None:
            self.stop()

    def _run(self) -> None:
        before = time.thread_time()
        try:
            self._source.sample(self._log, self._stopped)
        finally:
            self._log.cpu_s += time.thread_time() - before


def _source(address: MeterAddress) -> Source:
    if address.kind == SCPI:
        from edgekit.meters.scpi import ScpiSource

        return ScpiSource(address)
    from edgekit.meters.command import CommandSource

    return CommandSource(address)
