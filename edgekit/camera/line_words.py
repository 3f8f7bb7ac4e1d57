"""What holds a line up in its own stages, queues and cores, in words."""

from typing import Final

from edgekit.camera.pace import is_live
from edgekit.camera.seen import Advice, Seen, at_most, ms, share_gained
from edgekit.camera.what_if import CAMERA
from edgekit.camera.work import Work
from edgekit.core.camera import StageFigures

_SINK: Final = "sink"
_COMPUTING: Final = 0.8  # of a stage's time: it is one core that limits it
_WAITING: Final = 0.5  # of a stage's time: it is not
_FULL: Final = 0.9  # of all cores
_SHORT_QUEUE: Final = 2
_LONG_WAIT: Final = 2.5  # times the stage's own time
_MUCH_OF_LATENCY: Final = 0.1
_CHANGES: Final = {
    "decode": "take a smaller size, or a format that needs less",
    "preprocess": "take a smaller size from the source",
    "inference": "take a lighter or quantised model, or another engine or unit",
    "postprocess": "move the NMS into the model, or let fewer candidates through",
    "sink": "write less",
}


def takes(seen: Seen, stage: StageFigures) -> str:
    """Say what a frame costs a stage, and how."""
    held_ms = stage.held_ms or 0.0
    said = f"{ms(held_ms)} a frame"
    batch = _largest_batch(seen, stage.name)
    if batch > 1:
        said += f" in batches of up to {batch}"
    computes = _computes(stage)
    if computes >= _COMPUTING:
        return f"{said} on one core"
    return f"{said}, of which its thread computes {ms(computes * held_ms)}"


def full_cores(seen: Seen) -> str:
    """Say that the cores are full, where they are."""
    used, cores = seen.figures.cpu_cores or 0.0, seen.figures.cores
    if used < _FULL * cores:
        return ""
    return f"the stages take {used:.1f} of {cores} cores: CPU-bound"


def slowest_stage(seen: Seen) -> Advice | None:
    """Name what would make the slowest stage quicker, and how much of it would count."""
    name = seen.figures.bottleneck
    if name == CAMERA or sink_that_blocks(seen):
        return None
    stage, bound = seen.stage(name), seen.bound(name)
    if bound is None or not stage.held_ms:
        return None
    saved = min(stage.held_ms, 1e3 / seen.fps - 1e3 / bound) if seen.fps else stage.held_ms
    return Advice(
        share_gained(seen, bound),
        f"{name} {takes(seen, stage)}: {_CHANGES.get(name, 'do less')}: saves up to {ms(saved)} a "
        f"frame, {at_most(seen, bound)}",
    )


def sink_that_blocks(seen: Seen) -> Advice | None:
    """Say that the line waits for whatever its sink writes to."""
    if seen.figures.bottleneck != _SINK:
        return None
    stage, bound = seen.stage(_SINK), seen.bound(_SINK)
    if bound is None or not stage.held_ms or _computes(stage) >= _WAITING:
        return None
    return Advice(
        share_gained(seen, bound),
        f"the sink blocks: {takes(seen, stage)}, and waits for what it writes to the rest of the "
        f"time: a quicker file or reader, or fewer frames written, {at_most(seen, bound)}",
    )


def long_queue(seen: Seen) -> Advice | None:
    """Say before which stage frames wait for longer than it is of use."""
    found = [said for index in range(len(seen.stages)) if (said := _long_queue(seen, index))]
    return max(found, default=None)


def cores_full(seen: Seen) -> Advice | None:
    """Say that there is no core left to do more on."""
    full, bound = full_cores(seen), max(seen.limits.cpu_fps, seen.fps)
    if not full or seen.figures.bottleneck == CAMERA or not seen.fps:
        return None
    spent = (seen.figures.cpu_cores or 0.0) / seen.fps * 1e3
    return Advice(
        share_gained(seen, bound),
        f"{full}: {ms(spent)} of processor time for each frame delivered, {at_most(seen, bound)} "
        "however it is spread; only less work changes that",
    )


def _long_queue(seen: Seen, index: int) -> Advice | None:
    stage, queue = seen.stages[index], seen.record.queues[index]
    latency = seen.figures.latency
    if stage.wait is None or latency is None or not stage.held_ms:
        return None
    enough = max(_SHORT_QUEUE, _largest_batch(seen, stage.name))
    waits_ms = stage.wait.mean_ms
    saved_ms = waits_ms - enough * stage.held_ms
    is_long = waits_ms >= _LONG_WAIT * stage.held_ms and saved_ms > 0
    counts = waits_ms >= _MUCH_OF_LATENCY * latency.mean_ms
    if queue.policy == "latest" or queue.depth <= enough or not (is_long and counts):
        return None
    # A file's frames are there to be taken all: to give some up is no advice.
    use = "use latest or depth" if is_live(seen.record.source) else "use depth"
    return Advice(
        min(saved_ms / latency.mean_ms, 1.0),
        f"frames wait {ms(waits_ms)} in the queue before {stage.name} ({queue.policy}, depth "
        f"{queue.depth}): {use} {enough}, saves up to {ms(saved_ms)} of {ms(latency.mean_ms)} "
        "latency",
    )


def _computes(stage: StageFigures) -> float:
    """Return for what share of its work a stage's thread computed."""
    return min((stage.cpu_share or 0.0) / stage.busy_share, 1.0) if stage.busy_share else 0.0


def _largest_batch(seen: Seen, name: str) -> int:
    return int(Work.of(seen.record.stage(name)).frames.max(initial=1))
