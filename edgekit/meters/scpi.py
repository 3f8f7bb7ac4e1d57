"""Instruments that speak SCPI, through PyVISA: each query has its time limit."""

import contextlib
import math
import threading
import time
from typing import TYPE_CHECKING, Final

from edgekit.core.errors import UnreachableError, UsageError
from edgekit.meters.address import MeterAddress
from edgekit.meters.log import Log, ReadingError, microwatts

if TYPE_CHECKING:
    from pyvisa.resources import MessageBasedResource

_REOPEN_S: Final = 1.0
_IDENTITY: Final = "*IDN?"  # IEEE 488.2, 10.14: maker, model, serial number, firmware
_FIELDS: Final = 4
_SHOWN: Final = 80


class ScpiSource:
    """One instrument and the query that asks for its power."""

    paces_itself = False

    def __init__(self, address: MeterAddress) -> None:
        self.name = address.target
        self._address = address
        self._session: MessageBasedResource | None = None
        self._opened = -_REOPEN_S

    def open(self) -> None:
        """Connect, ask who it is, and for one reading."""
        try:
            answer = self._ask(self._address.query)
        except ReadingError as error:
            raise UnreachableError(
                f"meter {self._address.target} does not answer {self._address.query!r}: {error}",
                hint="check the address, the query and the cable; timeout= allows for longer",
            ) from error
        try:
            microwatts(answer, self._address.scale)
        except ReadingError as error:
            if error.kind != "negative":  # which may have passed when the run begins
                raise UsageError(
                    f"meter {self._address.target} answers {self._address.query!r} with {error}, "
                    "which is no power in watts",
                    hint="check the query; scale= turns another unit into watts",
                ) from error
        self.name = self._identity()

    def sample(self, log: Log, stopped: threading.Event) -> None:
        """Ask at the rate that was set; rounds that could not be kept are left out."""
        period = 1 / self._address.asked_hz
        due = time.monotonic()
        while not (stopped.is_set() or log.is_full):
            log.rounds += 1
            self._take(log)
            due += period
            late = math.ceil((time.monotonic() - due) / period)
            if late > 0:
                log.missed_rounds += late
                due += late * period
            stopped.wait(max(0.0, due - time.monotonic()))

    def close(self) -> None:
        """End the session."""
        session, self._session = self._session, None
        if session is not None:
            # VISA libraries raise whatever lies below them, and what is gone need not be closed.
            with contextlib.suppress(Exception):
                session.close()

    def _take(self, log: Log) -> None:
        if self._session is None and time.monotonic() - self._opened < _REOPEN_S:
            return  # a gap; the fault that made it is told
        asked_ns = time.monotonic_ns()
        try:
            answer = self._ask(self._address.query)
        except ReadingError as error:
            log.fault(error, time.monotonic_ns())
            return
        log.answer(answer, asked_ns, time.monotonic_ns())

    def _identity(self) -> str:
        # Not every meter can say: what does not look like its four fields is no name.
        try:
            words = self._ask(_IDENTITY).strip()[:_SHOWN]
        except ReadingError:
            self._opened = -_REOPEN_S  # it was reached a moment ago: no need to wait
            return self._address.target
        is_name = words.isprintable() and words.count(",") >= _FIELDS - 1
        return f"{words} ({self._address.target})" if is_name else self._address.target

    def _ask(self, query: str) -> str:
        try:
            if self._session is None:
                self._session = self._connected()
            return str(self._session.query(query))
        except UnicodeDecodeError as error:
            raise ReadingError("garbage", repr(error.object[:_SHOWN])) from error
        except UsageError:
            raise
        except Exception as error:  # VISA libraries raise whatever lies below them
            # Closed whatever it was: an answer that comes late would be the next query's.
            self.close()
            raise _fault_of(error) from error

    def _connected(self) -> "MessageBasedResource":
        try:
            import pyvisa
            from pyvisa.resources import MessageBasedResource
        except ImportError as error:
            raise UsageError(
                "a SCPI meter needs PyVISA, which is not installed",
                hint="install edgekit with it: pip install 'edgekit[meters]'",
            ) from error
        self._opened = time.monotonic()
        timeout_ms = round(self._address.timeout_s * 1000)
        try:
            manager = pyvisa.ResourceManager(self._address.visa)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"VISA library {self._address.visa!r} cannot be used: {error}",
                hint="leave visa= out for PyVISA's own",
            ) from error
        resource = manager.open_resource(self._address.target, open_timeout=timeout_ms)
        if not isinstance(resource, MessageBasedResource):
            resource.close()
            raise UsageError(
                f"{self._address.target} is no instrument that takes queries",
                hint="name one that ends in ::INSTR or ::SOCKET",
            )
        resource.timeout = timeout_ms
        resource.read_termination = resource.write_termination = "\n"
        return resource


def _fault_of(error: Exception) -> ReadingError:
    from pyvisa.constants import StatusCode
    from pyvisa.errors import VisaIOError

    words = " ".join(str(error).split())[:_SHOWN] or type(error).__name__
    if isinstance(error, VisaIOError):
        if error.error_code == StatusCode.error_timeout:
            return ReadingError("timeout", words)
        gone = {
            StatusCode.error_connection_lost,
            StatusCode.error_resource_not_found,
            StatusCode.error_invalid_object,
            StatusCode.error_no_listeners,
        }
        return ReadingError("vanished" if error.error_code in gone else "unreadable", words)
    return ReadingError("vanished", words)
