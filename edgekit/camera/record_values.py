"""Parts of a camera run's record: what it ran on, and what happened besides frames."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Self

from edgekit.camera.table import (
    Table,
    as_number,
    as_table,
    as_text,
    as_whole,
    fields,
    listed,
    value_of,
    wrong,
)
from edgekit.core.camera import QueuePolicy, QueueSpec

DELIVERED: Final = "delivered"
_MOST_THREAD: Final = (1 << 31) - 1
_POLICIES: Final[tuple[QueuePolicy, ...]] = ("block", "drop-oldest", "latest")


@dataclass(frozen=True)
class SourceFacts:
    """What frames came from.

    Attributes:
        timestamps: whether ``captured_ns`` is the ``capture``'s own stamp or the ``arrival``.
        offered: sizes and formats that it has.
        stamped_at: which end of its exposure the stamp of a frame is of, where that is known.
        exposure_ns: how long a frame is exposed; 0 where that is not known.
        buffers: how many frames the driver can hold; 0 where that is not known.
    """

    kind: str
    name: str
    driver: str
    card: str
    format: str
    width: int
    height: int
    fps: float
    timestamps: str
    offered: tuple[str, ...]
    stamped_at: str = ""
    exposure_ns: int = 0
    buffers: int = 0

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Take the facts out of a record; a source leaves out what it does not know."""
        table = as_table(value, "source")
        stamps = table.get("timestamps", "arrival")
        if stamps not in ("capture", "arrival"):
            raise wrong("source.timestamps", stamps, "capture or arrival")
        return cls(
            **{
                name: as_text(table.get(name, ""), f"source.{name}")
                for name in ("kind", "name", "driver", "card", "format", "stamped_at")
            },
            width=as_whole(table.get("width", 0), "source.width"),
            height=as_whole(table.get("height", 0), "source.height"),
            fps=as_number(table.get("fps", 0), "source.fps"),
            timestamps=stamps,
            exposure_ns=as_whole(table.get("exposure_ns", 0), "source.exposure_ns"),
            buffers=as_whole(table.get("buffers", 0), "source.buffers"),
            offered=listed(table.get("offered", ()), "source.offered", as_text),
        )


@dataclass(frozen=True)
class Decoded:
    """The picture that was made of a frame: ``by`` times smaller in both directions."""

    by: int
    width: int
    height: int

    @classmethod
    def from_json(cls, value: object) -> Self | None:
        """Take it out of a record; an older one has none, nor one without a frame."""
        table = as_table({} if value is None else value, "decoded")
        if not table:
            return None
        names = ("by", "width", "height")
        return cls(*(as_whole(value_of(table, each), f"decoded.{each}", least=1) for each in names))


@dataclass(frozen=True)
class Lost:
    """Frames that the camera took and no program saw."""

    at_ns: int
    count: int
    why: str

    @classmethod
    def from_json(cls, value: object, name: str) -> Self:
        """Take one such loss out of a record."""
        at_ns, count, why = fields(value, name, 3)
        return cls(as_whole(at_ns, name), as_whole(count, name, least=1), as_text(why, name))


@dataclass(frozen=True)
class Away:
    """A time without the source."""

    from_ns: int
    to_ns: int
    why: str

    @classmethod
    def from_json(cls, value: object, name: str) -> Self:
        """Take one such time out of a record."""
        *span, why = fields(value, name, 3)
        return cls(*as_span(span, name), as_text(why, name))


@dataclass(frozen=True)
class Switch:
    """One bundle taking over from another; both are indices into the record's ``bundles``."""

    at_ns: int
    from_bundle: int
    to_bundle: int
    why: str

    @classmethod
    def from_json(cls, value: object, name: str, *, bundles: int) -> Self:
        """Take one switch out of a record of so many bundles."""
        at_ns, *switched, why = fields(value, name, 4)
        before, after = (as_whole(bundle, name, most=bundles - 1) for bundle in switched)
        return cls(as_whole(at_ns, name), before, after, as_text(why, name))


@dataclass(frozen=True)
class Counts:
    """Frames of a whole run, also those that have no row of their own.

    Attributes:
        dropped: by stage and cause; captured = delivered + all of these, exactly.
        lost: taken by the camera and seen by no program.
    """

    captured: int
    delivered: int
    dropped: tuple[tuple[str, str, int], ...]
    lost: int

    @classmethod
    def from_json(cls, value: object, stages: Sequence[str], ends: Collection[str]) -> Self:
        """Take the counts out of a record with these stages and ends."""
        table = as_table(value, "counts")
        captured, delivered, lost = (
            as_whole(value_of(table, name), f"counts.{name}")
            for name in ("captured", "delivered", "lost")
        )
        dropped = []
        for stage, causes in as_table(value_of(table, "dropped"), "counts.dropped").items():
            place = f"counts.dropped.{stage}"
            if stage not in stages:
                raise wrong("counts.dropped", stage, f"one of {', '.join(stages)}")
            for cause, count in as_table(causes, place).items():
                if cause not in ends or cause == DELIVERED:
                    raise wrong(place, cause, "one of the ends that are no delivery")
                dropped.append((stage, cause, as_whole(count, f"{place}.{cause}")))
        ended = delivered + sum(count for _, _, count in dropped)
        if captured != ended:
            raise wrong("counts.captured", captured, f"{ended}, all delivered and dropped ones")
        return cls(captured, delivered, tuple(dropped), lost)


def queues_of(value: object, stages: Sequence[str]) -> tuple[QueueSpec, ...]:
    """Take the queue before each stage out of a record."""
    table = as_table(value, "queues")
    return tuple(_queue(value_of(table, stage), f"queues.{stage}") for stage in stages)


def threads_of(value: object) -> tuple[tuple[str, int], ...]:
    """Take the kernel's number of each thread out of a record."""
    table: Table = as_table(value, "threads")
    return tuple(
        (name, as_whole(number, f"threads.{name}", most=_MOST_THREAD))
        for name, number in table.items()
    )


def as_span(value: object, name: str) -> tuple[int, int]:
    """Return a value that is a start and an end."""
    start_ns, end_ns = (as_whole(each, name) for each in fields(value, name, 2))
    if end_ns < start_ns:
        raise wrong(name, value, "a start and a later end")
    return start_ns, end_ns


def _queue(value: object, name: str) -> QueueSpec:
    table = as_table(value, name)
    told = value_of(table, "policy")
    for policy in _POLICIES:
        if told == policy:
            depth = as_whole(value_of(table, "depth"), f"{name}.depth", least=1)
            return QueueSpec(depth, policy)
    raise wrong(f"{name}.policy", told, f"one of {', '.join(_POLICIES)}")
