"""Wall time by phase, for the report's ``seconds``."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Stopwatch:
    """Adds up wall seconds under names; laps of one name add up."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        """Count the time of the ``with`` block under ``name``."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.monotonic() - start

    def seconds(self) -> Mapping[str, float]:
        """Seconds by name, and ``total`` since the stopwatch was made."""
        return {**self._seconds, "total": time.monotonic() - self._start}
