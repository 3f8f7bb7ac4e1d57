"""What a source gives, and what becomes of it on its way through the stages."""

from collections import namedtuple
from typing import Any, Callable, Dict, List, Optional, Tuple


class SourceEnded(Exception):  # noqa: N818 - no fault: a file has an end
    """The source has no more frames."""


class SourceLostError(Exception):
    """The source is gone or has stalled, and may come back: unplugged, or a broken stream."""


class Captured(
    namedtuple(
        "Captured",
        "data format width height stride captured_ns arrived_ns sequence corrupt release",
    )
):
    """One frame as a source gives it.

    Attributes:
        data: the raw bytes as an array or buffer, which hold until ``release`` is called.
        format: four characters as V4L2 has them, such as ``YUYV`` or ``MJPG``; ``RGB3`` is RGB.
        width, height: in pixels.
        stride: bytes of a line; 0: lines follow each other without a gap.
        captured_ns: when it was taken, by CLOCK_MONOTONIC: the camera's own stamp where it has one.
        arrived_ns: when this process had it.
        sequence: the driver's number of it; -1 where it has none.
        corrupt: whether the driver says that its content is not to be trusted.
        release: gives the buffer back; called once, by any thread.
    """

    __slots__ = ()


class Source:
    """Gives frames. Made by ``make_source``; used by one thread, but for ``Captured.release``.

    Attributes:
        facts: what it is, in JSON's values: ``kind``, ``name``, ``driver``, ``card``, ``format``,
            ``width``, ``height``, ``fps`` (as told, not measured), ``timestamps`` (``capture``
            or ``arrival``), ``offered`` (formats in words). Known after ``open``.
    """

    def __init__(self) -> None:
        self.facts: Dict[str, Any] = {}

    def open(self) -> None:
        """Begin to capture.

        Raises:
            SourceLostError: it is not there now.
            RunFailedError: it never will be as asked for.
        """
        raise NotImplementedError

    def read(self, timeout_s: float) -> Optional[Captured]:
        """Return the next frame; ``None`` where none came in time.

        Raises:
            SourceEnded: there are no more.
            SourceLostError: it is gone, or has stalled.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Stop capturing; harmless where it was not opened."""
        raise NotImplementedError


class Visit:
    """One frame at one stage.

    Attributes:
        offered_ns: when the stage before was done with it.
        queued_ns: when it was in the queue: later, where the queue was full.
        start_ns, end_ns: when the stage worked on it.
        cpu_ns: of the stage's thread meanwhile.
        core: on which it ended.
    """

    __slots__ = ("core", "cpu_ns", "end_ns", "offered_ns", "queued_ns", "start_ns")

    def __init__(self) -> None:
        self.offered_ns = self.queued_ns = self.start_ns = self.end_ns = -1
        self.cpu_ns = self.core = -1


class Frame:
    """One captured frame on its way.

    Attributes:
        number: counted from 0 in the order of capture.
        captured: as the source gave it; its buffer is given back once it was decoded.
        rgb: ``uint8[H, W, 3]`` after decoding; smaller by a whole number where that will do.
        tensors, outputs, answers: after preprocess, inference and postprocess.
        bundle: index of the bundle that inferred it; -1 before.
        batch: how many frames were inferred together; -1 before.
        visits: one for each stage.
    """

    __slots__ = (
        "_release",
        "answers",
        "batch",
        "bundle",
        "captured",
        "number",
        "outputs",
        "rgb",
        "size_bytes",
        "tensors",
        "visits",
    )

    def __init__(self, number: int, captured: Captured, stages: int) -> None:
        self.number = number
        self.captured = captured
        self.rgb: Any = None
        self.tensors: Any = None
        self.outputs: Any = None
        self.answers: Any = None
        self.bundle = self.batch = -1
        self.size_bytes = 0
        self.visits: List[Visit] = [Visit() for _ in range(stages)]
        self._release: Optional[Callable[[], None]] = captured.release

    @property
    def shape(self) -> Tuple[int, int, int]:
        """Height, width and channels of the whole frame, whose pixels boxes are told in."""
        return (self.captured.height, self.captured.width, 3)

    def release(self) -> None:
        """Give the source's buffer back, if that was not done."""
        release, self._release = self._release, None
        if release is not None:
            release()
