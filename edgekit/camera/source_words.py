"""What a source does not give, in words."""

import math
import re
from typing import Final, NamedTuple

import numpy as np

from edgekit.camera.record import CameraRecord
from edgekit.camera.record_values import Lost
from edgekit.camera.seen import Advice, Seen, at_most, ms, share_gained
from edgekit.camera.what_if import CAMERA
from edgekit.camera.window import NS
from edgekit.onboard.camera.numbering import ahead

_NS_PER_MS: Final = 1e6
_FILLS: Final = 0.9  # of the time from frame to frame that exposure takes, where it sets it
_AS_ASKED: Final = 0.95  # of the rate that was asked for: a camera's 30 are often 29.97
_MOSTLY: Final = 0.5
# As edgekit.onboard.camera.v4l2_offers writes it: "YUYV 640x480 30, 15 fps".
_OFFER: Final = re.compile(r"(?P<format>\S{4}) (?P<size>\d+x\d+) (?P<rates>[\d., ]+) fps")
_UNDECODED: Final = frozenset({"RGB3"})  # its buffer is the picture, which is held to the end


class _Mode(NamedTuple):
    name: str
    fps: float


def exposure(seen: Seen) -> Advice | None:
    """Say that it is the exposure that sets the camera's rate."""
    exposed_ns, fps, bound = seen.record.source.exposure_ns, _own_fps(seen), _camera_bound(seen)
    if not exposed_ns or fps is None or bound is None or not _exposure_sets_it(seen):
        return None
    return Advice(
        share_gained(seen, bound),
        f"capture waits: exposure {ms(exposed_ns / _NS_PER_MS)} caps at {NS / exposed_ns:.1f} fps: "
        f"a shorter one (more light, more gain) allows {at_most(seen, bound)}",
    )


def slower_than_asked(seen: Seen) -> Advice | None:
    """Say that a source gives fewer frames than it was asked for, and whether it could."""
    asked = seen.asked.source.fps if seen.asked else 0.0
    fps, bound = _own_fps(seen), _camera_bound(seen)
    if not asked or fps is None or fps >= _AS_ASKED * asked or bound is None:
        return None
    said = f"the {seen.source_name} delivers {fps:.1f} fps, asked for {asked:g}"
    modes = _modes(seen.record)
    source = seen.record.source
    here = f"{source.format} {source.width}x{source.height}"
    most = next((mode.fps for mode in modes if mode.name == here), None)
    if most is not None and most < _AS_ASKED * asked:
        said += f": this mode ({here}) offers no more than {most:g}"
        others = [mode for mode in modes if mode.fps >= _AS_ASKED * asked]
        if others:
            said += f"; {_nearest(others, source.width * source.height).name} does"
    elif most is not None:
        if _exposure_sets_it(seen):
            return None
        said += f", which this mode ({here}) offers: exposure in dim light, or a full bus"
    bound = min(bound, asked)
    return Advice(share_gained(seen, bound), f"{said}; {at_most(seen, bound)}")


def lost_frames(seen: Seen) -> Advice | None:
    """Say how many frames the driver lost, and whether the line was the reason."""
    lost, captured = seen.figures.lost, seen.figures.captured
    if not lost:
        return None
    share = lost / (lost + captured)
    frames = f"{lost} frames" if lost > 1 else "1 frame"
    said = f"the driver lost {frames} ({share:.1%})"
    record = seen.record
    starved = sum(each.count for each in record.lost if _was_starved(record, each))
    if starved <= _MOSTLY * lost:
        return Advice(
            share, f"{said} while the line took all it was given: see to the bus and the camera"
        )
    queue = record.queues[0]
    first = record.stages[0].name
    if queue.policy == "block":
        change = f"use latest before {first}, so that it is counted what is given up"
    else:
        change = (
            f"raise the driver's buffers, let fewer than {queue.depth} wait before {first}, or "
            "leave a core to the thread that reads"
        )
    return Advice(share, f"{said}: no buffer was free: {change}")


def away(seen: Seen) -> Advice | None:
    """Say for how long the source was gone."""
    gone_s, whys = seen.figures.away_s, dict.fromkeys(each.why for each in seen.record.away)
    if not gone_s:
        return None
    times = f" in {len(seen.record.away)} times" if len(seen.record.away) > 1 else ""
    fps = seen.limits.pace.fps
    missed = f": about {gone_s * fps:.0f} frames at its rate" if fps else ""
    return Advice(
        min(gone_s / max(seen.figures.seconds, gone_s), 1.0),
        f"the source was away {gone_s:.1f} s{times} ({'; '.join(whys)}){missed}",
    )


def _own_fps(seen: Seen) -> float | None:
    """Return what the source gives, where it is that which limits the rate."""
    return seen.limits.pace.fps if seen.figures.bottleneck == CAMERA else None


def _camera_bound(seen: Seen) -> float | None:
    """Return what the line could take, as far as the camera's mode could give it."""
    bound = seen.bound(CAMERA)
    return bound if bound is not None and math.isfinite(bound) else None


def _exposure_sets_it(seen: Seen) -> bool:
    fps = _own_fps(seen)
    return fps is not None and seen.record.source.exposure_ns >= _FILLS * NS / fps


def _modes(record: CameraRecord) -> list[_Mode]:
    """Return what is offered with one size and known rates, each with its highest."""
    found = []
    for words in record.source.offered:
        match = _OFFER.fullmatch(words)
        if match:
            rates = [float(rate) for rate in match["rates"].split(",")]
            found.append(_Mode(f"{match['format']} {match['size']}", max(rates)))
    return found


def _nearest(modes: list[_Mode], pixels: int) -> _Mode:
    """Return the mode whose size comes closest."""

    def distance(mode: _Mode) -> int:
        width, height = mode.name.split()[1].split("x")
        return abs(int(width) * int(height) - pixels)

    return min(modes, key=distance)


def _was_starved(record: CameraRecord, lost: Lost) -> bool:
    """Tell whether the driver can have had no buffer to fill when it lost frames.

    So it is if the line held up the thread that reads, if frames were old when they were read, or
    if frames that were not decoded yet held all buffers but the one being read.
    """
    last = _before(record, lost)
    if last < 0:
        return False
    into = record.stages[0]
    read_ns = int(record.arrived_ns[last])
    free_ns = int(max(into.queued_ns[last], read_ns))
    next_ns = int(record.arrived_ns[last + 1]) if last + 1 < record.frames else lost.at_ns
    if free_ns - read_ns > _MOSTLY * (max(next_ns, free_ns) - read_ns):
        return True
    age_ns = record.arrived_ns - record.captured_ns
    period_ns = float(np.median(np.diff(record.captured_ns))) if record.frames > 1 else 0.0
    if age_ns[last : last + 2].max() > np.median(age_ns) + period_ns:
        return True
    if not record.source.buffers:
        return False
    early = record.source.format not in _UNDECODED
    kept_ns = np.where(early & (into.end_ns >= 0), into.end_ns, record.ended_ns)
    held = int((kept_ns[: last + 1] > read_ns).sum())
    return held >= record.source.buffers - 1


def _before(record: CameraRecord, lost: Lost) -> int:
    """Return the index of the last frame before some were lost; -1 where there is none."""
    last = int(np.searchsorted(record.arrived_ns, lost.at_ns, side="right")) - 1
    # They are missed when the next one is read: it is that one which comes after a gap.
    if last > 0 and ahead(record.sequence[last - 1], record.sequence[last]) > 1:
        return last - 1
    return last
