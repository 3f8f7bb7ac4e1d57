"""When a lighter bundle takes over, and when the first one comes back."""

import glob
from typing import Any, List, Mapping, Optional, Tuple

_NS = 1_000_000_000
_MILLI = 1000.0


class Switch:
    """Decides once a second, with hysteresis: bad for a while leads on, good for longer back.

    Args:
        plan: ``late_ms``, ``hot_c`` (0: never), ``after_s``, ``back_ms``, ``back_c``,
            ``back_after_s``.
        count: how many bundles there are, from the first choice to the lightest.

    Attributes:
        current: index of the bundle to use.
    """

    def __init__(self, plan: Mapping[str, Any], count: int) -> None:
        self._plan, self._count = plan, count
        self.current = 0
        self._bad_since: Optional[int] = None
        self._good_since: Optional[int] = None

    def update(
        self,
        now_ns: int,
        latency_ms: Optional[float],
        temperature_c: Optional[float],
        there: bool = True,
    ) -> Optional[Tuple[int, int, str]]:
        """Take in what was seen; return from which bundle to which, and why, at a switch.

        Args:
            now_ns: of CLOCK_MONOTONIC.
            latency_ms: median of the last second; ``None`` where nothing was delivered.
            temperature_c: the hottest; ``None`` where nobody tells.
            there: whether the source was.
        """
        why = self._why_bad(latency_ms, temperature_c)
        if there and self._bad_since and not why and self._tells_nothing(latency_ms):
            return None
        good = not why and self._is_good(latency_ms, temperature_c)
        self._bad_since = (self._bad_since or now_ns) if why else None
        self._good_since = (self._good_since or now_ns) if good else None
        if self._bad_since and self._lasted(self._bad_since, now_ns, "after_s"):
            return self._go(self.current + 1, why)
        if self._good_since and self._lasted(self._good_since, now_ns, "back_after_s"):
            return self._go(self.current - 1, "as it should be again")
        return None

    def _go(self, to: int, why: str) -> Optional[Tuple[int, int, str]]:
        # What comes next is judged anew: the time before belongs to the former bundle.
        self._bad_since = self._good_since = None
        if not 0 <= to < self._count:
            return None
        before, self.current = self.current, to
        return before, to, why

    def _lasted(self, since_ns: int, now_ns: int, name: str) -> bool:
        return now_ns - since_ns >= float(self._plan[name]) * _NS

    def _why_bad(self, latency_ms: Optional[float], temperature_c: Optional[float]) -> str:
        late, hot = float(self._plan["late_ms"]), float(self._plan["hot_c"])
        if late and latency_ms is not None and latency_ms > late:
            return "late: %.0f ms, more than %.0f" % (latency_ms, late)
        if hot and temperature_c is not None and temperature_c > hot:
            return "hot: %.1f C, more than %.1f" % (temperature_c, hot)
        return ""

    def _tells_nothing(self, latency_ms: Optional[float]) -> bool:
        # A frame that takes longer than a second has seconds before it in which none is delivered.
        return bool(self._plan["late_ms"]) and latency_ms is None

    def _is_good(self, latency_ms: Optional[float], temperature_c: Optional[float]) -> bool:
        in_time = not self._plan["late_ms"] or (
            latency_ms is not None and latency_ms < float(self._plan["back_ms"])
        )
        cool = not self._plan["hot_c"] or (
            temperature_c is not None and temperature_c < float(self._plan["back_c"])
        )
        return in_time and cool


def thermal_files(root: str = "/sys") -> List[str]:
    """Return the files of temperatures.

    Source: the kernel's Documentation/driver-api/thermal/sysfs-api.rst.
    """
    return sorted(glob.glob(root + "/class/thermal/thermal_zone*/temp"))


def hottest_c(files: List[str]) -> Optional[float]:
    """Return the highest temperature that can be read now."""
    found = []
    for path in files:
        try:
            with open(path, encoding="ascii") as file:
                found.append(int(file.read()) / _MILLI)
        except (OSError, ValueError):
            continue  # a zone that is switched off has none
    return max(found) if found else None
