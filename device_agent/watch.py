"""What went on around a run: the device's state, and the power that it drew.

The sampler's thread begins after the runner was forked, and is over before the next one is.
"""

import json
import os
import time

from device_agent.health import snapshot
from device_agent.health.tree import Tree
from device_agent.power.rail import ENERGY
from device_agent.protocol import VerbError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Callable, Dict, List, Optional, Tuple, Type

    from device_agent.power.native import Native
    from device_agent.power.sampler import Series
    from device_agent.probe import Roots
    from device_agent.server import Answer, Call

    Library = Optional[Tuple[str, str]]

HEALTH = "health.json"
POWER = "power.json"
_LEAST_PERIOD_S = 0.1
_MOST_HZ = 1000
_MOST_IDLE_S = 600
_MOST_SNAPSHOTS = 4096


class Watch:
    """Looks before, during and after one run.

    Args:
        wanted: ``period_s`` between two looks at the device's state; ``power_hz``, 0 for no
            power; ``idle_s`` of power before and after the run; ``scopes`` of rails by label.
        roots: where the kernel's trees stand.
        tell: told of heat and power at each look while the runner runs.
        library: path and sha256 of the sampler's loop in C, where the bundle holds one.

    Raises:
        VerbError: that cannot be.
    """

    def __init__(
        self,
        wanted: "Dict[str, Any]",
        roots: "Roots",
        tell: "Optional[Callable[[Dict[str, Any]], None]]" = None,
        library: "Library" = None,
    ) -> None:
        self._tell = tell
        self._tree = tree_of(roots)
        self._period_s = _number(wanted, "period_s", 1.0, _LEAST_PERIOD_S, 3600)
        self._idle_s = _number(wanted, "idle_s", 0.0, 0, _MOST_IDLE_S)
        rate_hz = _number(wanted, "power_hz", 0.0, 0, _MOST_HZ)
        self._always = wanted.get("idle_always") is True
        scopes = wanted.get("scopes") or {}
        if not isinstance(scopes, dict):
            raise VerbError("bad_request", "run: scopes of rails must be a table")
        self._groups: "List[int]" = []
        self._seen: "List[Dict[str, Any]]" = []
        self._due = 0.0
        self._power = _Power(roots, rate_hz, scopes, library) if rate_hz else None

    def before(self) -> None:
        """Look before the runner is started."""
        if self._power is not None:
            self._power.idle("idle_before_ns", self._idle_s, self._always)
        self._look()

    def during(self, group: int) -> None:
        """Begin: the runner runs, in this process group."""
        self._groups = [group]
        if self._power is not None:
            self._power.start()

    def tick(self) -> None:
        """Look if it is time."""
        if time.monotonic() < self._due:
            return
        seen = self._look()
        if self._tell is not None:
            self._tell(self._told(seen))

    def after(self) -> None:
        """Look: the runner ran to its end."""
        if self._power is not None:
            self._power.stop()
        self._seen[_MOST_SNAPSHOTS:] = []
        self._look()
        if self._power is not None:
            self._power.idle("idle_after_ns", self._idle_s, self._always)

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self,
        kind: "Optional[Type[BaseException]]",
        error: "Optional[BaseException]",
        trace: "Optional[TracebackType]",
    ) -> None:
        if self._power is not None:
            self._power.close()

    def write(self, folder: str) -> None:
        """Leave what was seen among what the runner wrote."""
        _write(os.path.join(folder, HEALTH), {"snapshots": self._seen})
        if self._power is not None:
            _write(os.path.join(folder, POWER), self._power.as_json())

    def _look(self) -> "Dict[str, Any]":
        seen = snapshot(self._tree, self._groups)
        if len(self._seen) <= _MOST_SNAPSHOTS:
            self._seen.append(seen)
        self._due = time.monotonic() + self._period_s
        return seen

    def _told(self, seen: "Dict[str, Any]") -> "Dict[str, Any]":
        zones = [zone["temperature_c"] for zone in seen.get("zones", ())]
        return {
            "event": "device",
            "phase": "power",
            "at_ns": seen["monotonic_ns"],
            "temperature_c": max(zones) if zones else None,
            "rails": self._power.means() if self._power is not None else [],
        }


class _Power:
    """The sampler on all rails there are, and when it looked at what."""

    def __init__(
        self, roots: "Roots", rate_hz: float, scopes: "Dict[str, str]", library: "Library"
    ) -> None:
        from device_agent.power.sampler import Sampler
        from device_agent.power.sources import find_rails

        self._rails, self._refused = find_rails(roots.sys, scopes)
        self._sampler = Sampler(self._rails, rate_hz, native=self._native(library))
        self._spans: "Dict[str, List[int]]" = {}
        self._asked = [0] * len(self._rails)

    def _native(self, library: "Library") -> "Optional[Native]":
        if library is None or not self._rails:
            return None
        try:
            # A Python that was built without ctypes is no reason to fail.
            from device_agent.power.native import load
        except ImportError:
            return None
        return load(*library)

    def idle(self, name: str, seconds: float, always: bool) -> None:
        if not seconds or not (self._rails or always):
            return
        began = _now_ns()
        if self._rails:
            self._sampler.run(seconds)
        else:
            time.sleep(seconds)
        self._spans[name] = [began, _now_ns()]

    def start(self) -> None:
        if self._rails:
            self._sampler.start()

    def stop(self) -> None:
        self._sampler.stop()

    def close(self) -> None:
        self.stop()
        for rail in self._rails:
            rail.close()

    def means(self) -> "List[Dict[str, Any]]":
        """Return what each rail drew since it was last asked; those without a reading are absent.

        A counter of energy is asked from its last reading before on.
        """
        means = []
        for index, series in enumerate(self._sampler.series):
            rail, began = series.rail, self._asked[index]
            counts = rail.quantity == ENERGY
            ended = min(len(series.times_ns), len(series.values))
            if ended - began > counts:
                self._asked[index] = ended - counts
                mean_uw = _mean_uw(series, began, ended)
                means.append(
                    {
                        "label": rail.label,
                        "source": rail.source,
                        "sensor": rail.sensor,
                        "scope": rail.scope,
                        "within": rail.within,
                        "mw": mean_uw / 1000,
                    }
                )
        return means

    def as_json(self) -> "Dict[str, Any]":
        table = self._sampler.as_json()
        table["refused"] = [each.as_json() for each in self._refused]
        table.update(self._spans)
        return table


def _mean_uw(series: "Series", began: int, ended: int) -> float:
    if series.rail.quantity != ENERGY:
        return sum(series.values[began:ended]) / (ended - began)
    used_uj = series.values[ended - 1] - series.values[began]
    if used_uj < 0:
        used_uj += series.rail.range_uj or 0
    return used_uj * 1e9 / max(1, series.times_ns[ended - 1] - series.times_ns[began])


def clock(_call: "Call") -> "Answer":
    """Tell the time of the clock that everything here is stamped by."""
    return {"monotonic_ns": _now_ns()}


def health(call: "Call") -> "Answer":
    """Look once at the device's state."""
    return snapshot(tree_of(call.roots))


def tree_of(roots: "Roots") -> Tree:
    """Return the kernel's trees for whoever reads health."""
    return Tree(os.path.dirname(os.path.abspath(roots.sys)))


def _number(
    wanted: "Dict[str, Any]", name: str, default: float, least: float, most: float
) -> float:
    value = wanted.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise VerbError("bad_request", "run: " + name + " must be a number")
    if not least <= value <= most:
        raise VerbError("bad_request", f"run: {name} must lie between {least:g} and {most:g}")
    return float(value)


def _now_ns() -> int:
    return int(time.monotonic() * 1e9)


def _write(path: str, value: "Dict[str, Any]") -> None:
    with open(path, "w", encoding="ascii") as file:
        json.dump(value, file, separators=(",", ":"))
