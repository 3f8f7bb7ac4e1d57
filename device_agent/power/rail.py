"""One rail of one sensor: what it is called, what it covers, and one reading of it.

The kernel makes an attribute's text anew whenever it is read from offset 0, so that the files
stay open and a reading is one system call for each.
"""

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple

POWER = "power_uw"
ENERGY = "energy_uj"

ATTRIBUTE_BYTES = 64
_MOST_UW = 10**10  # 10 kW: no device that edgekit serves
_GONE = (errno.ENODEV, errno.ENOENT, errno.ENXIO, errno.ESRCH, errno.EBADF)


class ReadingError(Exception):
    """A reading that is none.

    Attributes:
        kind: ``vanished``, ``unreadable``, ``timeout``, ``garbage``, ``negative`` or
            ``not-discharging``.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def _never() -> "Optional[Rail]":
    return None


class Rail:
    """What a sensor tells of one rail.

    Attributes:
        source: ``hwmon``, ``iio``, ``power_supply``, ``rapl`` or ``pmic``.
        sensor: chip and address, or the supply's name; the same after every boot.
        label: the rail's name.
        scope: ``board`` for all that the board draws, ``wall`` for its supply's losses too,
            else ``rail``.
        quantity: ``POWER`` or ``ENERGY``, the counter of which starts again at ``range_uj``.
        within: the label of another rail that this one's power is already part of.
        update_interval_ns: how often the sensor has a new value, where it tells.
        largest: beyond it a reading is garbage.
        most_hz: how often it may be read, where that costs much.
        find_again: looks for this rail where it stands now, after its driver came back.
    """

    def __init__(self, source: str, sensor: str, label: str, scope: str = "rail") -> None:
        self.source = source
        self.sensor = sensor
        self.label = label
        self.scope = scope
        self.quantity = POWER
        self.range_uj: "Optional[int]" = None
        self.within: "Optional[str]" = None
        self.update_interval_ns: "Optional[int]" = None
        self.most_hz: "Optional[float]" = None
        self.find_again: "Callable[[], Optional[Rail]]" = _never
        self.largest = _MOST_UW
        self._paths: "List[str]" = []
        self._numbers: "List[int]" = []
        self._times = 1
        self._over = 1
        self._status_path = ""
        self._status = -1

    def reads(self, paths: "List[str]", times: int = 1, over: int = 1) -> "Rail":
        """Set the files whose product, times ``times`` over ``over``, is the quantity."""
        self._paths = paths
        self._times = times
        self._over = over
        return self

    def counts(self, path: str, range_uj: int) -> "Rail":
        """Set the file of an energy counter, which starts again at ``range_uj``."""
        self.quantity = ENERGY
        self.range_uj = self.largest = range_uj
        return self.reads([path])

    def reads_while_discharging(self, status_path: str) -> "Rail":
        """Let a reading count by its magnitude, and only while the file says Discharging."""
        self._status_path = status_path
        return self

    def open(self) -> None:
        """Open the files.

        Raises:
            OSError: one is not there, or not for this user.
        """
        self.close()
        try:
            for path in self._paths:
                self._numbers.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            if self._status_path:
                self._status = os.open(self._status_path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.close()
            raise

    def revive(self) -> bool:
        """Take the files of the same rail where it stands now; ``False`` where it is gone."""
        found = self.find_again()
        if found is None:
            return False
        try:
            found.open()
            found.read()
            # Under the numbers of the old ones, which a sampler holds.
            for mine, its in zip(self._all_numbers(), found._all_numbers()):  # noqa: SLF001
                os.dup2(its, mine, False)
        except (OSError, ReadingError):
            return False
        finally:
            found.close()
        return True

    def cost_cpu_s(self) -> float:
        """Return processor time of others that reading took."""
        return 0.0

    def close(self) -> None:
        """Close the files."""
        for number in self._all_numbers():
            os.close(number)
        self._numbers = []
        self._status = -1

    def _all_numbers(self) -> "List[int]":
        return self._numbers + ([self._status] if self._status >= 0 else [])

    @property
    def file_count(self) -> int:
        """How many files make up a reading."""
        return len(self._paths)

    def plain(self) -> "Optional[Tuple[int, int, int]]":
        """Return two open files whose product is the quantity, or one, -1 and a factor.

        ``None`` where it takes more than that, as ``read`` can.
        """
        if not self._numbers or self._over != 1 or self._status >= 0:
            return None
        first, rest = self._numbers[0], self._numbers[1:]
        if not rest:
            return first, -1, self._times
        return (first, rest[0], 1) if self._times == len(rest) == 1 else None

    def read(self) -> int:
        """Return the quantity, in microwatts or microjoules.

        Raises:
            ReadingError: there is none.
        """
        if not self._numbers:
            raise ReadingError("vanished", "it is not open")
        try:
            texts = [os.pread(number, ATTRIBUTE_BYTES, 0) for number in self._numbers]
            if self._status >= 0:
                _check_status(os.pread(self._status, ATTRIBUTE_BYTES, 0))
        except OSError as error:
            raise fault_of(error) from error
        return self.value_of(texts)

    def value_of(self, texts: "List[bytes]") -> int:
        """Return the quantity that the files' texts tell.

        Raises:
            ReadingError: they tell none.
        """
        value = self._times
        for text in texts:
            try:
                factor = int(text)
            except ValueError:
                raise ReadingError("garbage", repr(text[:24])) from None
            value *= factor if factor >= 0 else self._magnitude(factor)
        value //= self._over
        if value > self.largest:
            raise ReadingError("garbage", f"{value} {self.quantity} is beyond what it can read")
        return value

    def _magnitude(self, factor: int) -> int:
        if self._status < 0:
            raise ReadingError("negative", str(factor))
        return -factor

    def as_json(self) -> "Dict[str, Any]":
        """Return what is told of the rail beside its readings."""
        return {
            "source": self.source,
            "sensor": self.sensor,
            "label": self.label,
            "scope": self.scope,
            "quantity": self.quantity,
            "range_uj": self.range_uj,
            "within": self.within,
            "update_interval_ns": self.update_interval_ns,
            "most_hz": self.most_hz,
        }


class Refused:
    """A sensor that is there and is not used, and why."""

    def __init__(self, source: str, sensor: str, reason: str) -> None:
        self.source = source
        self.sensor = sensor
        self.reason = reason

    def as_json(self) -> "Dict[str, Any]":
        """Return all of it."""
        return {"source": self.source, "sensor": self.sensor, "reason": self.reason}


if TYPE_CHECKING:
    Found = Tuple[List[Rail], List[Refused]]


def text_of(*parts: str) -> str:
    """Return an attribute's text without white space around it; empty where it has none."""
    try:
        with open(os.path.join(*parts), "rb") as file:
            return file.read(4096).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def number_of(*parts: str) -> "Optional[int]":
    """Return an attribute's number, ``None`` where it has none."""
    try:
        return int(text_of(*parts))
    except ValueError:
        return None


def names_in(folder: str) -> "List[str]":
    """Return a folder's entries in order, none where there is no such folder."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _check_status(text: bytes) -> None:
    # A battery that charges says how much goes into it, and nothing of what is used.
    if text.strip() != b"Discharging":
        raise ReadingError("not-discharging", repr(text[:24]))


def fault_of(error: OSError) -> ReadingError:
    """Return what the kernel's error says of a sensor."""
    kind = "vanished" if error.errno in _GONE else "unreadable"
    return ReadingError(kind, errno.errorcode.get(error.errno or 0, str(error)))
