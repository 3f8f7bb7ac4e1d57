"""What would be written to pin a clock, and what stood there before."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Union

    from device_agent.clocks.domains import Domain, Files

    Change = Dict[str, str]

PERFORMANCE = "performance"
LIMIT = "limit"
GOVERNOR = "governor"
TUNABLE = "tunable"
SPEED = "speed"
ORDER = (LIMIT, GOVERNOR, TUNABLE, SPEED)
"""In which changes are undone: a governor is given its limits before it starts, and its own
files, which the kernel makes anew for it, after."""

_THERMAL_LIMITS = {
    "cpu": ("cpufreq-", "thermal-cpufreq-", "Processor"),
    "device": ("devfreq-", "thermal-devfreq-"),
}
_MOST_TUNABLES = 32


class Plan:
    """How one clock is to be pinned.

    Attributes:
        domain: the clock.
        wanted: ``performance``, or a clock in the unit of its files.
        changes: what stands in which file now, and what is to stand there, of each a ``path``,
            a ``kind``, and the texts ``was`` and ``set`` (no ``set``: it is only to be kept).
        refused: why it cannot be, file by file, if that is known without trying.
        was: its state before.
    """

    def __init__(self, domain: "Domain", files: "Files", wanted: "Union[str, int]") -> None:
        self.domain = domain
        self.wanted = wanted
        self.changes: "List[Change]" = []
        self.refused: "List[Dict[str, str]]" = []
        self.was = domain.state(files)
        if wanted == PERFORMANCE and domain.kind == "cpu":
            self._by_governor(files)
        else:
            self._by_limits(files)

    def refuse(self, path: str, why: str, more: str = "") -> None:
        """Note that a file does not take what it should."""
        name = path.rpartition("/")[2]
        self.refused.append({"file": name, "why": why, "more": more})

    def _by_governor(self, files: "Files") -> None:
        domain, now = self.domain, self.was.get("governor")
        if now == PERFORMANCE:
            return
        known = (files.read(domain.governors) or PERFORMANCE).split()
        kept = self._kept_for(now, files)
        safe = files.writable(domain.governor) and all(
            files.writable(change["path"]) for change in kept
        )
        can_limit = files.writable(domain.low) and files.writable(domain.high)
        if now is None or PERFORMANCE not in known or (not safe and can_limit):
            # Limits that leave one clock do the same, and take nothing from the governor: what
            # it was tuned to is lost when it is switched off, and not every user may tune it.
            self._by_limits(files)
            return
        self._change(domain.governor, GOVERNOR, now, PERFORMANCE)
        self.changes += kept

    def _kept_for(self, governor: "Any", files: "Files") -> "List[Change]":
        """Return what a governor is tuned to, which the kernel forgets once it is switched off."""
        domain = self.domain
        if governor == "userspace":
            speed = files.read(domain.speed) or ""
            return [_kept(domain.speed, SPEED, speed)] if speed.isdecimal() else []
        found = []
        for folder in (domain.folder, domain.folder.rpartition("/")[0]):
            place = f"{folder}/{governor}"
            for name in files.names(place)[:_MOST_TUNABLES]:
                text = files.read(f"{place}/{name}")
                if text and files.is_setting(f"{place}/{name}"):
                    found.append(_kept(f"{place}/{name}", TUNABLE, text))
        return found

    def _by_limits(self, files: "Files") -> None:
        domain = self.domain
        low, high = files.read(domain.low), files.read(domain.high)
        if not low or not high:
            self.refuse(domain.high, "absent")
            return
        wanted = high if self.wanted == PERFORMANCE else str(self.wanted)
        if low == high == wanted:
            return
        if _is_throttled(files, domain.kind):
            self.refuse(domain.high, "throttled")
            return
        if not self._is_offered(files, int(wanted)):
            return
        self._change(domain.low, LIMIT, low, wanted)
        self._change(domain.high, LIMIT, high, wanted)

    def _is_offered(self, files: "Files", wanted: int) -> bool:
        steps = self.domain.step_list(files)
        least, most = self.domain.range(files)
        if steps and self.wanted != PERFORMANCE and str(wanted) not in steps:
            self.refuse(self.domain.low, "not_offered", " ".join(steps))
            return False
        if not (least or 0) <= wanted <= (most or wanted):
            self.refuse(self.domain.low, "not_offered", f"{least} to {most}")
            return False
        return True

    def _change(self, path: str, kind: str, was: str, value: str) -> None:
        change = _kept(path, kind, was)
        change["set"] = value
        self.changes.append(change)


def _kept(path: str, kind: str, was: str) -> "Change":
    return {"path": path, "kind": kind, "was": was}


def _is_throttled(files: "Files", kind: str) -> bool:
    """Tell whether the kernel limits clocks of this kind against heat now.

    The files of the limits then show its limit and hide the user's own, which could not be put
    back.
    """
    folder = "class/thermal"
    for name in files.names(folder):
        if not name.startswith("cooling_device"):
            continue
        type_ = files.read(f"{folder}/{name}/type") or ""
        if type_.startswith(_THERMAL_LIMITS[kind]) and files.number(f"{folder}/{name}/cur_state"):
            return True
    return False
