"""The sampler's steady loop in C: ``libsampler.so``, of ``sampler.c``, through ctypes.

The host compiles it (``edgekit.toolbox.native``) and sends it in the bundle. ctypes gives
Python's lock back for as long as C runs, so that the agent's other thread goes on.
"""

import array
import ctypes
import os
from ctypes import c_char, c_int32, c_int64, c_void_p

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List, Optional, Tuple

    from device_agent.power.sampler import Series

    Native = Callable[[int], int]

_VERSION = 1  # SAMPLER_VERSION of sampler.c
_TEXT_BYTES = 64
_LOOKS_HZ = 4  # how often C comes back: what it read is seen by then
_LAST_NS = (1 << 63) - 1


class _Rail(ctypes.Structure):
    _fields_ = [
        *[(name, c_int64) for name in ("times", "largest")],
        *[(name, c_void_p) for name in ("times_ns", "values")],
        ("read_ns", c_int64),
        ("files", c_int32 * 2),
        *[(name, c_int32) for name in ("kept", "odd", "error")],
        ("bytes", c_int32 * 2),
        ("texts", c_char * _TEXT_BYTES * 2),
    ]


class _Sampling(ctypes.Structure):
    _fields_ = [
        *[(name, c_int64) for name in ("period_ns", "due_ns", "end_ns", "missed")],
        ("rails", c_void_p),
        *[(name, c_int32) for name in ("count", "most_rounds", "stopped")],
    ]


def load(path: str, sha256: str) -> "Optional[Native]":
    """Return C's loop, ``None`` where the file is not the one, or not for this machine.

    Args:
        path: of the library.
        sha256: what the host sent.
    """
    import hashlib

    try:
        with open(path, "rb") as file:
            if hashlib.sha256(file.read()).hexdigest() != sha256:
                return None
        library = ctypes.CDLL(path)
        if library.sampler_version() != _VERSION:
            return None
        run = library.sampler_run
    except (OSError, AttributeError):
        return None
    run.argtypes = [c_void_p]
    return run


class Rounds:
    """The state of C's loop over rails that are plain, and the way of its samples into theirs."""

    def __init__(self, run: "Native", series: "List[Series]", rate_hz: float) -> None:
        self._run = run
        self._room = max(1, int(rate_hz / _LOOKS_HZ))
        self._rails = (_Rail * len(series))()
        self._buffers = [
            (array.array("q", bytes(8 * self._room)), array.array("q", bytes(8 * self._room)))
            for _ in series
        ]
        self._takers = list(zip(self._rails, series, self._buffers))
        for rail, each, buffers in self._takers:
            first, second, rail.times = each.rail.plain() or (-1, -1, 1)
            rail.files[0], rail.files[1] = first, second
            rail.largest = each.rail.largest
            rail.times_ns, rail.values = [buffer.buffer_info()[0] for buffer in buffers]
        self._all = _Sampling(
            period_ns=max(1, round(1e9 / rate_hz)),
            rails=ctypes.addressof(self._rails),
            count=len(series),
        )
        self._address = ctypes.addressof(self._all)

    def take(self, end: float, most_rounds: int) -> "Tuple[int, int]":
        """Sample for a while; return how many rounds were taken, and how many left out."""
        self._all.end_ns = _LAST_NS if end == float("inf") else int(end * 1e9)
        self._all.most_rounds = min(self._room, most_rounds)
        rounds = self._run(self._address)
        for rail, series, (times_ns, values) in self._takers:
            kept = rail.kept
            if kept:
                series.times_ns.extend(times_ns[:kept])
                series.values.extend(values[:kept])
            if rail.odd:
                _judge(rail, series)
        return rounds, self._all.missed

    def stop(self) -> None:
        """Let C come back soon; from any thread."""
        self._all.stopped = 1


def _judge(rail: _Rail, series: "Series") -> None:
    if rail.error:
        series.odd(OSError(rail.error, os.strerror(rail.error)), b"", b"")
        return
    first, second = (text.raw[:count] for text, count in zip(rail.texts, rail.bytes))
    series.odd(None, first, second, rail.read_ns)
