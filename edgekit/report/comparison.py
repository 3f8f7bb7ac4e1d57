"""Two runs held against each other, in words."""

from collections.abc import Iterator

from edgekit.core.comparison import Cause, ComparedRun, Comparison


def comparison_lines(found: Comparison) -> tuple[str, ...]:
    """Say how far apart the runs are, what explains it, and what cannot be said."""
    return tuple(_lines(found))


def _lines(found: Comparison) -> Iterator[str]:
    yield f"first:  {_run(found.first)}"
    yield f"second: {_run(found.second)}"
    yield _gap(found)
    for cause in found.causes:
        yield f"  {cause.text}{_share(cause)}"
    if found.differs or found.causes:
        yield _rest(found)
    for unknown in found.unknown:
        yield f"cannot say: {unknown}"


def _run(run: ComparedRun) -> str:
    told = f"{run.name}  {run.model} {run.engine} {run.precision}  {run.p50_ms:.3f} ms"
    if run.interval_ms is not None:
        told += f" (95 %: {run.interval_ms[0]:.3f} to {run.interval_ms[1]:.3f})"
    kinds = dict.fromkeys(kind for kind, _text in run.reasons)
    return f"{told}, not believed: {', '.join(kinds)}" if kinds else told


def _gap(found: Comparison) -> str:
    if not found.differs:
        more = "; what differs all the same:" if found.causes else ""
        return f"these runs cannot tell the two apart{more}"
    gap = f"the second takes {found.ratio:.2f} times as long"
    if found.ratio < 1:
        gap += f" (it is {1 / found.ratio:.2f} times as fast)"
    return f"{gap}; what differs:" if found.causes else f"{gap}; nothing that was recorded differs"


def _share(cause: Cause) -> str:
    if cause.factor is not None:
        return "" if cause.factor == 1 else f": accounts for {cause.factor:.2f} x"
    if cause.at_most is not None:
        bound = "at most" if cause.at_most > 1 else "down to"
        return f": can account for {bound} {cause.at_most:.2f} x"
    return ": its share cannot be told from two runs"


def _rest(found: Comparison) -> str:
    accounted = any(cause.factor not in {None, 1} for cause in found.causes)
    left = f"{found.left:.2f} x is left" if accounted else f"all of {found.left:.2f} x is left"
    if found.explained:
        bounded = [cause.kind for cause in found.causes if cause.at_most is not None]
        can = f"within what {' and '.join(bounded)} can do" if bounded else "no more than noise"
        return f"{left}, {can}"
    unsized = dict.fromkeys(cause.kind for cause in found.causes if cause.factor is None)
    if unsized:
        return f"{left}, for {', '.join(unsized)}, or something not recorded"
    return f"{left}, for something that was not recorded"
