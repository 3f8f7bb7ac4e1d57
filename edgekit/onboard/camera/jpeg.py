"""JPEGs to RGB, by OpenCV: whole, or at a part of their size, which its decoder makes at once."""

from typing import Any, Optional, Tuple, Union

from edgekit.onboard.arrays import Array
from edgekit.onboard.faults import RunFailedError

_START, _END = b"\xff\xd8", b"\xff\xd9"
# Source: ITU-T T.81, table B.1: the frame headers are C0 to CF but for DHT, JPG and DAC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers that no segment follows
_FILL = 0xFF


def decoded(
    format_name: str, data: Array, size: Tuple[int, int], by: int = 1, out: Optional[Array] = None
) -> Array:
    """Decode a JPEG.

    Args:
        format_name: of the camera, for the words.
        data: ``uint8[N]``; whatever follows the picture is left out.
        size: width and height that the picture is to have.
        by: 1, 2, 4 or 8, and a divisor of both: the picture is made at that part of its size.
        out: where to write; used only where the decoder has no memory of its own.

    Raises:
        ValueError: it is no whole JPEG, or one of another size.
        RunFailedError: there is no OpenCV.
    """
    try:
        import cv2
    except ImportError as error:
        raise RunFailedError(
            "frames of %s need OpenCV on the board: pip install opencv-python-headless, "
            "or ask the camera for another format" % format_name
        ) from error
    content = data.tobytes()
    _check_whole(content)
    if by > 1:
        # What comes out of the decoder is rounded up: it does not tell what the size was.
        _check_size(told_size(content), size)
    in_rgb = getattr(cv2, "IMREAD_COLOR_RGB", None)  # came with OpenCV 4.11, and spares a copy
    flags = _flags(cv2, by, in_rgb)
    image: Any = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    _check_size(None if image is None else (image.shape[1] * by, image.shape[0] * by), size)
    rgb: Array = image
    if in_rgb is None or by > 1:
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, out)
    return rgb


def _flags(cv2: Any, by: int, in_rgb: Optional[int]) -> int:
    if by > 1:  # these have no form in RGB; of a small picture a copy costs little
        return int(getattr(cv2, "IMREAD_REDUCED_COLOR_%d" % by))
    return int(cv2.IMREAD_COLOR if in_rgb is None else in_rgb)


def _check_size(found: Optional[Tuple[int, int]], size: Tuple[int, int]) -> None:
    if found != size:
        words = "none" if found is None else "%d x %d pixels" % found
        raise ValueError("a JPEG of %s was to be %dx%d" % (words, *size))


def _check_whole(content: bytes) -> None:
    """Refuse half an image: the decoder would fill up the rest with grey."""
    if content[:2] != _START:
        raise ValueError("a frame that does not begin as a JPEG does")
    # Cameras fill up what follows the end with anything, so it is looked for from behind.
    if content.rfind(_END) < 0:
        raise ValueError("a JPEG without its end")


def told_size(content: Union[bytes, memoryview]) -> Optional[Tuple[int, int]]:
    """Return width and height as the frame's header has them; ``None`` where there is none.

    Source: ITU-T T.81, B.1.1 (markers) and B.2.2 (frame header).
    """
    at = len(_START)
    while at + 9 <= len(content) and content[at] == _FILL:
        marker = content[at + 1]
        if marker == _FILL:
            at += 1
        elif marker in _BARE:
            at += 2
        elif marker in _FRAMES:
            height, width = content[at + 5 : at + 7], content[at + 7 : at + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        else:
            at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None
