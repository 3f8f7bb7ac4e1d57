"""Which task to tune next: the one whose next trials promise most for the whole model.

A model's cost is the sum over its tasks of occurrences times best cost. The expected gain of one
more trial at a task blends two guesses: that it goes on as it went lately, and an optimist's, that
a task of ``n`` trials gains its cost over ``n``, though it is not believed to get more than twice
as fast as the best rate that any task reached here.

Source: L. Zheng et al., Ansor: Generating High-Performance Tensor Programs for Deep Learning,
OSDI 2020, https://arxiv.org/abs/2006.06762, section 6 and appendix A, with its alpha, beta and
backward window; TVM's MetaSchedule has the same scheduler. Two rules are ours: the optimist loses
heart with every window that brought nothing, and a task that only failed counts as one that is
as fast as the median of the others.
"""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from statistics import median
from typing import Final

from edgekit.tune.record import Record

_FASTER_AT_BEST: Final = 2.0  # Ansor's beta
_FLAT: Final = 1e-3  # a relative gain below it within a window is noise
# A task whose candidates are thought of already may promise so much less than another.
_PREPARED_AT_LEAST: Final = 0.5


@dataclass(frozen=True)
class Gradient:
    """How gains are guessed.

    Attributes:
        alpha: weight of the past against the optimist.
        window: trials that "lately" means.
        epsilon: share of choices that are made at random; 0 for none.
    """

    alpha: float = 0.2
    window: int = 48
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.alpha <= 1 and 0 <= self.epsilon <= 1 and self.window >= 1):
            raise ValueError("alpha and epsilon lie between 0 and 1, a window holds a trial")


@dataclass(frozen=True)
class Task:
    """One task of a model and what its trials came to.

    Attributes:
        weight: how often it occurs in the model.
        flops: operations of one run of it.
        bests: least cost so far after each trial; infinite until one succeeded.
        exhausted: its design space has no candidate left.
    """

    structural_hash: str
    name: str
    weight: int
    flops: float
    bests: tuple[float, ...] = ()
    exhausted: bool = False

    def __post_init__(self) -> None:
        if self.weight < 1 or not (math.isfinite(self.flops) and self.flops >= 0):
            raise ValueError("a task occurs at least once, and its flops are not negative")

    @property
    def best(self) -> float:
        """Least cost so far; infinite if none is known."""
        return self.bests[-1] if self.bests else math.inf

    @property
    def trials(self) -> int:
        """How many trials it had, failures too."""
        return len(self.bests)

    def after(self, costs: Iterable[float]) -> "Task":
        """Return the task after more trials of these costs; infinite for failures."""
        bests = tuple(accumulate((self.best, *costs), min))[1:]
        return replace(self, bests=self.bests + bests)

    def after_records(self, records: Iterable[Record]) -> "Task":
        """Return the task after the trials that are on record, the oldest first.

        A lost device says nothing of the candidate: such trials do not count.
        """
        return self.after(
            record.cost
            for record in records
            if record.structural_hash == self.structural_hash and record.failure != "device_lost"
        )


def following_task(tasks: Sequence[Task], chosen: int) -> int | None:
    """Return the index of the task to tune after the chosen one, ``None`` if it is the last."""
    left = [replace(task, exhausted=True) if i == chosen else task for i, task in enumerate(tasks)]
    return next_task(left)


def prepared_or_next(tasks: Sequence[Task], prepared: int | None) -> int | None:
    """Return the index of the task to tune next; of a prepared one unless another promises more.

    Args:
        tasks: all tasks of the model.
        prepared: index of the task whose next candidates cost no time any more.
    """
    best = next_task(tasks)
    if best is None or prepared is None or tasks[prepared].exhausted:
        return best
    gains = expected_gains(tasks)
    return best if gains[prepared] < _PREPARED_AT_LEAST * gains[best] else prepared


def total_cost(tasks: Iterable[Task]) -> float:
    """Return the cost of one run of the model's tasks; infinite while one has no success."""
    return math.fsum(task.weight * task.best for task in tasks)


def next_task(
    tasks: Sequence[Task], gradient: Gradient | None = None, rng: random.Random | None = None
) -> int | None:
    """Return the index of the task to tune next, ``None`` if all are exhausted.

    Tasks without a trial come first, the heaviest of them before the others. Of equal gains, the
    task listed first wins; nothing is random but for ``epsilon``.

    Args:
        tasks: all tasks of the model.
        gradient: how gains are guessed.
        rng: needed with an ``epsilon``; a seeded one gives the same choices again.
    """
    gradient = gradient or Gradient()
    open_ = [index for index, task in enumerate(tasks) if not task.exhausted]
    if not open_:
        return None
    fresh = [index for index in open_ if not tasks[index].trials]
    if fresh:
        return max(fresh, key=lambda index: tasks[index].weight * tasks[index].flops)
    if gradient.epsilon:
        if rng is None:
            raise ValueError("random choices need a generator")
        if rng.random() < gradient.epsilon:
            return rng.choice(open_)
    gains = expected_gains(tasks, gradient)
    return max(open_, key=lambda index: gains[index])


def expected_gains(tasks: Sequence[Task], gradient: Gradient | None = None) -> tuple[float, ...]:
    """Return what one more trial at each task is expected to take off the model's cost.

    Infinite for a task without a trial; in the unit of the costs.
    """
    gradient = gradient or Gradient()
    rates = [task.flops / task.best for task in tasks if math.isfinite(task.best) and task.flops]
    return tuple(
        task.weight * _gain(task, rates, _assumed_cost(task, tasks, rates), gradient)
        if task.trials
        else math.inf
        for task in tasks
    )


def _gain(task: Task, rates: Sequence[float], cost: float, gradient: Gradient) -> float:
    past = _slope(task, gradient.window)
    hope = cost / task.trials
    if rates and task.flops and math.isfinite(task.best):
        reachable = task.flops / (_FASTER_AT_BEST * max(rates))
        hope = min(hope, max(0.0, cost - reachable))
    hope *= 0.5 ** _flat_windows(task, gradient.window)
    return gradient.alpha * past + (1 - gradient.alpha) * hope


def _slope(task: Task, window: int) -> float:
    """Return what a trial gained lately, on average."""
    if task.trials <= 1:
        return 0.0
    back = min(window, task.trials - 1)
    before = task.bests[-1 - back]
    if not math.isfinite(before):  # its first success lies within the window
        before = next(cost for cost in (*task.bests, 0.0) if math.isfinite(cost))
    return max(0.0, before - task.best) / back if math.isfinite(task.best) else 0.0


def _flat_windows(task: Task, window: int) -> int:
    """Count the last windows in a row that brought nothing; a task that only fails has such too."""
    limit = task.best * (1 + _FLAT)
    flat = 0
    for cost in reversed(task.bests[:-1]):
        if cost > limit:
            break
        flat += 1
    return flat // window


def _assumed_cost(task: Task, tasks: Sequence[Task], rates: Sequence[float]) -> float:
    if math.isfinite(task.best):
        return task.best
    if rates and task.flops:
        return task.flops / median(rates)
    known = [other.best for other in tasks if math.isfinite(other.best)]
    return median(known) if known else 1.0
