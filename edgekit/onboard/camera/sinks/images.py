"""Frames as picture files in a folder, boxes drawn in."""

import contextlib
import os
import re
from collections import OrderedDict
from typing import Any, Mapping, Optional

from edgekit.onboard.camera.frames import Frame
from edgekit.onboard.camera.sinks.boxes import with_boxes
from edgekit.onboard.camera.sinks.pictures import Encoder, find_encoder
from edgekit.onboard.camera.sinks.sink import Sink, cannot_write, needed
from edgekit.onboard.faults import RunFailedError

_OWN = re.compile(r"frame-\d{9,}\.(jpg|png)\Z")
_PART = "frame.part"  # takes the picture's name once it is whole


class ImagesSink(Sink):
    """Writes ``frame-000000042.jpg`` (``.png`` without OpenCV and Pillow), the newest of them.

    Files of such names are kept up to ``most``; for one more, the oldest goes. Those of earlier
    runs count as the oldest, so a folder does not fill up over many runs. Others are not touched.
    """

    kind = "images"
    most = 1000

    def __init__(self, path: str) -> None:
        super().__init__(needed(self.kind, path, "of the folder for the pictures"))
        self._folder = path
        self._encoder: Optional[Encoder] = None
        self._kept: "OrderedDict[str, bool]" = OrderedDict()  # name -> whether it is of this run

    def open(self, facts: Mapping[str, Any]) -> None:  # noqa: ARG002 - the contract's
        """Make the folder where it is missing, in one that is there."""
        try:
            if not os.path.isdir(self._folder):
                os.mkdir(self._folder)
            self._write(_PART, b"")
            os.remove(os.path.join(self._folder, _PART))
            earlier = [name for name in os.listdir(self._folder) if _OWN.match(name)]
            earlier.sort(key=lambda name: os.stat(os.path.join(self._folder, name)).st_mtime)
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        self._kept = OrderedDict((name, False) for name in earlier)
        self._encoder = find_encoder()

    def take(self, frame: Frame) -> None:
        """Write its picture; a name is only ever that of a whole one."""
        if self._encoder is None:
            raise RunFailedError("%s is not open" % self._folder)
        data = self._encoder.encode(with_boxes(frame.rgb, frame.answers))
        name = "frame-%09d%s" % (frame.number, self._encoder.suffix)
        try:
            self._make_room_for(name)
            self._write(_PART, data)
            os.replace(os.path.join(self._folder, _PART), os.path.join(self._folder, name))
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        self._kept[name] = True
        self._count(len(data))

    def _make_room_for(self, name: str) -> None:
        self._kept.pop(name, None)
        while len(self._kept) >= self.most:
            oldest, _ = self._kept.popitem(last=False)
            # Whoever took it away made the room.
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(self._folder, oldest))

    def _write(self, name: str, data: bytes) -> None:
        with open(os.path.join(self._folder, name), "wb") as file:
            file.write(data)

    def close(self) -> None:
        """Bring this run's pictures to the disk."""
        encoder, self._encoder = self._encoder, None
        if encoder is None:
            return
        for name in [name for name, own in self._kept.items() if own]:
            self._settle(os.path.join(self._folder, name))

    def _settle(self, path: str) -> None:
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # somebody took it away
        except OSError as error:
            raise cannot_write(path, error) from error
        try:
            os.fsync(file)
        except OSError as error:
            raise cannot_write(path, error) from error
        finally:
            os.close(file)
