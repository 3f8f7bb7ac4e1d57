"""Successive halving: many settings measured briefly, the better ones again and longer.

Source: K. Jamieson and A. Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter
Optimization, AISTATS 2016, https://arxiv.org/abs/1502.07943
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Setting = TypeVar("Setting", bound=Hashable)


@dataclass(frozen=True)
class Tried(Generic[Setting]):
    """One setting and what it cost when it was measured longest.

    Attributes:
        cost: lower is better; infinite where it failed.
        budget: of that measurement, in whatever unit the caller counts.
    """

    setting: Setting
    cost: float
    budget: float


def successive_halving(
    settings: Sequence[Setting],
    measure: Callable[[Setting, float], float],
    *,
    budgets: Sequence[float],
    keep: float = 0.5,
) -> tuple[Tried[Setting], ...]:
    """Find the setting of least cost without measuring all of them at length.

    Every rung measures the settings still in at its budget and keeps the better share. What
    failed is out at once. Of equals, the one listed first stays: list the default first.

    Args:
        settings: distinct; measured in their order within each rung, so that slow drift of the
            device spreads over all of them.
        measure: cost of a setting under a budget; infinite for a failure.
        budgets: of the rungs, growing; a rung that has one setting left is not run.
        keep: share of a rung that goes on, of which at least one.

    Returns:
        All settings, best first: by the rung that they reached, then by their cost there.
    """
    if not 0 < keep < 1:
        raise ValueError(f"keep must lie between 0 and 1, not {keep}")
    if not budgets:
        raise ValueError("at least one budget is needed")
    running = list(dict.fromkeys(settings))
    out: list[Tried[Setting]] = []
    for rung, budget in enumerate(budgets):
        if rung and len(running) <= 1:
            break
        held = {tried.setting: tried for tried in out if tried.setting in running}
        out = [tried for tried in out if tried.setting not in held]
        ranked = sorted(
            (Tried(setting, measure(setting, budget), budget) for setting in running),
            key=lambda tried: tried.cost,
        )
        sound = sum(math.isfinite(tried.cost) for tried in ranked)
        going_on = min(sound, max(1, math.ceil(len(ranked) * keep)))
        out = ranked + out
        running = [tried.setting for tried in ranked[:going_on]]
    return tuple(out)
