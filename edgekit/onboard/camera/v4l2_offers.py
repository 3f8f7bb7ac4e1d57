"""What a V4L2 camera offers: formats, sizes, rates; and which of them is to be used."""

from collections import namedtuple
from typing import Any, Dict, List, Sequence

from edgekit.onboard.camera import v4l2_layouts as v4l2
from edgekit.onboard.camera.v4l2_device import Device

# What ``edgekit.onboard.camera.pixels`` can read, what costs least first.
READABLE = ("YUYV", "UYVY", "NV12", "NV21", "YU12", "RGB3", "BGR3", "GREY", "MJPG", "JPEG")
JPEGS = ("MJPG", "JPEG")
_MOST_NAMED = 10  # formats in one message
_USUAL_FPS = 30.0  # a format that comes slower gives way to one that does not


class Sizes(namedtuple("Sizes", "least most step")):
    """One size of a format, or a range of them; each is a width and a height in pixels."""

    __slots__ = ()

    def has(self, size: Sequence[int]) -> bool:
        """Whether a width and height is among them."""
        return all(
            least <= edge <= most and (edge - least) % max(1, step) == 0
            for edge, least, most, step in zip(size, self.least, self.most, self.step)
        )

    @property
    def words(self) -> str:
        """Such as ``640x480`` or ``48x32..1920x1080 in steps of 2x2``."""
        if self.least == self.most:
            return "%dx%d" % self.most
        steps = "" if self.step == (1, 1) else " in steps of %dx%d" % self.step
        return "%dx%d..%dx%d%s" % (*self.least, *self.most, steps)


class Rates(namedtuple("Rates", "least most listed")):
    """Frames a second of a format and size; all 0 where the driver does not tell.

    Attributes:
        listed: every one of them, the highest first; empty where any between the two will do.
    """

    __slots__ = ()

    @property
    def words(self) -> str:
        """Such as `` 30, 15 fps``; empty where nothing is known."""
        if not self.most:
            return ""
        if self.listed:
            return " %s fps" % ", ".join("%.4g" % fps for fps in self.listed)
        return " %.4g..%.4g fps" % (self.least, self.most)


def sizes_of(device: Device, name: str) -> List[Sizes]:
    """The sizes of a format; none where the driver does not tell."""
    found = []
    for each in device.sizes(name):
        bounds = tuple(each.bounds)
        if each.type == v4l2.DISCRETE:
            found.append(Sizes(bounds[:2], bounds[:2], (1, 1)))
        else:
            found.append(Sizes(*[(bounds[i], bounds[3 + i]) for i in range(3)]))
    return found


def rates_of(device: Device, name: str, size: Sequence[int]) -> Rates:
    """The rates of a format and size."""
    listed, bounds = set(), set()
    for each in device.intervals(name, size[0], size[1]):
        parts = list(each.fractions)
        rates = [parts[i + 1] / parts[i] for i in (0, 2) if parts[i] and each.type != v4l2.DISCRETE]
        bounds.update(rates)
        if each.type == v4l2.DISCRETE and parts[0]:
            listed.add(parts[1] / parts[0])
    every = sorted(listed | bounds, reverse=True)
    if not every:
        return Rates(0.0, 0.0, ())
    return Rates(every[-1], every[0], () if bounds else tuple(every))


def offered(device: Device) -> List[str]:
    """All that the camera offers, in words: ``YUYV 640x480 30, 15 fps``."""
    return [
        " ".join(filter(None, (name, each)))
        for name in device.formats()
        for each in _of(device, name)
    ]


def _of(device: Device, name: str) -> Sequence[str]:
    if name not in READABLE:
        return ["(not read here)"]
    sizes = sizes_of(device, name)
    return [each.words + rates_of(device, name, each.most).words for each in sizes] or [""]


def summary(device: Device) -> str:
    """The same on one line: formats with equal sizes and rates stand together."""
    alike: Dict[str, List[str]] = {}
    for name in device.formats():
        alike.setdefault("; ".join(_of(device, name)), []).append(name)
    groups = ["%s %s" % (_few(names), sizes) for sizes, names in alike.items()]
    return "it offers %s" % (" | ".join(each.rstrip() for each in groups) or "nothing")


def _few(names: List[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (" and %d more" % more if more > 0 else "")


class Wish(namedtuple("Wish", "format width height fps")):
    """What is asked for; empty and 0 for whatever there is."""

    __slots__ = ()

    @property
    def words(self) -> str:
        """Such as ``NV12 1920x1080``."""
        size = "%sx%s" % (self.width or "any", self.height or "any")
        return " ".join(part for part in (self.format, size) if part and part != "anyxany")


def choose(device: Device, wish: Wish, readable: Sequence[str] = READABLE) -> Any:
    """Choose format and size.

    Args:
        device: the camera.
        wish: what must be kept to.
        readable: formats that can be read here, the one to prefer first.

    Returns:
        Name, width and height; ``None`` where nothing that is offered will do.
    """
    now = device.picture()
    size = (wish.width or now.width, wish.height or now.height)
    there = device.formats()
    names = [wish.format] if wish.format else readable
    goal = wish.fps or _USUAL_FPS
    best, found = -1.0, None
    for name in names:
        sizes = sizes_of(device, name) if name in there else []
        # Who does not tell the sizes is asked by setting one.
        if name not in there or (sizes and not any(each.has(size) for each in sizes)):
            continue
        reach = min(goal, rates_of(device, name, size).most)
        if reach > best:
            best, found = reach, (name, *size)
    return found
