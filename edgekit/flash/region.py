"""A stretch of an image's bytes, read by position, and what to say when they make no sense."""

import os
from typing import Final

# A file in an image that edgekit looks at is a small one; what claims more is broken or hostile.
MOST_BYTES: Final = 64 << 20


class UnreadableError(ValueError):
    """What stands in an image is broken, or of a kind that edgekit does not read."""


class Region:
    """Bytes of an open file from ``start`` on, as if they were a file of their own."""

    def __init__(self, descriptor: int, start: int, size_bytes: int) -> None:
        self._descriptor = descriptor
        self.start = start
        self.size_bytes = size_bytes

    def read(self, offset: int, count: int) -> bytes:
        """Return exactly ``count`` bytes.

        Raises:
            UnreadableError: they do not all lie in the region.
        """
        if offset < 0 or not 0 <= count <= MOST_BYTES or offset + count > self.size_bytes:
            raise UnreadableError(f"{count} bytes at {offset} lie outside of its bounds")
        parts = []
        while count:
            part = os.pread(self._descriptor, count, self.start + offset)
            if not part:
                raise UnreadableError("it ends too soon")
            parts.append(part)
            offset += len(part)
            count -= len(part)
        return b"".join(parts)

    def part(self, start: int, size_bytes: int) -> "Region":
        """Return a region within this one; what would stand out at its end is cut off."""
        start = min(max(start, 0), self.size_bytes)
        return Region(
            self._descriptor, self.start + start, min(size_bytes, self.size_bytes - start)
        )
