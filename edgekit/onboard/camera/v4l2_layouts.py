"""Structures and numbers of Video4Linux, for the userland that this Python runs in.

ctypes lays them out as the C compiler does, so they are right for 64 and for 32 bits: there
``timeval`` is two 32-bit numbers, for which every kernel has an entry of its own.

Source: include/uapi/linux/videodev2.h, include/uapi/linux/v4l2-controls.h and
include/uapi/asm-generic/ioctl.h of the kernel; their values never change.
"""

import ctypes
from ctypes import Structure, Union, c_char, c_int32, c_long, c_uint8, c_uint16, c_uint32, c_ulong

MOST_PLANES = 8

CAPTURE, CAPTURE_PLANES = 1, 9  # v4l2_buf_type
MEMORY_MMAP = 1
FIELD_ANY = 0

CAP_CAPTURE, CAP_CAPTURE_PLANES = 0x00000001, 0x00001000
CAP_STREAMING, CAP_DEVICE_CAPS = 0x04000000, 0x80000000
CAP_TIME_PER_FRAME = 0x1000

FLAG_ERROR = 0x00000040
STAMP_MASK, STAMP_MONOTONIC = 0x0000E000, 0x00002000
STAMP_SOURCE_MASK, STAMP_START_OF_EXPOSURE = 0x00070000, 0x00010000

DISCRETE = 1  # of frame sizes and of frame intervals
EXPOSURE_ABSOLUTE = 0x009A0902  # in units of 100 us


class Capability(Structure):
    """Who the driver is, and what it can do."""

    _fields_ = [
        ("driver", c_char * 16),
        ("card", c_char * 32),
        ("bus", c_char * 32),
        *[(name, c_uint32) for name in ("version", "capabilities", "device_caps")],
        ("reserved", c_uint32 * 3),
    ]


class FormatDescription(Structure):
    """One format that is offered."""

    _fields_ = [
        *[(name, c_uint32) for name in ("index", "type", "flags")],
        ("description", c_char * 32),
        *[(name, c_uint32) for name in ("format", "mbus_code")],
        ("reserved", c_uint32 * 3),
    ]


class FrameSize(Structure):
    """One size of a format, or the bounds of all."""

    _fields_ = [
        *[(name, c_uint32) for name in ("index", "format", "type")],
        # width, height of a discrete one; else the least, the most and the step of both
        ("bounds", c_uint32 * 6),
        ("reserved", c_uint32 * 2),
    ]


class FrameInterval(Structure):
    """One time from frame to frame."""

    _fields_ = [
        *[(name, c_uint32) for name in ("index", "format", "width", "height", "type")],
        # one fraction where it is discrete; else the least, the most and the step
        ("fractions", c_uint32 * 6),
        ("reserved", c_uint32 * 2),
    ]


class Picture(Structure):
    """The format of frames in one plane."""

    _fields_ = [
        *[(name, c_uint32) for name in ("width", "height", "format", "field", "stride", "size")],
        *[(name, c_uint32) for name in ("colorspace", "private", "flags", "encoding")],
        *[(name, c_uint32) for name in ("quantization", "transfer")],
    ]


class PlanePicture(Structure):
    """How one plane of several lies."""

    _pack_ = 1
    _fields_ = [("size", c_uint32), ("stride", c_uint32), ("reserved", c_uint16 * 6)]


class PlanesPicture(Structure):
    """The format of frames whose planes have memory of their own."""

    _pack_ = 1
    _fields_ = [
        *[(name, c_uint32) for name in ("width", "height", "format", "field", "colorspace")],
        ("planes", PlanePicture * MOST_PLANES),
        *[(name, c_uint8) for name in ("count", "flags", "encoding", "quantization", "transfer")],
        ("reserved", c_uint8 * 7),
    ]


class _AnyPicture(Union):
    # The pointer is another member's: it aligns them all.
    _fields_ = [
        ("one", Picture),
        ("planes", PlanesPicture),
        ("raw", c_uint8 * 200),
        ("pointer", ctypes.c_void_p),
    ]


class Format(Structure):
    """What frames look like."""

    _fields_ = [("type", c_uint32), ("picture", _AnyPicture)]


class _CaptureParameters(Structure):
    _fields_ = [
        *[(name, c_uint32) for name in ("capability", "mode", "numerator", "denominator")],
        *[(name, c_uint32) for name in ("extended", "buffers")],
        ("reserved", c_uint32 * 4),
    ]


class _AnyParameters(Union):
    _fields_ = [("capture", _CaptureParameters), ("raw", c_uint8 * 200)]


class Parameters(Structure):
    """How often frames come."""

    _fields_ = [("type", c_uint32), ("of", _AnyParameters)]


class BufferRequest(Structure):
    """How many buffers there are to be."""

    _fields_ = [
        *[(name, c_uint32) for name in ("count", "type", "memory", "capabilities")],
        ("flags", c_uint8),
        ("reserved", c_uint8 * 3),
    ]


class _Where(Union):
    _fields_ = [("offset", c_uint32), ("pointer", c_ulong), ("fd", c_int32)]


class Plane(Structure):
    """One plane of a buffer."""

    _fields_ = [
        *[(name, c_uint32) for name in ("used", "length")],
        ("where", _Where),
        ("first", c_uint32),
        ("reserved", c_uint32 * 11),
    ]


class Buffer(Structure):
    """One buffer; ``where.pointer`` leads to planes where there are such."""

    _fields_ = [
        *[(name, c_uint32) for name in ("index", "type", "used", "flags", "field")],
        *[(name, c_long) for name in ("seconds", "microseconds")],
        ("timecode", c_uint32 * 4),
        *[(name, c_uint32) for name in ("sequence", "memory")],
        ("where", _Where),
        *[(name, c_uint32) for name in ("length", "reserved", "request")],
    ]


class Control(Structure):
    """The value of one control."""

    _fields_ = [("id", c_uint32), ("value", c_int32)]


def _number(way: int, number: int, size: int) -> int:
    """Source: asm-generic/ioctl.h; ARM and x86 have it so."""
    return way << 30 | size << 16 | ord("V") << 8 | number


_WRITE, _READ, _BOTH = 1, 2, 3

QUERYCAP = _number(_READ, 0, ctypes.sizeof(Capability))
ENUM_FMT = _number(_BOTH, 2, ctypes.sizeof(FormatDescription))
G_FMT = _number(_BOTH, 4, ctypes.sizeof(Format))
S_FMT = _number(_BOTH, 5, ctypes.sizeof(Format))
REQBUFS = _number(_BOTH, 8, ctypes.sizeof(BufferRequest))
QUERYBUF = _number(_BOTH, 9, ctypes.sizeof(Buffer))
QBUF = _number(_BOTH, 15, ctypes.sizeof(Buffer))
DQBUF = _number(_BOTH, 17, ctypes.sizeof(Buffer))
STREAMON = _number(_WRITE, 18, ctypes.sizeof(c_int32))
STREAMOFF = _number(_WRITE, 19, ctypes.sizeof(c_int32))
G_PARM = _number(_BOTH, 21, ctypes.sizeof(Parameters))
S_PARM = _number(_BOTH, 22, ctypes.sizeof(Parameters))
G_CTRL = _number(_BOTH, 27, ctypes.sizeof(Control))
ENUM_FRAMESIZES = _number(_BOTH, 74, ctypes.sizeof(FrameSize))
ENUM_FRAMEINTERVALS = _number(_BOTH, 75, ctypes.sizeof(FrameInterval))


def fourcc(name: str) -> int:
    """Four characters -> the number that V4L2 has for them."""
    return int.from_bytes(name.ljust(4).encode("ascii"), "little")


def name_of(code: int) -> str:
    """The number -> four characters, those that cannot be printed as ``?``."""
    letters = (code & 0x7FFFFFFF).to_bytes(4, "little").decode("latin-1")
    return "".join(each if " " <= each <= "~" else "?" for each in letters).rstrip()
