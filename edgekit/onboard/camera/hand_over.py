"""Bounded queues between stages, and what they do when they are full."""

import threading
from collections import deque
from typing import Callable, Deque, List, Optional

from edgekit.onboard.camera.frames import Frame
from edgekit.onboard.timing import clock_ns

BLOCK, DROP_OLDEST, LATEST = "block", "drop-oldest", "latest"
POLICIES = (BLOCK, DROP_OLDEST, LATEST)

# Who gives a frame up says which frame, and why.
OnDrop = Callable[[Frame, str], None]


class HandOver:
    """The queue before one stage: one stage puts, one takes.

    Args:
        stage: index of the stage that takes.
        depth: how many frames may wait.
        policy: ``block`` holds up who puts; ``drop-oldest`` gives up the frame that waited
            longest; ``latest`` all that wait.
        on_drop: told of each frame that is given up, outside of the queue's lock.
    """

    def __init__(self, stage: int, depth: int, policy: str, on_drop: OnDrop) -> None:
        if policy not in POLICIES:
            raise ValueError("no queue has the policy %r (known: %s)" % (policy, POLICIES))
        if depth < 1:
            raise ValueError("a queue holds one frame at least, not %d" % depth)
        self.depth, self.policy = depth, policy
        self._stage = stage
        self._on_drop = on_drop
        self._waiting: Deque[Frame] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._abandoned = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, frame: Frame) -> None:
        """Hand a frame over, or give one up, as the policy says."""
        given_up: List[Frame] = []
        with self._changed:
            if self.policy == BLOCK:
                while len(self._waiting) >= self.depth and not self._abandoned:
                    self._changed.wait()
            elif self.policy == LATEST:
                given_up.extend(self._waiting)
                self._waiting.clear()
            while len(self._waiting) >= self.depth and not self._abandoned:
                given_up.append(self._waiting.popleft())
            refused = self._abandoned
            if not refused:
                frame.visits[self._stage].queued_ns = clock_ns()
                self._waiting.append(frame)
                self._changed.notify_all()
        for each in given_up:
            self._on_drop(each, self.policy)
        if refused:
            self._on_drop(frame, "stopped")

    def take(self, most: int = 1) -> Optional[List[Frame]]:
        """Return frames as they came, one at least; ``None`` after the end."""
        with self._changed:
            while not self._waiting and not self._ended:
                self._changed.wait()
            if not self._waiting:
                return None
            count = min(most, len(self._waiting))
            taken = [self._waiting.popleft() for _ in range(count)]
            self._changed.notify_all()
            return taken

    def end(self) -> None:
        """Nobody will put any more: what waits is still taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Give up what waits, and what comes from now on."""
        with self._changed:
            self._ended = self._abandoned = True
            left = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        for frame in left:
            self._on_drop(frame, "stopped")
