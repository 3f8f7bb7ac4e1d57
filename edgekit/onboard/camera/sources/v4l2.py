"""Cameras of Video4Linux: USB cameras, capture cards, image processors of SoCs."""

import contextlib
import errno
import glob
import importlib.util
import os
import select
from typing import Any, List, Mapping, Optional, Tuple

from edgekit.onboard.camera.frames import Captured, Source, SourceEnded, SourceLostError
from edgekit.onboard.camera.v4l2_buffers import Arrived
from edgekit.onboard.camera.v4l2_device import Device
from edgekit.onboard.camera.v4l2_layouts import (
    STAMP_MASK,
    STAMP_MONOTONIC,
    STAMP_SOURCE_MASK,
    STAMP_START_OF_EXPOSURE,
)
from edgekit.onboard.camera.v4l2_offers import JPEGS, READABLE, Wish, choose, offered, summary
from edgekit.onboard.faults import RunFailedError
from edgekit.onboard.timing import clock_ns

_BUFFERS = 6  # two for the driver to fill, the others for frames that wait to be decoded
_STALL_S = 10.0  # a camera that is there and silent for so long has hung
_GONE = (errno.ENODEV, errno.ENOENT, errno.ENXIO)


class V4l2Source(Source):
    """Frames in the driver's own memory, with the driver's own stamps.

    A frame that is held too long costs the camera a buffer; with all of them held it loses frames,
    which its sequence tells.
    """

    def __init__(self, table: Mapping[str, Any]) -> None:
        super().__init__()
        self._name = str(table.get("name") or "")
        self._wish = Wish(
            str(table.get("format") or ""),
            int(table.get("width") or 0),
            int(table.get("height") or 0),
            float(table.get("fps") or 0),
        )
        self._device: Optional[Device] = None
        self._identity: Optional[Tuple[str, str, str]] = None  # once it was open
        self._poll = select.poll()
        self._last_ns = 0
        self._stamped = False

    def open(self) -> None:
        """Begin to capture: see :class:`Source`."""
        path = self._name or _first_camera()
        try:
            path, device = self._found(path)
        except OSError as error:
            raise self._unopened(path, error) from error
        try:
            self._begin(device, path)
        except BaseException as error:
            device.close()
            if isinstance(error, OSError):
                raise self._unopened(path, error) from error
            raise
        self._device = device
        self._identity = device.identity
        self._last_ns = clock_ns()
        self._poll = select.poll()
        self._poll.register(device.fileno(), select.POLLIN)

    def _found(self, path: str) -> Tuple[str, Device]:
        """Open the camera, under another name where it came back under one.

        The kernel gives a name anew only when nobody holds a frame of the camera that had it.
        """
        try:
            return path, Device(path)
        except OSError as error:
            if self._identity is None or error.errno not in _GONE:
                raise
            for other in _device_files():
                with contextlib.suppress(OSError):
                    device = Device(other)
                    if device.identity == self._identity and device.can_stream:
                        return other, device
                    device.close()
            raise

    def _begin(self, device: Device, path: str) -> None:
        if not device.can_stream:
            raise RunFailedError(
                "%s (%s) is no camera that streams; %s" % (path, device.card, _others(path))
            )
        readable = [
            each for each in READABLE if each not in JPEGS or importlib.util.find_spec("cv2")
        ]
        wanted = choose(device, self._wish, readable)
        if self._wish.format and self._wish.format not in READABLE:
            raise RunFailedError(
                "camera %s: frames of format %s cannot be read; %s"
                % (path, self._wish.format, summary(device))
            )
        picture = device.set_picture(*wanted) if wanted else None
        if picture is None or picture[:3] != wanted:
            what = self._wish.words or "any format that can be read"
            raise RunFailedError("camera %s does not offer %s; %s" % (path, what, summary(device)))
        self._picture = picture
        fps = device.set_rate(self._wish.fps)
        flags = device.start(_BUFFERS)
        self._stamped = flags & STAMP_MASK == STAMP_MONOTONIC
        self.facts = {
            "kind": "v4l2",
            "name": path,
            "driver": device.driver,
            "card": device.card,
            "format": picture.format,
            "width": picture.width,
            "height": picture.height,
            "fps": fps,
            "timestamps": "capture" if self._stamped else "arrival",
            "buffers": len(device.buffers),
            "offered": offered(device),
        }
        if self._stamped:
            at_start = flags & STAMP_SOURCE_MASK == STAMP_START_OF_EXPOSURE
            self.facts["stamped_at"] = "start of exposure" if at_start else "end of frame"
        self._tell_exposure(device)

    def _tell_exposure(self, device: Device) -> None:
        exposure_ns = device.exposure_ns()
        if exposure_ns:
            self.facts["exposure_ns"] = exposure_ns

    def read(self, timeout_s: float) -> Optional[Captured]:
        """Return the next frame: see :class:`Source`."""
        device = self._device
        if device is None:
            raise SourceLostError("camera %s is not open" % self._name)
        if not device.buffers.wait_for_one(timeout_s):
            self._last_ns = clock_ns()  # it is the readers who hold it up
            return None
        events = self._poll.poll(max(0, timeout_s * 1000))
        arrived_ns = clock_ns()
        try:
            arrived = device.buffers.take() if events else None
        except OSError as error:
            raise self._lost(error) from error
        if arrived is not None:
            self._last_ns = arrived_ns
            return self._captured(device, arrived, arrived_ns)
        if events and events[0][1] & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
            raise SourceLostError("camera %s is gone" % self.facts["name"])
        if arrived_ns - self._last_ns > _STALL_S * 1e9:
            raise SourceLostError(
                "camera %s gave no frame for %d s" % (self.facts["name"], _STALL_S)
            )
        return None

    def _captured(self, device: Device, arrived: Arrived, arrived_ns: int) -> Captured:
        picture = self._picture
        captured_ns = arrived.stamp_ns if self._stamped else arrived_ns
        if captured_ns > arrived_ns:  # reckoned, not read: some drivers stamp the end in advance
            captured_ns = arrived_ns
            self.facts["stamps_ahead"] = self.facts.get("stamps_ahead", 0) + 1
        return Captured(
            arrived.data,
            *picture[:4],
            captured_ns,
            arrived_ns,
            arrived.sequence,
            arrived.is_corrupt,
            device.buffers.giver(arrived.index),
        )

    def close(self) -> None:
        """Stop capturing: see :class:`Source`."""
        device, self._device = self._device, None
        if device is not None:
            self._tell_exposure(device)  # where it is automatic, this is where it has settled
            device.close()

    def _lost(self, error: OSError) -> Exception:
        name = self.facts["name"]
        if error.errno == errno.EPIPE:
            return SourceEnded("camera %s has given its last frame" % name)
        if error.errno in _GONE:
            return SourceLostError("camera %s is gone" % name)
        return SourceLostError("camera %s failed: %s" % (name, error.strerror))

    def _unopened(self, path: str, error: OSError) -> Exception:
        if self._identity is not None:
            return SourceLostError("camera %s is not back: %s" % (path, error.strerror))
        return RunFailedError(_unusable(path, error))


def _unusable(path: str, error: OSError) -> str:
    if error.errno in _GONE:
        return "there is no camera %s; %s" % (path, _others(path))
    if error.errno in (errno.EACCES, errno.EPERM):
        return "camera %s may not be opened; %s" % (path, _who_may(path))
    if error.errno == errno.EBUSY:
        return "camera %s is busy: %s" % (path, _holders(path))
    if error.errno == errno.ENOTTY:
        return "%s is no camera; %s" % (path, _others(path))
    if error.errno == errno.EPIPE:
        return (
            "camera %s: its sensor is not linked to it; set the links up by media-ctl, "
            "or take it through libcamera (source gstreamer, libcamerasrc)" % path
        )
    return "camera %s cannot be used: %s" % (path, error.strerror)


def _device_files() -> List[str]:
    return sorted(glob.glob("/dev/video*"), key=lambda each: (len(each), each))


def cameras() -> List[str]:
    """Device files that frames can be captured from, with the card: ``/dev/video0 (C920)``."""
    found = []
    for path in _device_files():
        try:
            device = Device(path)
        except OSError:
            continue
        if device.can_stream:
            found.append("%s (%s)" % (path, device.card))
        device.close()
    return found


def _first_camera() -> str:
    for each in cameras():
        return each.split(" ", 1)[0]
    return "/dev/video0"


def _others(path: str) -> str:
    there = [each for each in cameras() if each.split(" ", 1)[0] != path]
    return "cameras here: %s" % (", ".join(there) or "none that this user may open")


def _who_may(path: str) -> str:
    try:
        import grp

        group = grp.getgrgid(os.stat(path).st_gid).gr_name
    except (ImportError, KeyError, OSError):
        group = "video"
    if group == "root":  # no rule of udev's has given it to anybody
        group = "video"
    return "its user must be in group %s: sudo usermod -aG %s USER, then log in again" % (
        group,
        group,
    )


def _holders(path: str) -> str:
    """Who has the device open, as far as this user may see."""
    real, found = os.path.realpath(path), []
    for process in filter(str.isdigit, os.listdir("/proc")):
        folder = "/proc/%s" % process
        try:
            links = [os.readlink("%s/fd/%s" % (folder, fd)) for fd in os.listdir(folder + "/fd")]
            with open(folder + "/comm", encoding="utf-8", errors="replace") as stream:
                name = stream.read().strip()
        except OSError:  # gone, or another user's
            continue
        if real in links and int(process) != os.getpid():
            found.append("%s (process %s)" % (name, process))
    if found:
        return "it is held by %s" % ", ".join(found)
    return "another program holds it"
