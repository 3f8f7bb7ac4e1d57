"""Images of a folder, by the order of their names."""

import importlib.util
import os
from typing import Any, List, Mapping

import numpy as np

from edgekit.onboard.arrays import Array
from edgekit.onboard.camera.frames import SourceEnded
from edgekit.onboard.camera.sources.files import FileSource, Picture, check_wanted
from edgekit.onboard.faults import RunFailedError

_IMAGES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_ARRAYS = (".npy",)


class FolderSource(FileSource):
    """``.npy`` are ``uint8[H, W, 3]`` in RGB; other images are read by OpenCV, else by Pillow.

    Those that cannot be read are frames that are corrupt.
    """

    def __init__(self, table: Mapping[str, Any]) -> None:
        super().__init__(table)
        self._paths: List[str] = []
        self._size = (0, 0)

    def open(self) -> None:
        """Begin to capture: see :class:`Source`."""
        name = self._wanted.name
        known = (*_ARRAYS, *_IMAGES)
        if os.path.isdir(name):
            paths = [os.path.join(name, each) for each in sorted(os.listdir(name))]
            self._paths = [path for path in paths if path.lower().endswith(known)]
        elif os.path.isfile(name):
            self._paths = [name]
        else:
            raise RunFailedError("there is no folder of images %s" % name)
        if not self._paths:
            raise RunFailedError("folder %s has no images (%s)" % (name, ", ".join(known)))
        self._by = _reader(self._paths)
        self._count = 0
        first = self._picture(self._paths[0])
        if first.data is None and len(self._paths) == 1:
            raise RunFailedError("%s cannot be read as an image" % self._paths[0])
        self.facts = {
            "kind": "folder",
            "name": name,
            "driver": self._by,
            "card": "%d images" % len(self._paths),
            "format": first.format,
            "width": first.width,
            "height": first.height,
            "fps": self._wanted.fps,
            "timestamps": "capture",
            "offered": [],
        }

    def close(self) -> None:
        """Stop capturing: see :class:`Source`."""
        self._paths = []

    def _next(self) -> Picture:
        if self._count >= len(self._paths):
            raise SourceEnded("folder %s has no more images" % self._wanted.name)
        return self._picture(self._paths[self._count])

    def _picture(self, path: str) -> Picture:
        by = "numpy" if path.lower().endswith(_ARRAYS) else self._by
        name = "BGR3" if by == "opencv" else "RGB3"
        data = _read(path, by)
        if data is None:
            return Picture(None, name, *self._size)
        self._size = (data.shape[1], data.shape[0])
        check_wanted(self._wanted, "image %s" % path, name, self._size)
        return Picture(data, name, *self._size)


def _reader(paths: List[str]) -> str:
    """What reads those that NumPy does not."""
    images = [path for path in paths if not path.lower().endswith(_ARRAYS)]
    if not images:
        return "numpy"
    for module, name in (("cv2", "opencv"), ("PIL", "pillow")):
        if importlib.util.find_spec(module):
            return name
    raise RunFailedError(
        "image %s needs OpenCV or Pillow on the board: pip install opencv-python-headless"
        % images[0]
    )


def _read(path: str, by: str) -> Any:
    """``uint8[H, W, 3]``, or ``None``."""
    try:
        data = {"numpy": _by_numpy, "opencv": _by_opencv, "pillow": _by_pillow}[by](path)
    except (OSError, ValueError, EOFError, SyntaxError):  # the last: Pillow's for a broken PNG
        return None
    if data is None or data.dtype != np.uint8 or data.shape[2:] != (3,) or not data.size:
        return None
    return np.ascontiguousarray(data)


def _by_numpy(path: str) -> Array:
    loaded: Array = np.load(path, allow_pickle=False)
    return loaded


def _by_opencv(path: str) -> Any:
    import cv2

    # Not by imread: it knows no names that are not ASCII on some systems, and says little.
    try:
        return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # nothing at all, or more pixels than it takes
        return None


def _by_pillow(path: str) -> Array:
    pillow: Any = importlib.import_module("PIL.Image")
    with pillow.open(path) as image:
        return np.asarray(image.convert("RGB"))
