"""GStreamer's own libraries through ctypes: what a source needs of them.

So it takes no PyGObject, which belongs to the board's own Python and to no other.

Source: the headers of GStreamer 1.x (gstminiobject.h, gstbuffer.h, gstmemory.h, video-info.h,
gstvideometa.h, gstelement.h, gstmessage.h): their structures and values stay for all of 1.x.
"""

import ctypes
from ctypes import POINTER, Structure, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any, Optional, Tuple

from edgekit.onboard.camera.passwords import without_passwords
from edgekit.onboard.faults import RunFailedError

STATE_NULL, STATE_PAUSED, STATE_PLAYING = 1, 3, 4
FAILURE, NO_PREROLL = 0, 3
FORMAT_TIME = 3
MESSAGE_ERROR = 2
MAP_READ = 1
BUFFER_CORRUPTED = 1 << 8
NONE = (1 << 64) - 1
_PLANES = 4


class Error(Structure):
    """GLib's GError."""

    _fields_ = [("domain", ctypes.c_uint32), ("code", c_int), ("message", c_char_p)]


class MiniObject(Structure):
    """What every buffer begins with."""

    _fields_ = [
        ("type", c_size_t),
        *[(name, c_int) for name in ("references", "lock")],
        ("flags", c_uint),
        *[(name, c_void_p) for name in ("copy", "dispose", "free")],
        ("private_count", c_uint),
        ("private", c_void_p),
    ]


class Buffer(Structure):
    """A buffer; times in nanoseconds."""

    _fields_ = [
        ("object", MiniObject),
        ("pool", c_void_p),
        *[(name, c_uint64) for name in ("pts", "dts", "duration", "offset", "offset_end")],
    ]


class MapInfo(Structure):
    """Where a buffer's memory lies while it is mapped."""

    _fields_ = [
        ("memory", c_void_p),
        ("flags", c_int),
        ("data", c_void_p),
        *[(name, c_size_t) for name in ("size", "most")],
        ("reserved", c_void_p * 8),
    ]


class VideoInfo(Structure):
    """How raw frames lie by their caps alone."""

    _fields_ = [
        ("format", c_void_p),
        *[(name, c_int) for name in ("interlaced", "flags", "width", "height")],
        ("size", c_size_t),
        *[(name, c_int) for name in ("views", "chroma_site")],
        ("colorimetry", c_int * 4),
        *[(name, c_int) for name in ("par_n", "par_d", "fps_n", "fps_d")],
        ("offset", c_size_t * _PLANES),
        ("stride", c_int * _PLANES),
        ("reserved", c_void_p * 8),  # more than it has
    ]


class VideoMeta(Structure):
    """How the planes of one frame lie."""

    _fields_ = [
        ("meta_flags", c_int),
        ("meta_info", c_void_p),
        ("buffer", c_void_p),
        *[(name, c_int) for name in ("flags", "format", "id")],
        *[(name, c_uint) for name in ("width", "height", "planes")],
        ("offset", c_size_t * _PLANES),
        ("stride", c_int * _PLANES),
    ]


# Name: what it gives, what it takes.
_CORE = {
    "gst_init_check": (c_int, [c_void_p, c_void_p, c_void_p]),
    "gst_version_string": (c_void_p, []),
    "gst_parse_launch": (c_void_p, [c_char_p, POINTER(POINTER(Error))]),
    "gst_bin_get_by_name": (c_void_p, [c_void_p, c_char_p]),
    "gst_element_set_state": (c_int, [c_void_p, c_int]),
    "gst_element_get_state": (c_int, [c_void_p, c_void_p, c_void_p, c_uint64]),
    "gst_element_get_bus": (c_void_p, [c_void_p]),
    "gst_element_get_clock": (c_void_p, [c_void_p]),
    "gst_element_get_base_time": (c_uint64, [c_void_p]),
    "gst_clock_get_time": (c_uint64, [c_void_p]),
    "gst_bus_timed_pop_filtered": (c_void_p, [c_void_p, c_uint64, c_int]),
    "gst_message_parse_error": (None, [c_void_p, POINTER(POINTER(Error)), c_void_p]),
    "gst_object_unref": (None, [c_void_p]),
    "gst_mini_object_unref": (None, [c_void_p]),
    "gst_sample_get_buffer": (POINTER(Buffer), [c_void_p]),
    "gst_sample_get_caps": (c_void_p, [c_void_p]),
    "gst_sample_get_segment": (c_void_p, [c_void_p]),
    "gst_segment_to_running_time": (c_uint64, [c_void_p, c_int, c_uint64]),
    "gst_caps_get_structure": (c_void_p, [c_void_p, c_uint]),
    "gst_structure_get_name": (c_char_p, [c_void_p]),
    "gst_structure_get_string": (c_char_p, [c_void_p, c_char_p]),
    "gst_structure_get_int": (c_int, [c_void_p, c_char_p, POINTER(c_int)]),
    "gst_structure_get_fraction": (c_int, [c_void_p, c_char_p, POINTER(c_int), POINTER(c_int)]),
    "gst_buffer_map": (c_int, [POINTER(Buffer), POINTER(MapInfo), c_int]),
    "gst_buffer_unmap": (None, [POINTER(Buffer), POINTER(MapInfo)]),
}
_APP = {
    "gst_app_sink_try_pull_sample": (c_void_p, [c_void_p, c_uint64]),
    "gst_app_sink_is_eos": (c_int, [c_void_p]),
    "gst_app_sink_get_type": (c_size_t, []),
}
_VIDEO = {
    "gst_video_info_from_caps": (c_int, [POINTER(VideoInfo), c_void_p]),
    "gst_buffer_get_video_meta": (POINTER(VideoMeta), [POINTER(Buffer)]),
}
_GLIB = {
    "g_error_free": (None, [POINTER(Error)]),
    "g_free": (None, [c_void_p]),
}


class Library:
    """The functions, under their own names.

    Raises:
        RunFailedError: they are not here.
    """

    def __init__(self) -> None:
        try:
            for name, functions in (
                ("libglib-2.0.so.0", _GLIB),
                ("libgstreamer-1.0.so.0", _CORE),
                ("libgstapp-1.0.so.0", _APP),
                ("libgstvideo-1.0.so.0", _VIDEO),
            ):
                self._take(ctypes.CDLL(name), functions)
        except (OSError, AttributeError) as error:
            raise RunFailedError(
                "GStreamer is not on the board (%s): apt-get install gstreamer1.0-plugins-base "
                "gstreamer1.0-plugins-good" % error
            ) from error
        if not self.gst_init_check(None, None, None):
            raise RunFailedError("GStreamer cannot be used on this board")

    def _take(self, library: Any, functions: Any) -> None:
        for name, (gives, takes) in functions.items():
            function = getattr(library, name)
            function.restype, function.argtypes = gives, takes
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:  # for whoever checks types: all are set above
        raise AttributeError(name)

    def version(self) -> str:
        """Such as ``GStreamer 1.22.0``."""
        text = self.gst_version_string()
        words = ctypes.cast(text, c_char_p).value or b""
        self.g_free(text)
        return words.decode("utf-8", "replace")

    def parsed(self, launch: str) -> Tuple[Optional[int], str]:
        """Make a pipeline; the answer is it, or ``None`` and what is wrong with it."""
        error = POINTER(Error)()
        pipeline = self.gst_parse_launch(launch.encode(), ctypes.byref(error))
        words = self._words(error)
        if words and pipeline:  # it is given even where something is wrong
            self.gst_object_unref(pipeline)
        return (None, words) if words or not pipeline else (pipeline, "")

    def fault(self, bus: int, wait_ns: int = 0) -> str:
        """The next error on a bus, in words without passwords; empty where none comes in time."""
        message = self.gst_bus_timed_pop_filtered(bus, wait_ns, MESSAGE_ERROR)
        if not message:
            return ""
        error, detail = POINTER(Error)(), c_void_p()
        self.gst_message_parse_error(message, ctypes.byref(error), ctypes.byref(detail))
        words = self._words(error)
        if detail.value:
            lines = (ctypes.cast(detail, c_char_p).value or b"").decode("utf-8", "replace")
            words = "%s (%s)" % (words, lines.strip().splitlines()[-1])
            self.g_free(detail)
        self.gst_mini_object_unref(message)
        return without_passwords(words)

    def _words(self, error: Any) -> str:
        if not error:
            return ""
        words = (error.contents.message or b"").decode("utf-8", "replace")
        self.g_error_free(error)
        return words or "an error without words"
