"""Runs of cameras, and what is said of them."""

from camera_records import simulate

from edgekit.camera.figures import figures
from edgekit.camera.record import make_record
from edgekit.core.camera import PipelineSpec, SourceSpec

BLOCK = ("block",) * 5
QUICK = (3.0, 2.0, 10.0, 5.0, 1.0)
SLOW = (3.0, 2.0, 90.0, 5.0, 1.0)
WORK = (3.0, 2.0, 5.0, 14.0, 1.0)


def camera(source=(), lost=(), **run):
    """A run of a camera, with other facts of it."""
    table, rows = simulate(**{"frames": 300, "times_ms": QUICK, **run})
    table["source"] |= dict(source)
    table["lost"] = [*table["lost"], *lost]
    table["counts"]["lost"] += sum(count for _, count, _ in lost)
    return make_record(table, rows)


def said(record, fps=0.0):
    return figures(record, PipelineSpec(SourceSpec("v4l2", "/dev/video0", fps=fps))).advice


def the_one(advice, beginning):
    """Return the one sentence with a beginning; others may stand beside it."""
    found = [sentence for sentence in advice if sentence.startswith(beginning)]
    assert len(found) == 1, advice
    return found[0]


def assert_none(advice, beginning):
    assert not [sentence for sentence in advice if sentence.startswith(beginning)], advice
