"""What each stage's thread did, work by work, and which works went on at the same time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgekit.camera.frame_rows import Column, StageColumns

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Work:
    """All works of a stage in order of time; frames inferred together are one.

    Attributes:
        start_ns, end_ns: int64[works].
        frames: how many were worked on.
        cpu_ns: processor time of the stage's thread, for all of them.
        core: on which it ended; -1 where nobody could tell.
    """

    start_ns: Column
    end_ns: Column
    frames: Column
    cpu_ns: Column
    core: Column

    @classmethod
    def of(cls, stage: StageColumns) -> Self:
        """Gather the frames that a stage finished into works: those of one share start and end."""
        done = np.flatnonzero((stage.start_ns >= 0) & (stage.end_ns >= 0))
        start_ns, end_ns = stage.start_ns[done], stage.end_ns[done]
        order = np.lexsort((end_ns, start_ns))
        done, start_ns, end_ns = done[order], start_ns[order], end_ns[order]
        if not len(done):
            return cls(*(np.empty(0, np.int64) for _ in range(5)))
        another = (np.diff(start_ns) != 0) | (np.diff(end_ns) != 0)
        first = np.concatenate([[0], np.flatnonzero(another) + 1])
        return cls(
            start_ns[first],
            end_ns[first],
            np.diff(np.append(first, len(done))),
            np.add.reduceat(np.maximum(stage.cpu_ns[done], 0), first),
            stage.core[done][first],
        )

    def __len__(self) -> int:
        return len(self.start_ns)

    @property
    def wall_ns(self) -> Column:
        """How long each work took."""
        return self.end_ns - self.start_ns

    def since(self, from_ns: int) -> "Work":
        """Return the works that began then or later."""
        return self.where(self.start_ns >= from_ns)

    def where(self, chosen: NDArray[np.bool_]) -> "Work":
        """Return some of the works."""
        return Work(
            self.start_ns[chosen],
            self.end_ns[chosen],
            self.frames[chosen],
            self.cpu_ns[chosen],
            self.core[chosen],
        )

    def busy_ns(self, from_ns: int, to_ns: int) -> int:
        """Return how long the stage worked between two moments."""
        inside = np.minimum(self.end_ns, to_ns) - np.maximum(self.start_ns, from_ns)
        return int(np.maximum(inside, 0).sum())

    def within(self, other: "Work") -> Floats:
        """Return for how long this stage worked during each of another one's works."""
        if not len(self):
            return np.zeros(len(other))
        at = np.stack([self.start_ns, self.end_ns], axis=1).ravel()
        done = np.repeat(np.concatenate([[0], np.cumsum(self.wall_ns)]), 2)[1:-1]
        # Counted from the first moment: a double holds less than the nanoseconds since 1970.
        zero = at[0]
        at, done = at - zero, done.astype(np.float64)
        upto = np.interp(other.end_ns - zero, at, done)
        return np.asarray(upto - np.interp(other.start_ns - zero, at, done), np.float64)

    def cpu_within(self, other: "Work") -> Column:
        """Return how much this stage can have computed, at most, during each of another's works.

        Of a work that lies only partly within, that is all that it computed, or all of that part.
        """
        if not len(self):
            return np.zeros(len(other), np.int64)
        first = np.searchsorted(self.end_ns, other.start_ns, side="right")
        last = np.searchsorted(self.start_ns, other.end_ns, side="left") - 1
        upto = np.concatenate([[0], np.cumsum(self.cpu_ns)])
        inner = np.where(last - first > 1, upto[last] - upto[np.minimum(first + 1, last)], 0)
        edges = self._part(first, other) + np.where(last > first, self._part(last, other), 0)
        return np.asarray(np.where(last >= first, inner + edges, 0), np.int64)

    def _part(self, at: NDArray[np.intp], other: "Work") -> Column:
        """Return the same of one work of this stage for each of the other's."""
        at = np.clip(at, 0, len(self) - 1)
        inside = np.minimum(self.end_ns[at], other.end_ns)
        inside -= np.maximum(self.start_ns[at], other.start_ns)
        return np.asarray(np.clip(self.cpu_ns[at], 0, np.maximum(inside, 0)), np.int64)


class Crowd:
    """How many stages worked at each moment.

    Args:
        works: of all stages.
    """

    def __init__(self, works: Sequence[Work]) -> None:
        starts = np.concatenate([work.start_ns for work in works])
        ends = np.concatenate([work.end_ns for work in works])
        steps = np.repeat([1, -1], [len(starts), len(ends)])
        moments = np.concatenate([starts, ends])
        order = np.argsort(moments, kind="stable")
        self._moments = moments[order]
        self._level = np.cumsum(steps[order])

    def beyond(self, count: int, work: Work) -> Column:
        """Return for how long more than ``count`` stages worked during each of some works.

        Args:
            count: 1 or more.
            work: one of those that make up the crowd, or a part of it.
        """
        crowded = np.diff(self._moments) * (self._level[:-1] > count)
        upto = np.concatenate([[0], np.cumsum(crowded)])
        first = np.searchsorted(self._moments, work.start_ns)
        last = np.searchsorted(self._moments, work.end_ns)
        return np.asarray(upto[last] - upto[first], np.int64)
