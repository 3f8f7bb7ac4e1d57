"""Pictures of what goes through the pipeline, small and seldom, for whoever watches.

What this costs is time of the stage ``sink``. Where cv2 is present, a picture is scaled to the
width that is asked for and packed as JPEG; else it is scaled by whole steps and packed as PNG, with
NumPy and what Python has.
"""

import base64
import json
import struct
import zlib
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np

from edgekit.onboard.arrays import Array

Encoder = Callable[[Array], bytes]
# Of a frame and a width a picture that is no wider.
Scaler = Callable[[Array, int], Array]

# The agent takes lines of up to 1 MiB (device_agent/runner.py); the rest is for the other keys.
MOST_PACKED_BYTES = (1 << 20) - 4096
MOST_ANSWERS = 500
_BOX_FIELDS = 6  # x0, y0, x1, y1, score, class
_EDGES = 4
_JPEG_QUALITY = 75
_NS_PER_S = 1_000_000_000


class Preview:
    """Makes the events that show a frame and its answers.

    Args:
        fps: pictures a second, at most; 0: none.
        width: of a picture in pixels, at most.
    """

    def __init__(self, fps: float, width: int) -> None:
        if fps < 0 or width < 1:
            raise ValueError(f"a preview of {fps} pictures a second, {width} pixels wide")
        self._period_ns = int(_NS_PER_S / fps) if fps else 0
        self._width = width
        self._due_ns = 0
        # Before the first picture: loading cv2 takes longer than many frames.
        self._format, self._pack = encoder()
        self._scale = scaler()

    def wanted(self, now_ns: int) -> bool:
        """Tell whether a picture is due."""
        return bool(self._period_ns) and now_ns >= self._due_ns

    def event(
        self, number: int, rgb: Array, answers: Sequence[Any], now_ns: int, by: int = 1
    ) -> Dict[str, Any]:
        """Make the event, and note that the next one is due a period later.

        Args:
            number: of the frame.
            rgb: ``uint8[H, W, 3]``; it is only read.
            answers: of the postprocess step; boxes in pixels of the frame.
            now_ns: by CLOCK_MONOTONIC.
            by: how many times larger the frame is, whose pixels its answers are in.
        """
        if now_ns - self._due_ns >= self._period_ns:
            self._due_ns = now_ns + self._period_ns
        else:  # a frame that comes late does not put off those after it
            self._due_ns += self._period_ns
        picture, rows, data = self._fitting(rgb, answers, by)
        height, width = picture.shape[:2]
        return {
            "event": "camera",
            "phase": "preview",
            "at_ns": now_ns,
            "number": number,
            "width": width,
            "height": height,
            "format": self._format,
            "data": data,
            "answers": rows,
        }

    def _fitting(self, rgb: Array, answers: Sequence[Any], by: int) -> Tuple[Array, List[Any], str]:
        """Shrink until the line is one that the agent takes; begin there with the next frame."""
        while True:
            picture = self._scale(rgb, self._width)
            factors = [picture.shape[axis] / (rgb.shape[axis] * by) for axis in (1, 0)]
            rows = scaled(answers, factors[0], factors[1])
            data = base64.b64encode(self._pack(picture)).decode("ascii")
            too_long = len(data) + len(json.dumps(rows)) > MOST_PACKED_BYTES
            if not too_long or max(picture.shape[:2]) == 1:
                return picture, rows, data
            self._width = max(1, picture.shape[1] * 3 // 4)


def shrunk(rgb: Array, step: int) -> Array:
    """Make every ``step`` x ``step`` pixels one: the mean of four of them, which is cheap.

    Args:
        rgb: ``uint8[H, W, 3]``.
        step: 1 or more.

    Returns:
        ``uint8[H // step, W // step, 3]``, but at least one pixel high and wide.
    """
    if step == 1:
        return rgb
    height, width = rgb.shape[0] // step, rgb.shape[1] // step
    if not height or not width:
        return rgb[::step, ::step]
    whole = rgb[: height * step, : width * step]
    far = step // 2
    total = whole[::step, ::step].astype(np.uint16)
    total += whole[far::step, ::step]
    total += whole[::step, far::step]
    total += whole[far::step, far::step]
    total += 2
    total >>= 2
    return total.astype(np.uint8)


def scaler() -> Scaler:
    """Return what makes a frame as wide as is asked for here, where it is wider."""
    try:
        import cv2
    except ImportError:
        return lambda rgb, width: shrunk(rgb, -(-rgb.shape[1] // width))

    def exactly(rgb: Array, width: int) -> Array:
        if rgb.shape[1] <= width:
            return rgb
        height = max(1, round(rgb.shape[0] * width / rgb.shape[1]))
        # Of four pixels each, as ``shrunk`` has it: to look at all takes five times as long.
        small: Array = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR)
        return small

    return exactly


def scaled(answers: Sequence[Any], across: float, down: float) -> List[Any]:
    """Put boxes into pixels of the picture; answers of other kinds stay as they are.

    Edges are rounded to a tenth of a pixel, scores to a thousandth: fewer bytes on the link.
    """
    rows = []  # type: List[Any]
    for answer in list(answers)[:MOST_ANSWERS]:
        row = [_plain(value) for value in answer]
        if len(row) == _BOX_FIELDS:
            factors = (across, down, across, down)
            edges = [round(edge * factor, 1) for edge, factor in zip(row[:_EDGES], factors)]
            row = [*edges, round(row[_EDGES], 3), row[_EDGES + 1]]
        rows.append(row)
    return rows


def encoder() -> Tuple[str, Encoder]:
    """Return what a picture is packed as here, and what packs it."""
    try:
        import cv2
    except ImportError:
        return "png", lambda rgb: png(coarse(rgb))

    def jpeg(rgb: Array) -> bytes:
        bgr = np.ascontiguousarray(rgb[:, :, ::-1])
        _, packed = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        return bytes(packed)

    return "jpeg", jpeg


def coarse(rgb: Array) -> Array:
    """Leave 32 of 256 levels, each in the middle of those that it stands for.

    What a camera adds below them is noise, and half of a PNG.
    """
    return (rgb & 0xF8) | 4


def png(rgb: Array) -> bytes:
    """Pack ``uint8[H, W, 3]`` as PNG, with the least work that still makes it smaller.

    Source: PNG specification, https://www.w3.org/TR/png-3/ (5 Datastream structure, 9.2 Filter
    types: 1 is the difference to the pixel on the left).
    """
    height, width = rgb.shape[:2]
    lines = np.empty((height, 1 + 3 * width), np.uint8)
    lines[:, 0] = 1
    levels = rgb.reshape(height, 3 * width)
    lines[:, 1:4] = levels[:, :3]
    np.subtract(levels[:, 3:], levels[:, :-3], out=lines[:, 4:])
    # Strings that come again are rare in what a camera sees, and take most of the time to find.
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 8, zlib.Z_HUFFMAN_ONLY)
    # 8 bits, truecolour, deflate, adaptive filters, not interlaced.
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = packer.compress(lines.tobytes()) + packer.flush()
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def _plain(value: Any) -> Any:
    """One of NumPy's scalars as Python's own, which JSON takes."""
    return value.item() if isinstance(value, np.generic) else value
