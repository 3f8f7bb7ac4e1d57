"""How a pipeline is written, on a command line and in a recipe."""

import re
from pathlib import PurePosixPath
from typing import Final, cast, get_args

from edgekit.core.camera import (
    STAGES,
    Decode,
    QueuePolicy,
    QueueSpec,
    SinkKind,
    SinkSpec,
    SourceKind,
    SourceSpec,
)
from edgekit.core.errors import UsageError
from edgekit.core.names import nearest

POLICIES: Final[tuple[str, ...]] = get_args(QueuePolicy)
SINKS: Final[tuple[str, ...]] = get_args(SinkKind)
DECODES: Final[tuple[str, ...]] = get_args(Decode)
# What OpenCV's FFmpeg opens, by the usual names; anything else without an ending is a folder.
VIDEO_SUFFIXES: Final = frozenset(
    {".avi", ".h264", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm"}
)
_SOURCES: Final = (
    "write /dev/video0, rtsp://HOST/PATH, a video file, a folder of images, "
    "gst:LAUNCH, libcamera[:ID] or drawn[:WxH]"
)
_PAGES: Final = (
    "a camera's page of JPEGs is GStreamer's to read: "
    "gst:souphttpsrc location=URL is-live=true ! multipartdemux"
)
_SIZE: Final = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")
_FOURCC: Final = re.compile(r"[\x21-\x7e]{3}[\x20-\x7e]")
_CORES: Final = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")
_MOST_DEPTH: Final = 1000
_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*)://")


def parse_source(text: str) -> SourceSpec:
    """Read what ``--source`` says.

    Raises:
        UsageError: it is no source.
    """
    kind, _, rest = text.partition(":")
    url = _URL.match(text.lower())
    if url is not None:
        return SourceSpec(_kind_of_url(url[1]), text)
    if kind == "gst":
        return SourceSpec("gstreamer", _named(rest.strip(), text, "gst:LAUNCH"))
    if kind == "libcamera":
        return SourceSpec("gstreamer", _libcamera(rest, text))
    if kind == "drawn":
        width, height = parse_frame_size(rest) if rest else (0, 0)
        return SourceSpec("drawn", "", width, height)
    if text.startswith("/dev/"):
        return SourceSpec("v4l2", text)
    path = PurePosixPath(_named(text.strip(), text, "a source"))
    return SourceSpec("video" if path.suffix.lower() in VIDEO_SUFFIXES else "folder", text)


def _libcamera(camera: str, text: str) -> str:
    if not camera:
        return "libcamerasrc"
    if '"' in camera or "\\" in camera:
        raise UsageError(f"{text!r} is no source: no camera is named so", hint=_SOURCES)
    return f'libcamerasrc camera-name="{camera}"'


def _kind_of_url(scheme: str) -> SourceKind:
    if scheme in {"rtsp", "rtsps"}:
        return "rtsp"
    # Without the address: it may hold a password.
    hint = _PAGES if scheme in {"http", "https"} else _SOURCES
    raise UsageError(f"{scheme}://... is no source: {scheme} is not served", hint=hint)


def _named(value: str, text: str, form: str) -> str:
    if not value:
        raise UsageError(f"{text!r} is no source: {form} names nothing", hint=_SOURCES)
    return value


def parse_frame_size(text: str) -> tuple[int, int]:
    """Read a size of frames, ``1280x720``: width and height, as cameras tell it.

    Raises:
        UsageError: it is none.
    """
    found = _SIZE.fullmatch(text.strip().lower())
    if found is None:
        raise UsageError(f"{text!r} is no size of frames", hint="write WIDTHxHEIGHT: 1280x720")
    return int(found[1]), int(found[2])


def parse_format(text: str) -> str:
    """Read a pixel format by the four characters that V4L2 has for it.

    Raises:
        UsageError: it cannot be one.
    """
    if not _FOURCC.fullmatch(text):
        raise UsageError(
            f"{text!r} is no pixel format",
            hint="four characters as V4L2 has them, such as YUYV, NV12 or MJPG: "
            "edgekit camera list tells what a camera offers",
        )
    return text


def parse_queue(text: str) -> QueueSpec:
    """Read ``POLICY[:DEPTH]``, such as ``latest:2``.

    Raises:
        UsageError: it is none.
    """
    policy, colon, depth = text.strip().partition(":")
    if policy not in POLICIES:
        raise UsageError(f"{text!r} is no queue{_meant(policy, POLICIES)}", hint=_QUEUES)
    if not colon:
        return QueueSpec(policy=cast("QueuePolicy", policy))
    if not depth.isdecimal() or not 1 <= int(depth) <= _MOST_DEPTH:
        raise UsageError(
            f"{text!r} is no queue: a depth lies between 1 and {_MOST_DEPTH}", hint=_QUEUES
        )
    return QueueSpec(int(depth), cast("QueuePolicy", policy))


_QUEUES: Final = f"POLICY[:DEPTH], such as latest:2; policies: {', '.join(POLICIES)}"


def parse_stage(text: str) -> str:
    """Return a stage's name.

    Raises:
        UsageError: there is no such stage.
    """
    if text not in STAGES:
        raise UsageError(
            f"{text!r} is no stage{_meant(text, STAGES)}", hint=f"stages: {', '.join(STAGES)}"
        )
    return text


def parse_cores(text: str) -> str:
    """Return a list of cores as Linux writes it, such as ``4-5`` or ``0,2``.

    Raises:
        UsageError: it is none.
    """
    written = text.replace(" ", "")
    ranges = [part.partition("-") for part in written.split(",")]
    if not _CORES.fullmatch(written) or any(end and int(end) < int(at) for at, _, end in ranges):
        raise UsageError(f"{text!r} is no list of cores", hint="write 4-5, or 0,2")
    return written


def parse_decode(text: str) -> Decode:
    """Read how large a picture is to be decoded: ``reduced`` or ``whole``.

    Raises:
        UsageError: it is neither.
    """
    if text not in DECODES:
        raise UsageError(
            f"{text!r} is no way to decode{_meant(text, DECODES)}",
            hint="reduced: no larger than the model can use; whole: as the camera has it",
        )
    return cast("Decode", text)


def parse_sink(text: str) -> SinkSpec:
    """Read ``KIND[:PATH]``, such as ``lines:answers.jsonl``.

    Raises:
        UsageError: it is none.
    """
    kind, _, path = text.strip().partition(":")
    if kind not in _PATHS:
        known = ", ".join(_PATHS)
        raise UsageError(
            f"{text!r} is no sink{_meant(kind, tuple(_PATHS))}",
            hint=f"sinks: {known}; such as lines:answers.jsonl",
        )
    if _PATHS[kind] and not path:
        raise UsageError(f"the sink {kind} needs {_PATHS[kind]}", hint=f"write {kind}:PATH")
    if kind == "none" and path:
        raise UsageError(f"{text!r} is no sink: none takes no path", hint="write none alone")
    return SinkSpec(cast("SinkKind", kind), path)


# Kind of sink -> what its path is that it cannot be without.
_PATHS: Final = {
    "none": "",
    "lines": "the path of a file",
    "images": "the path of a folder",
    "video": "the path of a file",
    "memory": "",
}


def _meant(word: str, known: tuple[str, ...]) -> str:
    near = nearest(word, known)
    return f"; did you mean {near[0]}?" if near else ""
