"""What a flashing station made: a line for each unit as it ends, and all of them at the end."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgekit.core.flash_method import Checked

UnitState = Literal["ok", "failed", "stopped"]
_CHECKED = {"all": "read back and equal", "sample": "a sample read back and equal", "none": ""}


@dataclass(frozen=True)
class StationUnit:
    """What became of one unit.

    Attributes:
        state: ``stopped``: somebody ended it; it must be flashed anew, as one that failed.
        error, hint: why it must not be used, and what to do; empty where it is ok.
        done: how its image was provisioned, one phrase each.
    """

    number: int
    name: str
    port: str
    serial: str
    title: str
    state: UnitState
    took_s: float
    error: str = ""
    hint: str = ""
    sha256: str = ""
    size_bytes: int = 0
    write_s: float = 0.0
    verify_s: float = 0.0
    checked: Checked = "none"
    done: tuple[str, ...] = ()

    def line(self) -> str:
        """Return it in one line."""
        serial = f", serial {self.serial}" if self.serial else ""
        place = f"{self.name}  {self.port}{serial}"
        if self.state != "ok":
            return f"{place}: {self.state}: {self.error}"
        facts = [f"{self.size_bytes / 1e9:.2f} GB", _CHECKED[self.checked], f"{self.took_s:.0f} s"]
        return f"{place}: ok, {', '.join(fact for fact in facts if fact)}"


@dataclass(frozen=True)
class StationReport:
    """All units of one station, in the order in which they ended."""

    target: str
    method: str
    image: str
    units: tuple[StationUnit, ...]

    @property
    def ok(self) -> bool:
        """Whether every unit that was begun holds the image."""
        return all(unit.state == "ok" for unit in self.units)

    @property
    def made(self) -> int:
        """How many units hold the image."""
        return sum(unit.state == "ok" for unit in self.units)

    def as_json(self) -> Mapping[str, Any]:
        """Return it under the names that scripts rely on."""
        return {
            "ok": self.ok,
            "target": self.target,
            "method": self.method,
            "image": self.image,
            "made": self.made,
            "units": [asdict(unit) for unit in self.units],
        }
