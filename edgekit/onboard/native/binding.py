"""``libsteps.so`` through ctypes: its structures (``steps.h``) and its functions.

Whoever calls has checked every size: C believes what it is told.
"""

import ctypes
from ctypes import POINTER, Structure, byref, c_float, c_int32, c_void_p
from typing import Any

from edgekit.onboard.arrays import Array

_VERSION = 3  # STEPS_VERSION of steps.h
LARGEST_EDGE = 1 << 20  # of a frame or an input, in pixels: indices stay within 32 bits

DTYPES = {"float32": 0, "int8": 1, "uint8": 2}


class Image(Structure):
    """How a frame becomes a tensor."""

    _fields_ = [
        *[(name, c_int32) for name in ("frame_width", "height", "width")],
        *[(name, c_int32) for name in ("top", "bottom", "left", "right")],
        *[(name, c_int32) for name in ("block", "channels_last", "bgr", "dtype")],
        *[(name, c_float * 3) for name in ("gain", "offset", "pad")],
        *[(name, c_void_p) for name in ("row_near", "row_far", "row_weight")],
        *[(name, c_void_p) for name in ("column_near", "column_far", "column_weight")],
    ]


class Head(Structure):
    """One raw head of a detector."""

    _fields_ = [
        *[(name, c_int32) for name in ("dtype", "channels_last")],
        *[(name, c_int32) for name in ("anchors", "classes", "rows", "columns")],
        *[(name, c_float) for name in ("bound", "stride")],
        *[(name, c_void_p) for name in ("anchor_sizes", "sigmoids")],
    ]


class Rules(Structure):
    """What of the candidates is answered."""

    _fields_ = [
        *[(name, c_int32) for name in ("most_candidates", "most_detections")],
        *[(name, c_int32) for name in ("classes", "multi_label")],
        *[(name, c_float) for name in ("score_threshold", "iou_threshold")],
        *[(name, c_float * 2) for name in ("offset", "gain", "limit")],
    ]


class Library:
    """The functions of one library.

    Raises:
        OSError: it cannot be loaded on this machine.
        AttributeError, ValueError: it is another version's.
    """

    def __init__(self, path: str) -> None:
        native = ctypes.CDLL(path)
        version = native.steps_version()
        if version != _VERSION:
            raise ValueError(f"{path} is of version {version}, not {_VERSION}")
        self.image = native.steps_image
        self.image.argtypes = [POINTER(Image), c_void_p, c_void_p, c_void_p]
        self.image.restype = None
        self.rgb = native.steps_rgb
        self.rgb.argtypes = [c_int32, c_int32, c_int32, c_int32, c_void_p, c_void_p]
        self.rgb.restype = None
        self.reduced = native.steps_reduced
        self.reduced.argtypes = [*[c_int32] * 5, c_void_p, c_void_p]
        self.reduced.restype = None
        memory: Any = [POINTER(Rules), c_int32, c_void_p]
        self.heads = native.steps_heads
        self.heads.argtypes = [POINTER(Head), POINTER(c_void_p), c_int32, *memory]
        self.rows = native.steps_rows
        self.rows.argtypes = [c_void_p, c_int32, *memory]


def address(array: Array) -> Any:
    """Where a contiguous array's memory begins; the array must outlive its use."""
    return array.__array_interface__["data"][0]


__all__ = ["DTYPES", "LARGEST_EDGE", "Head", "Image", "Library", "Rules", "address"]
__all__ += ["byref"]
