"""What every sink can do, and how one says that it cannot."""

from typing import Any, Dict, Mapping

from edgekit.onboard.camera.frames import Frame
from edgekit.onboard.camera.passwords import without_passwords
from edgekit.onboard.faults import RunFailedError


class Sink:
    """Takes frames at the end of the line. Made by ``make_sink``; used by one thread at a time.

    A run replaces what an earlier one left at the same path.

    Attributes:
        pictures: whether it does anything with a frame's pixels.
        facts: in JSON's values: ``kind``, ``path``, ``frames`` and ``bytes`` that were taken.
    """

    kind = ""
    pictures = True

    def __init__(self, path: str) -> None:
        shown = without_passwords(path)
        self.facts: Dict[str, Any] = {"kind": self.kind, "path": shown, "frames": 0, "bytes": 0}

    def open(self, facts: Mapping[str, Any]) -> None:
        """Make ready for frames.

        Args:
            facts: the source's own: ``width``, ``height`` and ``fps`` are looked at.

        Raises:
            RunFailedError: there is no writing there, or a library is missing.
        """
        raise NotImplementedError

    def take(self, frame: Frame) -> None:
        """Take a frame and its answers; neither is changed or kept.

        Raises:
            ValueError: this frame cannot be taken; the next one may.
            RunFailedError: no frame can be taken any more.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Bring what was taken to its place; harmless where it was not opened, or is closed.

        Raises:
            RunFailedError: what was taken is not all there.
        """
        raise NotImplementedError

    def _count(self, taken_bytes: int) -> None:
        self.facts["frames"] += 1
        self.facts["bytes"] += taken_bytes


def needed(kind: str, path: str, what: str) -> str:
    """Return the path of a sink that cannot do without."""
    if not path:
        raise RunFailedError("a sink of kind %s needs a path: %s" % (kind, what))
    return path


def cannot_write(path: str, error: OSError) -> RunFailedError:
    """What the system said about writing there."""
    return RunFailedError("cannot write to %s: %s" % (path, error.strerror or error))
