"""A sink that keeps nothing: for a run that is only measured."""

from typing import Any, Mapping

from edgekit.onboard.camera.frames import Frame
from edgekit.onboard.camera.sinks.sink import Sink


class NoneSink(Sink):
    """Counts frames."""

    kind = "none"
    pictures = False

    def open(self, facts: Mapping[str, Any]) -> None:
        """Do nothing."""

    def take(self, frame: Frame) -> None:  # noqa: ARG002 - the contract's
        """Count it."""
        self._count(0)

    def close(self) -> None:
        """Do nothing."""
