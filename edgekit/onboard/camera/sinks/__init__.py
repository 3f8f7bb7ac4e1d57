"""Where frames and their answers go: one file per kind."""

from typing import Any, Callable, Dict, Mapping

from edgekit.onboard.camera.sinks.images import ImagesSink
from edgekit.onboard.camera.sinks.lines import LinesSink
from edgekit.onboard.camera.sinks.memory import MemorySink
from edgekit.onboard.camera.sinks.none import NoneSink
from edgekit.onboard.camera.sinks.sink import Sink
from edgekit.onboard.camera.sinks.video import make_video_sink
from edgekit.onboard.faults import RunFailedError

KINDS: Dict[str, Callable[[str], Sink]] = {
    "none": NoneSink,
    "lines": LinesSink,
    "images": ImagesSink,
    "video": make_video_sink,
    "memory": MemorySink,
}


def make_sink(table: Mapping[str, Any]) -> Sink:
    """Make the sink that a job's ``sink`` table names: ``kind`` and ``path``.

    Raises:
        RunFailedError: there is no such kind, or its path cannot be meant.
    """
    kind = table["kind"]
    if kind not in KINDS:
        raise RunFailedError(
            "this runner has no sink named %s (it has: %s)" % (kind, ", ".join(sorted(KINDS)))
        )
    return KINDS[kind](table.get("path") or "")


__all__ = ["KINDS", "Sink", "make_sink"]
