"""A camera's bytes to RGB.

YUV is taken as BT.601 in its limited range (black 16, white 235), which is what cameras send unless
they say otherwise, in integers::

    c, d, e = y - 16, u - 128, v - 128
    r = clip((298 * c           + 409 * e + 128) >> 8)
    g = clip((298 * c - 100 * d - 208 * e + 128) >> 8)
    b = clip((298 * c + 516 * d           + 128) >> 8)

Chroma is that of the nearest sample: nothing is interpolated. ``GREY`` is taken as it is.

Where a smaller picture will do, each of its pixels is made of the mean of the samples that it
covers, plane by plane, rounded half up; and of these means the colour is, once.
Source of the formula: Microsoft, "Recommended 8-Bit YUV Formats for Video Rendering", Converting
8-bit YUV to RGB888. Source of the layouts: the kernel's "Video for Linux API", Image Formats.

NumPy's is the reference; where a library of steps is taken up it does the same, to the last bit,
and lets other threads run meanwhile.
"""

from typing import Any, Optional, Tuple

import numpy as np

from edgekit.onboard import native
from edgekit.onboard.arrays import Array
from edgekit.onboard.camera.frames import Captured
from edgekit.onboard.camera.jpeg import decoded
from edgekit.onboard.faults import RunFailedError

_PACKED_YUV = {"YUYV": (0, 1, 3), "UYVY": (1, 0, 2)}  # where Y, U and V of two pixels begin
_HALF_CHROMA = {"NV12": (0, 1), "NV21": (1, 0)}  # where U and V of a pair lie
_CODES = {
    name: code
    for code, name in enumerate(("YUYV", "UYVY", "NV12", "NV21", "YU12", "GREY", "RGB3", "BGR3"))
}  # the enumeration of native/steps.h
_BYTES = {"YUYV": 2, "UYVY": 2, "RGB3": 3, "BGR3": 3}  # of a pixel in the first plane, if not 1
_JPEG = ("MJPG", "JPEG")
_LARGEST_EDGE = 1 << 16  # in pixels; C's offsets within a line stay far below 32 bits

FORMATS = (*_CODES, *_JPEG)
"""What can be made RGB."""

REDUCIBLE = (*_PACKED_YUV, *_HALF_CHROMA, "YU12", *_JPEG)
"""What can be made a smaller picture: with the others that costs more than it saves."""

REDUCTIONS = (2, 4, 8)
"""By what."""


def to_rgb(captured: Captured, out: Optional[Array] = None, by: int = 1) -> Array:
    """Make a frame RGB.

    Args:
        captured: what the source gave; its buffer may be given back afterwards.
        out: where to write, ``uint8[H / by, W / by, 3]`` without gaps; a new array if ``None``.
        by: how many times smaller in both directions: 1, or one of ``REDUCTIONS`` for what is
            ``REDUCIBLE``, and a divisor of width and height.

    Returns:
        ``uint8[H / by, W / by, 3]``; ``out`` itself where it was handed over, but for a whole
        JPEG, whose decoder has memory of its own.

    Raises:
        ValueError: the content is none of its format: too short, of an odd size where the format
            has pairs of pixels, or no whole JPEG; or its size is no multiple of ``by``.
        RunFailedError: the format is none that can be read here.
    """
    shape = _shape(captured, by)
    if out is not None and not _fits(out, shape):
        raise ValueError("what is to be written to is not a plain uint8[%d, %d, 3]" % shape[:2])
    if captured.format in _JPEG:
        size = (captured.width, captured.height)
        return decoded(captured.format, _bytes_of(captured.data), size, by, out)
    if captured.format not in _CODES:
        raise RunFailedError(
            "frames of format %s cannot be read; those of %s can"
            % (captured.format, ", ".join(FORMATS))
        )
    stride = _checked_stride(captured)
    data = _bytes_of(captured.data)
    least = least_bytes(captured.format, captured.width, captured.height, stride)
    if data.size < least:
        raise ValueError("a frame of %d bytes where %d are needed" % (data.size, least))
    rgb = np.empty(shape, np.uint8) if out is None else out
    library = native.taken_up()
    if library is None:
        _write(captured, data, stride, by, rgb)
        return rgb
    about = (_CODES[captured.format], captured.width, captured.height, stride)
    if by == 1:
        library.rgb(*about, _address(data), _address(rgb))
    else:
        library.reduced(*about, by, _address(data), _address(rgb))
    return rgb


def packed_stride(name: str, width: int) -> int:
    """Return the bytes of a line of the first plane, where lines follow without a gap."""
    return width * _BYTES.get(name, 1)


def least_bytes(name: str, width: int, height: int, stride: int) -> int:
    """Return how many bytes a frame has, up to the last pixel."""
    last = packed_stride(name, width)
    if name in _HALF_CHROMA:
        return stride * height + stride * (height // 2 - 1) + width
    if name == "YU12":
        return stride * height + (stride // 2) * (height - 1) + width // 2
    return stride * (height - 1) + last


def _checked_stride(captured: Captured) -> int:
    name, width, height = captured.format, captured.width, captured.height
    if not (0 < width <= _LARGEST_EDGE and 0 < height <= _LARGEST_EDGE):
        raise ValueError("a frame of %d x %d pixels" % (width, height))
    planes = name in _HALF_CHROMA or name == "YU12"
    if (width % 2 and (planes or name in _PACKED_YUV)) or (height % 2 and planes):
        raise ValueError("a frame of %s cannot be %d x %d pixels" % (name, width, height))
    stride = captured.stride or packed_stride(name, width)
    if stride < packed_stride(name, width) or (stride % 2 and name == "YU12"):
        raise ValueError("lines of %d bytes for %d pixels of %s" % (stride, width, name))
    return int(stride)


def _shape(captured: Captured, by: int) -> Tuple[int, int, int]:
    width, height = captured.width, captured.height
    can_be = by in REDUCTIONS and captured.format in REDUCIBLE
    if by != 1 and (not can_be or width % by or height % by):
        raise ValueError(
            "a frame of %s, %d x %d pixels, cannot be made %r times smaller"
            % (captured.format, width, height, by)
        )
    return (height // by, width // by, 3)


def _fits(out: Array, shape: Tuple[int, ...]) -> bool:
    return out.shape == shape and out.dtype == np.uint8 and bool(out.flags.c_contiguous)


def _bytes_of(data: Any) -> Array:
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    return np.frombuffer(data, np.uint8)


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def _write(captured: Captured, data: Array, stride: int, by: int, rgb: Array) -> None:
    name, height, width = captured.format, captured.height, captured.width
    lines = _lines(data, 0, height, stride, packed_stride(name, width))
    if name == "RGB3":
        rgb[...] = lines.reshape(rgb.shape)
    elif name == "BGR3":
        rgb[...] = lines.reshape(rgb.shape)[:, :, ::-1]
    elif name == "GREY":
        rgb[...] = lines[:, :, None]
    elif name in _PACKED_YUV:
        first_y, first_u, first_v = _PACKED_YUV[name]
        u, v = [_means(lines[:, at::4], by, max(1, by // 2)) for at in (first_u, first_v)]
        _blend(_means(lines[:, first_y::2], by, by), u, v, rgb)
    else:
        half = max(1, by // 2)
        u, v = [_means(each, half, half) for each in _chroma(name, data, stride, height, width)]
        _blend(_means(lines, by, by), u, v, rgb)


def _chroma(name: str, data: Array, stride: int, height: int, width: int) -> Tuple[Array, Array]:
    """U and V where they lie behind Y, each ``uint8[height / 2, width / 2]``."""
    if name in _HALF_CHROMA:
        pairs = _lines(data, height * stride, height // 2, stride, width)
        first_u, first_v = _HALF_CHROMA[name]
        return pairs[:, first_u::2], pairs[:, first_v::2]
    half = (height // 2, stride // 2, width // 2)
    second = height * stride + half[0] * half[1]
    return _lines(data, height * stride, *half), _lines(data, second, *half)


def _means(samples: Array, down: int, across: int) -> Array:
    """The mean of each ``down`` x ``across`` of ``uint8[H, W]``, rounded half up."""
    if down == across == 1:
        return samples
    height, width = samples.shape[0] // down, samples.shape[1] // across
    # 16 bits hold what 8 x 8 samples are together.
    tall = samples.reshape(height, down, width * across).sum(axis=1, dtype=np.uint16)
    sums = tall.reshape(height, width, across).sum(axis=2, dtype=np.uint16)
    means: Array = (sums + np.uint16(down * across // 2)) // np.uint16(down * across)
    return means


def _lines(data: Array, first: int, count: int, stride: int, length: int) -> Array:
    """A plane ``uint8[count, length]``; its last line may end where the data does."""
    return np.lib.stride_tricks.as_strided(
        data[first:], (count, length), (stride, 1), writeable=False
    )


def _blend(y: Array, u: Array, v: Array, rgb: Array) -> None:
    luma = 298 * (y.astype(np.int32) - 16)
    d, e = u.astype(np.int32) - 128, v.astype(np.int32) - 128
    for channel, chroma in enumerate((409 * e, -100 * d - 208 * e, 516 * d)):
        wide = chroma + 128
        for axis in (0, 1):
            if wide.shape[axis] != luma.shape[axis]:
                wide = np.repeat(wide, 2, axis=axis)
        wide += luma
        wide >>= 8
        rgb[:, :, channel] = np.minimum(np.maximum(wide, 0), 255)
