"""Raspberry Pi 5: the power chip's own rails, told by the firmware through ``vcgencmd``.

A voltage and a current for each rail, and of the 5 V input (EXT5V, BATT) a voltage alone: what
USB and HATs draw is not in it. Each reading starts a process, on the cores that are being
measured: ten a second at most, and speed is to be taken from a run without it.
Source: https://www.raspberrypi.com/documentation/computers/os.html#pmic_read_adc; the form
of a line as recorded in https://github.com/raspberrypi/linux/issues/6473.
"""

import os
import re
import select
import shutil
import signal
import subprocess
import time

from device_agent.power.rail import Rail, ReadingError, Refused, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Optional, Set

    from device_agent.power.rail import Found

MOST_HZ = 10.0
SUM = "PMIC rails"
_CORE = "VDD_CORE"
_COMMAND = ("vcgencmd", "pmic_read_adc")
_SOC = "brcm,bcm2712"  # of Pi 5, 500 and CM5; on others the firmware knows no such command
_LINE = re.compile(r"^\s*(\S+)_([AV]) (?:current|volt)\(\d+\)=(-?\d+\.?\d*)[AV]\s*$", re.MULTILINE)
_LIMIT_S = 1.0
_MOST_BYTES = 1 << 14


def find(sys_root: str) -> "Found":
    """Return the sum of the rails, and the processor's among them."""
    if _SOC not in text_of(sys_root, "firmware/devicetree/base/compatible"):
        return [], []
    chip = _Chip()
    try:
        chip.refresh()
    except ReadingError as fault:
        return [], [Refused("pmic", " ".join(_COMMAND), str(fault))]
    return [_PmicRail(chip, label) for label in (SUM, _CORE) if label in chip.values_uw], []


class _Chip:
    """One answer of the firmware, for every rail that asks; the second time, a new one."""

    def __init__(self) -> None:
        self.values_uw: "Dict[str, int]" = {}
        self.cpu_s = 0.0
        self._names: "Optional[Set[str]]" = None
        self._fault: "Optional[ReadingError]" = None
        self._asked: "Set[str]" = set()

    def read(self, label: str) -> int:
        if not self._asked or label in self._asked:
            self._asked = set()
            try:
                self.refresh()
                self._fault = None
            except ReadingError as fault:
                self._fault = fault
        self._asked.add(label)
        if self._fault is not None:
            raise self._fault
        return self.values_uw[label]

    def refresh(self) -> None:
        """Ask the firmware.

        Raises:
            ReadingError: it did not answer, or not with the rails that it had at first.
        """
        text = self._output()
        told = {"A": {}, "V": {}}  # type: Dict[str, Dict[str, float]]
        for name, unit, number in _LINE.findall(text):
            told[unit][name] = float(number)
        names = set(told["A"]) & set(told["V"])
        if not names or names != (self._names or names):
            raise ReadingError("garbage", repr(text.strip()[:60]))
        self._names = names
        values = {name: int(told["A"][name] * told["V"][name] * 1e6) for name in names}
        values[SUM] = sum(values.values())
        if values[SUM] < 0:
            raise ReadingError("negative", str(values[SUM]))
        self.values_uw = values

    def _output(self) -> str:
        if shutil.which(_COMMAND[0]) is None:
            raise ReadingError("vanished", _COMMAND[0] + " is not installed")
        reading, writing = os.pipe()
        try:
            process = subprocess.Popen(
                _COMMAND, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing
            )
        except OSError as error:
            os.close(reading)
            raise ReadingError("unreadable", str(error)) from error
        finally:
            os.close(writing)
        try:
            text = _all_of(reading)
        except ReadingError:
            os.kill(process.pid, signal.SIGKILL)  # Popen's own may reap it
            raise
        finally:
            os.close(reading)
            status = self._reaped(process)
        shown = text.decode("ascii", "replace")
        if status:
            raise ReadingError("unreadable", f"exit status {status}: {shown.strip()[:60]!r}")
        return shown

    def _reaped(self, process: "subprocess.Popen[bytes]") -> int:
        # Not wait(): it would not say what the process took, and the firmware may hold it for ever.
        end = time.monotonic() + _LIMIT_S
        process.returncode = -1
        while time.monotonic() < end:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                self.cpu_s += usage.ru_utime + usage.ru_stime
                return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
            time.sleep(0.001)
        return -1


def _all_of(pipe: int) -> bytes:
    end = time.monotonic() + _LIMIT_S
    text = b""
    while len(text) < _MOST_BYTES:
        if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
            raise ReadingError("timeout", f"no answer in {_LIMIT_S:g} s")
        piece = os.read(pipe, _MOST_BYTES)
        if not piece:
            break
        text += piece
    return text


class _PmicRail(Rail):
    """A rail that has no file."""

    def __init__(self, chip: _Chip, label: str) -> None:
        super().__init__("pmic", " ".join(_COMMAND), label)
        self.within = None if label == SUM else SUM
        self.most_hz = MOST_HZ
        self._chip = chip

    def open(self) -> None:
        """Open nothing."""

    def read(self) -> int:
        """Return the rail's power, in microwatts."""
        return self._chip.read(self.label)

    def cost_cpu_s(self) -> float:
        """Return what the processes took that this rail started."""
        return self._chip.cpu_s if self.within is None else 0.0
