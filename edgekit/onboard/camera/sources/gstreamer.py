"""Pipelines of GStreamer: whatever ends in an appsink, libcamera among it."""

import ctypes
import re
from collections import namedtuple
from typing import Any, Mapping, Optional

import numpy as np

from edgekit.onboard.arrays import Array
from edgekit.onboard.camera.frames import Captured, Source, SourceEnded, SourceLostError
from edgekit.onboard.camera.jpeg import told_size
from edgekit.onboard.camera.passwords import without_passwords
from edgekit.onboard.camera.sources import gst_library as gst
from edgekit.onboard.camera.sources.files import Pool, read_wanted
from edgekit.onboard.faults import RunFailedError
from edgekit.onboard.timing import clock_ns

# GStreamer's names of formats, and V4L2's.
_FORMATS = {
    "YUY2": "YUYV",
    "UYVY": "UYVY",
    "NV12": "NV12",
    "NV21": "NV21",
    "I420": "YU12",
    "GRAY8": "GREY",
    "RGB": "RGB3",
    "BGR": "BGR3",
}
_JPEG = "image/jpeg"
_SINK = "edgekit_sink"
_OPEN_S = 10.0
_SILENT_S = 10.0
_WORDS_S = 1.0  # for an error's words, after it is known that there is one
_NS = 1000000000


class GStreamerSource(Source):
    """Frames in GStreamer's own memory.

    A live pipeline's frames are stamped with their running time, as their source took it; those of
    others when they arrive.
    """

    def __init__(
        self, table: Mapping[str, Any], open_s: float = _OPEN_S, silent_s: float = _SILENT_S
    ) -> None:
        super().__init__()
        self._wanted = read_wanted(table)
        self._shown = without_passwords(self._wanted.name)
        self._limits_s = (open_s, silent_s)
        self._pool = Pool()
        self._pipeline: Optional[int] = None
        self._was_open = False
        self._first: Optional[Captured] = None

    def open(self) -> None:
        """Begin to capture: see :class:`Source`."""
        self._gst = gst.Library()
        launch, name = with_sink(self._wanted)
        pipeline, wrong = self._gst.parsed(launch)
        if pipeline is None:
            raise RunFailedError("the pipeline %s: %s" % (self._shown, wrong))
        self._pipeline = pipeline
        self._bus = self._gst.gst_element_get_bus(pipeline)
        self._sink = self._gst.gst_bin_get_by_name(pipeline, name.encode())
        self._clock: Optional[int] = None
        try:
            self._begin(pipeline)
        except BaseException:
            self.close()
            raise
        self._was_open = True

    def _begin(self, pipeline: int) -> None:
        if not self._sink:
            raise RunFailedError("the pipeline %s has no appsink" % self._shown)
        # Only a live one has nothing to show before it plays.
        live = self._set_state(pipeline, gst.STATE_PAUSED) == gst.NO_PREROLL
        self._set_state(pipeline, gst.STATE_PLAYING)
        if live:
            self._clock = self._gst.gst_element_get_clock(pipeline)
        # What its frames are is known by the first one.
        self._last_ns = clock_ns()
        try:
            self._first = self._pulled(self._limits_s[0])
        except (SourceLostError, SourceEnded) as error:
            raise self._unopened(str(error)) from error
        if self._first is None:
            raise self._unopened("no frame within %.3g s" % self._limits_s[0])
        self.facts = {
            "kind": "gstreamer",
            "name": self._shown,
            "driver": self._gst.version(),
            "card": "",
            "format": self._first.format,
            "width": self._first.width,
            "height": self._first.height,
            "fps": self._form.fps,
            "timestamps": "capture" if self._clock else "arrival",
            "offered": [],
        }

    def _set_state(self, pipeline: int, state: int) -> int:
        limit_ns = int(self._limits_s[0] * _NS)
        reached: int = self._gst.gst_element_set_state(pipeline, state)
        if reached != gst.FAILURE:
            reached = self._gst.gst_element_get_state(pipeline, None, None, limit_ns)
        if reached == gst.FAILURE:
            # Who fails in a thread of its own says why a moment later.
            why = self._gst.fault(self._bus, int(_WORDS_S * _NS))
            raise self._unopened(why or "it does not start")
        return reached

    def _unopened(self, why: str) -> Exception:
        words = "the pipeline %s: %s" % (self._shown, why)
        if self._was_open:
            return SourceLostError(words)
        if "not-negotiated" in words:
            words += "; no element gives what is asked for: add '! videoconvert' at its end"
        return RunFailedError(words)

    def read(self, timeout_s: float) -> Optional[Captured]:
        """Return the next frame: see :class:`Source`."""
        if self._pipeline is None:
            raise SourceLostError("the pipeline %s is not open" % self._shown)
        first, self._first = self._first, None
        return first or self._pulled(timeout_s)

    def _pulled(self, timeout_s: float) -> Optional[Captured]:
        sample = self._gst.gst_app_sink_try_pull_sample(self._sink, int(timeout_s * _NS))
        pulled_ns = clock_ns()
        # Also where a frame came: what nobody takes from the bus would pile up.
        fault = self._gst.fault(self._bus)
        if sample:
            self._last_ns = pulled_ns
            return self._captured(sample, pulled_ns)
        if fault:
            raise SourceLostError("the pipeline failed: %s" % fault)
        if self._gst.gst_app_sink_is_eos(self._sink):
            raise SourceEnded("the pipeline %s is at its end" % self._shown)
        if pulled_ns - self._last_ns > self._limits_s[1] * _NS:
            raise SourceLostError("the pipeline gave no frame for %.3g s" % self._limits_s[1])
        return None

    def _captured(self, sample: int, pulled_ns: int) -> Captured:
        buffer = self._gst.gst_sample_get_buffer(sample)
        self._form = form = self._read_form(self._gst.gst_sample_get_caps(sample))
        mapped = gst.MapInfo()
        if not self._gst.gst_buffer_map(buffer, ctypes.byref(mapped), gst.MAP_READ):
            self._gst.gst_mini_object_unref(sample)
            raise SourceLostError("the pipeline gave a frame that cannot be read")
        captured_ns = self._captured_ns(sample, buffer, pulled_ns)
        release = _Release(self._gst, sample, buffer, mapped)
        memory = np.frombuffer((ctypes.c_uint8 * mapped.size).from_address(mapped.data), np.uint8)
        data, stride = memory, 0
        if form.format == "MJPG" and not form.width:
            # As from a camera's web page, whose parts are JPEGs and no more is known of them.
            width, height = told_size(memory.data) or (0, 0)
            form = form._replace(width=width, height=height)
        if form.format not in ("MJPG", ""):
            data, stride = self._lying(memory, buffer, form)
        return Captured(
            *(data, form.format, form.width, form.height, stride),
            # To map it, and to put its planes together, takes time too.
            *(captured_ns, clock_ns(), -1),
            bool(buffer.contents.object.flags & gst.BUFFER_CORRUPTED),
            release,
        )

    def _captured_ns(self, sample: int, buffer: Any, pulled_ns: int) -> int:
        pts = buffer.contents.pts
        if not self._clock or pts == gst.NONE:
            return pulled_ns
        segment = self._gst.gst_sample_get_segment(sample)
        running = self._gst.gst_segment_to_running_time(segment, gst.FORMAT_TIME, pts)
        if running == gst.NONE:
            return pulled_ns
        # The pipeline's clock may be another than ours; how far they are apart is asked each time.
        before_ns = clock_ns()
        theirs: int = self._gst.gst_clock_get_time(self._clock)
        after_ns = clock_ns()
        same = before_ns <= theirs <= after_ns
        apart = 0 if same else (before_ns + after_ns) // 2 - theirs
        taken: int = running + self._gst.gst_element_get_base_time(self._pipeline) + apart
        return min(taken, pulled_ns)

    def _read_form(self, caps: int) -> "_Form":
        structure = self._gst.gst_caps_get_structure(caps, 0)
        kind = self._gst.gst_structure_get_name(structure).decode()
        name = "MJPG"
        if kind != _JPEG:
            there = (self._gst.gst_structure_get_string(structure, b"format") or b"").decode()
            name = _FORMATS.get(there, there or kind)
        numbers = [ctypes.c_int() for _ in range(4)]
        places = [ctypes.byref(number) for number in numbers]
        for key, place in ((b"width", places[0]), (b"height", places[1])):
            self._gst.gst_structure_get_int(structure, key, place)
        self._gst.gst_structure_get_fraction(structure, b"framerate", *places[2:])
        width, height, parts, whole = [number.value for number in numbers]
        return _Form(name, width, height, parts / whole if whole else 0.0, caps)

    def _lying(self, memory: Array, buffer: Any, form: "_Form") -> Any:
        """A frame's bytes and stride; put together where its planes do not follow one another."""
        meta = self._gst.gst_buffer_get_video_meta(buffer)
        lies = meta.contents if meta else gst.VideoInfo()
        if not meta:
            self._gst.gst_video_info_from_caps(ctypes.byref(lies), form.caps)
        first, stride = lies.offset[0], lies.stride[0]
        planes = _planes(form.format, form.height, stride)
        place = first
        for index, (rows, length) in enumerate(planes):
            if lies.offset[index] != place or lies.stride[index] != length:
                return self._together(memory, lies, planes), stride
            place += rows * length
        return memory[first:], stride

    def _together(self, memory: Array, lies: Any, planes: Any) -> Array:
        data = self._pool.take((sum(rows * length for rows, length in planes),))
        place = 0
        for index, (rows, length) in enumerate(planes):
            there = lies.stride[index]
            shorter = min(length, there)
            for row in range(rows):
                start = lies.offset[index] + row * there
                line = memory[start : start + shorter]
                data[place : place + line.size] = line
                place += length
        return data

    def close(self) -> None:
        """Stop capturing: see :class:`Source`."""
        pipeline, self._pipeline = self._pipeline, None
        if self._first is not None:
            self._first.release()
            self._first = None
        if pipeline is None:
            return
        self._gst.gst_element_set_state(pipeline, gst.STATE_NULL)
        for each in (self._sink, self._bus, self._clock, pipeline):
            if each:
                self._gst.gst_object_unref(each)


class _Form(namedtuple("_Form", "format width height fps caps")):
    __slots__ = ()


class _Release:
    """Gives a sample back, once, from any thread, also after the pipeline is gone."""

    def __init__(self, library: gst.Library, sample: int, buffer: Any, mapped: Any) -> None:
        self._held = [(library, sample, buffer, mapped)]

    def __call__(self) -> None:
        if self._held:
            library, sample, buffer, mapped = self._held.pop()
            library.gst_buffer_unmap(buffer, ctypes.byref(mapped))
            library.gst_mini_object_unref(sample)


def _planes(name: str, height: int, stride: int) -> Any:
    """Rows and bytes of a line of each plane, as V4L2 has them follow one another."""
    half = (height + 1) // 2
    if name in ("NV12", "NV21"):
        return [(height, stride), (half, stride)]
    if name == "YU12":
        return [(height, stride), (half, stride // 2), (half, stride // 2)]
    return [(height, stride)]


def with_sink(wanted: Any) -> Any:
    """Give a launch string the appsink that its frames are taken from.

    Args:
        wanted: its ``name`` is the launch string, with or without an appsink at its end.

    Returns:
        The string, and the sink's name.
    """
    body = wanted.name.strip().rstrip("!").strip()
    if not body:
        raise RunFailedError("a gstreamer source needs a pipeline, such as libcamerasrc")
    head, _, last = body.rpartition("!")
    if last.split()[:1] != ["appsink"]:
        head, last = body, "appsink"
    named = re.search(r"(?:^|\s)name=(\S+)", last)
    if not named:
        last += " name=%s" % _SINK
    # Nothing waits for its time here: that is the pipeline's business.
    last += ' sync=false max-buffers=4 drop=false caps="%s"' % _caps(wanted)
    return "%s ! %s" % (head, last), named.group(1).strip("\"'") if named else _SINK


def _caps(wanted: Any) -> str:
    rest = ""
    if wanted.width:
        rest += ",width=%d" % wanted.width
    if wanted.height:
        rest += ",height=%d" % wanted.height
    if wanted.fps:
        rest += ",framerate=%d/1000" % round(wanted.fps * 1000)
    by_v4l2 = {ours: theirs for theirs, ours in _FORMATS.items()}
    if wanted.format in ("MJPG", "JPEG"):
        return _JPEG + rest
    if wanted.format and wanted.format not in by_v4l2:
        raise RunFailedError(
            "frames of %s cannot be asked of GStreamer; those of %s can"
            % (wanted.format, ", ".join((*by_v4l2, "MJPG")))
        )
    names = [by_v4l2[wanted.format]] if wanted.format else list(_FORMATS)
    raw = "video/x-raw,format=(string){%s}%s" % (",".join(names), rest)
    return raw if wanted.format else "%s;%s%s" % (raw, _JPEG, rest)
