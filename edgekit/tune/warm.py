"""Where a tuner starts on a board that is new to it: with what was good on similar ones."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edgekit.tune.record import Scope
from edgekit.tune.records import Records

_BEST: Final = 4  # of each task: they are half of its first batch


@dataclass(frozen=True)
class Suggestions:
    """Traces of similar scopes that were not tried in this one.

    Attributes:
        traces: by structural hash, those of the most similar scope first.
        sources: how many are whose, by the names of the kinds of board and their likeness.
    """

    traces: Mapping[str, tuple[str, ...]]
    sources: Mapping[str, int]


def suggestions(records: Records, scope: Scope, known: Mapping[str, set[str]]) -> Suggestions:
    """Choose the best few traces of each task that are worth a trial.

    Args:
        records: all there are.
        scope: that they are wanted for.
        known: traces that were tried there, by the structural hash of each task.
    """
    similar = records.similar(scope)
    sources: Counter[str] = Counter()
    traces: dict[str, tuple[str, ...]] = {}
    for structural_hash, tried in known.items():
        chosen: list[str] = []
        for other in similar:
            source = f"{other.scope.fingerprint.target} ({other.closeness})"
            for record in records.top(other.scope, structural_hash, _BEST):
                if len(chosen) < _BEST and record.trace not in {*tried, *chosen}:
                    chosen.append(record.trace)
                    sources[source] += 1
        if chosen:
            traces[structural_hash] = tuple(chosen)
    return Suggestions(traces, sources)
