"""Frames that were dropped for another reason than that a queue was full, in words."""

from edgekit.camera.pace import is_live
from edgekit.camera.seen import Advice, Seen


def corrupt(seen: Seen) -> Advice | None:
    """Say how many frames came damaged."""
    count, share = _dropped(seen, "corrupt")
    if not count:
        return None
    see_to = "the cable, the bus or the stream" if is_live(seen.record.source) else "the file"
    # A driver marks them without a word; what decoding them met has words.
    words = _first_words(seen, ("decode",))
    why = f"; the first: {words}" if words else ""
    return Advice(share, f"{_frames(count)} came corrupt ({share:.1%}): see to {see_to}{why}")


def memory(seen: Seen) -> Advice | None:
    """Say how many frames the memory limit cost."""
    count, share = _dropped(seen, "memory")
    if not count:
        return None
    limit = f" of {seen.asked.memory_mb} MB" if seen.asked else ""
    depths = sum(queue.depth for queue in seen.record.queues)
    return Advice(
        share,
        f"{_frames(count)} given up at the memory limit{limit} ({share:.1%}): raise memory_mb, or "
        f"let fewer wait than the {depths} of all queues",
    )


def failed(seen: Seen) -> Advice | None:
    """Say how many frames a stage failed on, and why."""
    count, share = _dropped(seen, "failed")
    if not count:
        return None
    where = dict.fromkeys(stage for stage, cause, _ in seen.figures.dropped if cause == "failed")
    words = _first_words(seen, tuple(where))
    why = f": {words}" if words else ""
    return Advice(share, f"{_frames(count)} failed in {', '.join(where)} ({share:.1%}){why}")


def _dropped(seen: Seen, cause: str) -> tuple[int, float]:
    """Return how many frames were dropped for a cause, and what share of the captured ones."""
    count = sum(count for _, why, count in seen.figures.dropped if why == cause)
    return count, count / seen.figures.captured if count else 0.0


def _first_words(seen: Seen, stages: tuple[str, ...]) -> str:
    """Return what was first met in one of the stages; empty where nothing was."""
    # "sink: ..." of frames that it could not work on, "sink failed: ..." where that ended the line
    told = (each.partition(": ") for each in seen.record.faults)
    return next((words for stage, _, words in told if stage.removesuffix(" failed") in stages), "")


def _frames(count: int) -> str:
    return f"{count} frames" if count > 1 else "1 frame"
