"""What a driver's own numbers of its frames tell of those that no program saw."""

from typing import TypeVar

from edgekit.onboard.arrays import Array

_Number = TypeVar("_Number", int, Array)

_NUMBERS = 1 << 32  # v4l2_buffer.sequence is a __u32; Source: linux/videodev2.h
_BEHIND = _NUMBERS // 2  # what is so far ahead is behind


def ahead(before: _Number, after: _Number) -> _Number:
    """Return by how much numbers are ahead of those before them; below 0: they began anew."""
    return (after - before + _BEHIND) % _NUMBERS - _BEHIND


class Numbering:
    """Follows the numbers of a stream's frames, with which a driver counts those that it lost too.

    After the highest number comes 0. A driver that reckons numbers from a clock, as the kernel's
    vivid does, passes one over where a frame is late, and gives one twice where the next is not:
    as many frames came as were due. So a number is missed only where no other came twice.
    """

    def __init__(self) -> None:
        self._last = -1
        self._spare = 0  # frames without a number of their own

    def lost_before(self, number: int) -> int:
        """Take in the next frame's number; return how many frames were lost before it.

        Args:
            number: -1 where it has none; one that goes back is of a driver that began anew, of
                which nothing is known to be lost.
        """
        last, self._last = self._last, number
        step = ahead(last, number)
        if min(number, last) < 0 or step < 0:
            self._spare = 0
            return 0
        if not step:
            self._spare += 1
            return 0
        missed = step - 1
        lost = max(0, missed - self._spare)
        self._spare = max(0, self._spare - missed)
        return lost
