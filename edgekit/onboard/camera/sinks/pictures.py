"""One frame as a picture file: JPEG where a library makes it, else PNG with what Python has."""

import importlib
import io
from collections import namedtuple
from typing import Any

from edgekit.onboard.arrays import Array
from edgekit.onboard.camera.preview import png

_QUALITY = 90


class Encoder(namedtuple("Encoder", "format suffix encode")):
    """What makes pictures on this device.

    Attributes:
        format: ``jpeg`` or ``png``.
        suffix: of its files.
        encode: ``uint8[H, W, 3]`` in RGB -> the file's bytes.
    """

    __slots__ = ()


def find_encoder() -> Encoder:
    """OpenCV or Pillow where one is present; else PNG, which is larger and slower."""
    try:
        import cv2  # noqa: F401
    except ImportError:
        pass
    else:
        return Encoder("jpeg", ".jpg", _by_opencv)
    try:
        importlib.import_module("PIL.Image")
    except ImportError:
        return Encoder("png", ".png", png)
    return Encoder("jpeg", ".jpg", _by_pillow)


def _by_opencv(rgb: Array) -> bytes:
    import cv2

    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    )
    if not done:
        raise ValueError("OpenCV makes no JPEG of %dx%d pixels" % (rgb.shape[1], rgb.shape[0]))
    return bytes(data)


def _by_pillow(rgb: Array) -> bytes:
    image: Any = importlib.import_module("PIL.Image")
    file = io.BytesIO()
    image.fromarray(rgb).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
