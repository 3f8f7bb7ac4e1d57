"""Where frames come from: one file per kind."""

import importlib
from typing import Any, Mapping

from edgekit.onboard.camera.frames import Source
from edgekit.onboard.faults import RunFailedError

KINDS = {
    "v4l2": "V4l2Source",
    "folder": "FolderSource",
    "video": "VideoSource",
    "rtsp": "RtspSource",
    "gstreamer": "GStreamerSource",
    "drawn": "DrawnSource",
}
"""By kind the class in the file of that name."""


def make_source(table: Mapping[str, Any]) -> Source:
    """Make the source that a pipeline's table asks for; nothing is opened yet.

    Args:
        table: ``kind``, ``name``, ``width``, ``height``, ``format``, ``fps``.

    Raises:
        RunFailedError: there is no such kind.
    """
    kind = str(table.get("kind"))
    if kind not in KINDS:
        raise RunFailedError("there is no source %s (there are: %s)" % (kind, ", ".join(KINDS)))
    module = importlib.import_module("%s.%s" % (__name__, kind))
    source: Source = getattr(module, KINDS[kind])(table)
    return source
