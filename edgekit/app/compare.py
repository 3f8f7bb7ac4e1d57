"""``compare``: two runs out of their folders, and why they differ."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from edgekit.bench.comparison import compare
from edgekit.bench.median_interval import median_interval
from edgekit.catalog.settings import settings
from edgekit.core.comparison import ComparedRun, Comparison
from edgekit.core.errors import AgentError, UsageError
from edgekit.core.health import HealthSnapshot
from edgekit.core.validity import EMULATED

_RESULT: Final = "result.json"
_NS_PER_MS: Final = 1e6


def compare_runs(first: str, second: str) -> Comparison:
    """Hold two runs of ``bench``, ``race`` or ``deploy`` against each other.

    Args:
        first: a run's id or the beginning of it, its folder, or its ``result.json``; followed by
            ``:ENGINE-PRECISION`` where it holds several candidates.
        second: likewise.

    Raises:
        UsageError: there is no such run or candidate, several are meant, or it cannot be read.
    """
    return compare(load_run(first), load_run(second))


def load_run(text: str) -> ComparedRun:
    """Read one candidate of one run.

    Raises:
        UsageError: as :func:`compare_runs`.
    """
    name, candidate = _split(text)
    folder = _folder(name)
    try:
        table = json.loads((folder / _RESULT).read_text(encoding="utf-8"))
        found = {each.name.partition(":")[2]: each for each in _runs(folder, table)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AgentError) as error:
        raise UsageError(
            f"run {folder.name} cannot be read: {error}",
            hint="name a run that edgekit bench, race or deploy left",
        ) from error
    if not found:
        raise UsageError(f"run {folder.name} measured nothing", hint="name another run")
    if candidate in found:
        return found[candidate]
    if candidate or len(found) > 1:
        what = f"no candidate {candidate}" if candidate else f"{len(found)} candidates"
        raise UsageError(
            f"run {folder.name} holds {what}",
            hint=f"add one of :{', :'.join(sorted(found))}",
        )
    return next(iter(found.values()))


def _split(text: str) -> tuple[str, str]:
    """Take the candidate off; a folder's own name may hold a colon, too."""
    name, _, candidate = text.rpartition(":")
    if not name or "/" in candidate:
        return text, ""
    return name, candidate


def _folder(name: str) -> Path:
    path = Path(name).expanduser()
    if path.name == _RESULT:
        path = path.parent
    if (path / _RESULT).is_file():
        return path
    root = settings().runs_dir
    known = sorted(each.name for each in root.glob("*") if (each / _RESULT).is_file())
    meant = [each for each in known if each.startswith(name)]
    if name in known:
        meant = [name]
    if len(meant) == 1:
        return root / meant[0]
    if meant:
        shown = ", ".join(meant[-3:])
        raise UsageError(f"{name!r} begins {len(meant)} runs", hint=f"the latest are {shown}")
    latest = f"the latest are {', '.join(known[-3:])}" if known else "edgekit bench makes one"
    raise UsageError(f"there is no run {name!r}", hint=latest)


def _runs(folder: Path, table: Mapping[str, Any]) -> Iterator[ComparedRun]:
    if table.get("kind") == "bench":
        for result in table["results"]:
            yield _benched(folder, table, result)
        return
    for row in table["candidates"]:
        if row["latency_ms"] is not None and row["status"] != "failed":
            yield _raced(folder, table, row)


def _benched(folder: Path, table: Mapping[str, Any], result: Mapping[str, Any]) -> ComparedRun:
    subject, validity = result["subject"], result["validity"]
    name = f"{subject['engine']}-{subject['precision']}"
    looks = _read(folder / "health" / f"{name}.json")["snapshots"]
    interval = validity["median_interval_ms"]
    whole = result["end_to_end_ms"]
    return ComparedRun(
        name=f"{table['run_id']}:{name}",
        model=subject["model"],
        engine=subject["engine"],
        precision=subject["precision"],
        knobs=subject["knobs"],
        bundle=subject["bundle"],
        p50_ms=float(result["latency_ms"]["p50"]),
        interval_ms=(float(interval[0]), float(interval[1])) if interval else None,
        end_to_end_ms=whole["p50"] if whole else None,
        device=table["device"],
        versions=result["versions"],
        rewrites=tuple(subject.get("rewrites", ())),
        model_sha256=subject["model_sha256"],
        inputs=tuple((each, tuple(shape)) for each, shape in subject["inputs"].items()),
        reasons=tuple((reason["kind"], reason["text"]) for reason in validity["reasons"]),
        health=tuple(HealthSnapshot.from_json(look) for look in looks),
    )


def _raced(folder: Path, table: Mapping[str, Any], row: Mapping[str, Any]) -> ComparedRun:
    name = f"{row['engine']}-{row['precision']}"
    samples = _read(folder / "samples" / f"{name}.json")
    interval = median_interval(samples["model_ns"])
    whole = row["end_to_end_ms"]
    return ComparedRun(
        name=f"{table['run_id']}:{name}",
        model=table["recipe"],
        engine=row["engine"],
        precision=row["precision"],
        knobs=row["knobs"],
        bundle=row["bundle"],
        p50_ms=float(row["latency_ms"]["p50"]),
        interval_ms=(interval[0] / _NS_PER_MS, interval[1] / _NS_PER_MS) if interval else None,
        end_to_end_ms=whole["p50"] if whole else None,
        device=table["device"],
        versions=samples["versions"],
        rewrites=tuple(row["rewrites"]),
        reasons=tuple(_raced_reasons(table, row)),
    )


def _raced_reasons(table: Mapping[str, Any], row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for doubt in row.get("doubts", ()):
        yield doubt["kind"], doubt["text"]
    if table["device"].get("emulated"):
        yield EMULATED.kind, EMULATED.text


def _read(path: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
