"""Tells events to whoever started the runner, and never holds up a stage for it."""

import json
import sys
import threading
from typing import Any, Callable, Dict, Mapping

_END_S = 2.0  # for the last words, where nobody reads any more


class Teller:
    """A thread that prints: of each kind of event the newest that was not yet printed.

    A link that is slower than pictures come fills the pipe, and printing then waits.

    Args:
        write: takes one line.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._waiting: Dict[str, Mapping[str, Any]] = {}
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="teller", daemon=True)
        self._thread.start()

    def tell(self, event: Mapping[str, Any]) -> None:
        """Have an event printed, unless a newer one of its ``phase`` comes before it is."""
        with self._changed:
            self._waiting[str(event["phase"])] = event
            self._changed.notify()

    def close(self) -> None:
        """Print what is left, if somebody still reads."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(_END_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._ended:
                    self._changed.wait()
                if not self._waiting:
                    return
                events = list(self._waiting.values())
                self._waiting.clear()
            for event in events:
                try:
                    self._write(json.dumps(event) + "\n")
                except OSError:
                    return  # nobody reads: the record still will be written


def print_line(line: str) -> None:
    """Write a line to standard output, at once."""
    sys.stdout.write(line)
    sys.stdout.flush()
