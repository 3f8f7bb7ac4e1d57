"""Frames and their times as a Matroska stream.

Raw RGB through a pipe carries no times: who reads it can only count. Matroska is the least that
GStreamer's ``matroskademux`` takes times from, and a file that players read. Sizes are known
before the data, so that there is no way back to go; the segment alone is of unknown size, as in
live streams.
"""

import struct
from collections import namedtuple
from typing import Tuple

import numpy as np

from edgekit.onboard.arrays import Array

# Source: RFC 8794 (EBML), RFC 9559 (Matroska): names of elements.
_EBML = b"\x1a\x45\xdf\xa3"
_DOC_TYPE = b"\x42\x82"
_SEGMENT_UNKNOWN_SIZE = b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff"
_INFO = b"\x15\x49\xa9\x66"
_TIMESTAMP_SCALE = b"\x2a\xd7\xb1"
_TRACKS = b"\x16\x54\xae\x6b"
_TRACK_ENTRY = b"\xae"
_TRACK_NUMBER = b"\xd7"
_TRACK_UID = b"\x73\xc5"
_TRACK_TYPE = b"\x83"
_CODEC_ID = b"\x86"
_DEFAULT_DURATION = b"\x23\xe3\x83"
_VIDEO = b"\xe0"
_PIXEL_WIDTH = b"\xb0"
_PIXEL_HEIGHT = b"\xba"
_COLOUR_SPACE = b"\x2e\xb5\x24"
_CLUSTER = b"\x1f\x43\xb6\x75"
_TIMESTAMP = b"\xe7"
_SIMPLE_BLOCK = b"\xa3"

_VIDEO_TRACK = 1
_UNIT_NS = 1000  # of timestamps
# Track 1, at the cluster's own time, a key frame.
_BLOCK_HEAD = b"\x81\x00\x00\x80"
_NS = 1_000_000_000
_LINE_UNIT = 4  # GStreamer's lines of RGB begin at multiples of this many bytes


class Codec(namedtuple("Codec", "name colours")):
    """What a frame's bytes are: Matroska's name for it, and what that needs to know."""

    __slots__ = ()


RGB = Codec(b"V_UNCOMPRESSED", _COLOUR_SPACE + b"\x84RGB\x18")
JPEG = Codec(b"V_MJPEG", b"")


def head(codec: Codec, size: Tuple[int, int], fps: float) -> bytes:
    """What stands before the first frame.

    Args:
        codec: ``RGB`` or ``JPEG``.
        size: width and height of every frame, in pixels.
        fps: as the source tells it; frames' own times hold.
    """
    video = _numbers((_PIXEL_WIDTH, size[0]), (_PIXEL_HEIGHT, size[1])) + codec.colours
    track = b"".join(
        (
            _numbers((_TRACK_NUMBER, 1), (_TRACK_UID, 1), (_TRACK_TYPE, _VIDEO_TRACK)),
            _element(_CODEC_ID, codec.name),
            _numbers((_DEFAULT_DURATION, round(_NS / fps))),
            _element(_VIDEO, video),
        )
    )
    return b"".join(
        (
            _element(_EBML, _element(_DOC_TYPE, b"matroska")),
            _SEGMENT_UNKNOWN_SIZE,
            _element(_INFO, _numbers((_TIMESTAMP_SCALE, _UNIT_NS))),
            _element(_TRACKS, _element(_TRACK_ENTRY, track)),
        )
    )


def block_head(rgb_bytes: int, at_ns: int) -> bytes:
    """What stands before a frame's own bytes: a cluster for itself.

    Args:
        rgb_bytes: how many follow.
        at_ns: its time since the first frame.
    """
    time = _numbers((_TIMESTAMP, max(0, at_ns) // _UNIT_NS))
    block = _SIMPLE_BLOCK + _size(len(_BLOCK_HEAD) + rgb_bytes) + _BLOCK_HEAD
    return _CLUSTER + _size(len(time) + len(block) + rgb_bytes) + time + block


def lines_of(rgb: Array) -> Array:
    """``uint8[H, W, 3]`` -> contiguous, its lines as long as GStreamer wants them."""
    height, width = rgb.shape[:2]
    stride = -(-width * 3 // _LINE_UNIT) * _LINE_UNIT
    if stride == width * 3:
        return np.ascontiguousarray(rgb)
    lines = np.zeros((height, stride), np.uint8)
    lines[:, : width * 3] = rgb.reshape(height, width * 3)
    return lines


def _numbers(*pairs: Tuple[bytes, int]) -> bytes:
    return b"".join(_element(name, struct.pack(">Q", value)) for name, value in pairs)


def _element(name: bytes, data: bytes) -> bytes:
    return name + _size(len(data)) + data


def _size(count: int) -> bytes:
    """Eight bytes, the first of which says that there are eight."""
    return struct.pack(">Q", (1 << 56) | count)
