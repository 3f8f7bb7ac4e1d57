"""Ctrl-C while something runs that can end well: once it is asked to, twice it is given up."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

import click

_SAME_S: Final = 0.3  # timeout(1) passes a signal on twice, and make what the terminal sent too


@contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C sets; a second Ctrl-C is a ``KeyboardInterrupt``."""
    stop = threading.Event()
    asked_s = 0.0

    def ask(*_: object) -> None:
        nonlocal asked_s
        if stop.is_set():
            if monotonic() - asked_s < _SAME_S:
                return
            raise KeyboardInterrupt
        asked_s = monotonic()
        stop.set()
        click.echo("\nending; Ctrl-C once more gives it up", err=True)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
