"""The table of candidates, and the lines below it."""

from collections.abc import Iterator

from edgekit.core.candidate import CandidateResult
from edgekit.core.measurement import Latency, OutputError
from edgekit.core.report import Report
from edgekit.report.table import Column, Table

_BYTES_PER_MB = 1e6
_NONE = "-"

_TITLES = {"coco-map": "mAP50-95", "top1": "top-1", "text": "text", "agreement": "agrees"}


def _columns(metric: str) -> tuple[Column, ...]:
    return (
        Column(""),
        Column("engine"),
        Column("precision"),
        Column("status"),
        Column("MB", numeric=True),
        Column("p50/p90/p99 ms", numeric=True),
        Column("FPS", numeric=True),
        Column("end-to-end ms", numeric=True),
        Column("peak MB", numeric=True),
        Column(_TITLES.get(metric, metric), numeric=True),
        Column("drop", numeric=True),
        Column("output error"),
    )


def candidate_table(report: Report) -> Table:
    """One row per candidate. On an emulated device, times are left out: they mean nothing."""
    metrics = [row.accuracy.metric for row in report.candidates if row.accuracy]
    columns = _columns(metrics[0] if metrics else "agreement")
    return Table(
        columns, tuple(_row(row, _mark(report, n)) for n, row in enumerate(report.candidates))
    )


def summary_lines(report: Report) -> tuple[str, ...]:
    """Remarks on rows, what was chosen and why, what is active, where the run's folder is."""
    lines = [line for row in report.candidates for line in _remarks(row)]
    if report.pareto:
        lines.append("* nobody else is faster, more accurate and smaller at once")
    if report.facts.emulated:
        lines.append(
            "emulated: correctness only; times and FPS of an emulated processor mean nothing"
        )
    if report.chosen:
        chosen = report.chosen
        lines.append(f"chosen: {chosen.candidate} ({chosen.reason})")
    elif report.best:
        missed = ", ".join(report.best.missed)
        lines.append(f"chosen: none; the best, {report.best.candidate}, misses {missed}")
    else:
        lines.append("chosen: none")
    if report.active and report.active.current:
        way_back = report.active.previous
        lines.append(
            f"active on {report.device_name}: {report.active.current[:12]}"
            f" (generation {report.active.generation})"
            + (f", rollback brings back {way_back[:12]}" if way_back else "")
        )
    sent = report.transfer
    lines.append(f"sent: {sent.bytes_sent / _BYTES_PER_MB:.1f} MB in {sent.files_sent} files")
    lines.append(f"run: {report.run_dir}")
    return tuple(lines)


def _mark(report: Report, number: int) -> str:
    chosen = report.chosen
    if chosen and report.candidates[number].bundle == chosen.bundle:
        return ">"
    return "*" if number in report.pareto else ""


def _remarks(row: CandidateResult) -> Iterator[str]:
    """Give the settings that were found for a row, and what there is to say of it."""
    candidate = row.candidate
    settings = list(candidate.rewrites)
    if candidate.quantisation:
        kept = len(candidate.quantisation.float_layers)
        floats = f", {kept} layers in float" if kept else ""
        settings.append(f"calibrated by {candidate.quantisation.method}{floats}")
    settings += [f"{name} {value}" for name, value in candidate.knobs]
    if row.measurement and settings:
        yield f"{candidate}: {', '.join(settings)}"
    if row.reason:
        yield f"{candidate}: {row.reason}"
    for doubt in row.doubts:
        yield f"{candidate}: times not believed: {doubt.text}"


def _row(row: CandidateResult, mark: str) -> tuple[str, ...]:
    measured = row.measurement
    timed = measured if measured and not measured.emulated else None
    end_to_end = timed.end_to_end if timed else None
    return (
        mark,
        row.candidate.engine,
        row.candidate.precision,
        row.status,
        _mega(row.size_bytes),
        _percentiles(timed.model if timed else None),
        _number(timed.fps if timed else None, 1),
        _number(end_to_end.p50 if end_to_end else None),
        _mega(measured.memory_peak_bytes if measured else None),
        _number(row.accuracy.value if row.accuracy else None, 4),
        _number(row.accuracy.drop if row.accuracy else None, 4),
        _error(row.error),
    )


def _percentiles(latency: Latency | None) -> str:
    if latency is None:
        return _NONE
    return "/".join(_number(each) for each in (latency.p50, latency.p90, latency.p99))


def _mega(size_bytes: int | None) -> str:
    return _number(None if size_bytes is None else size_bytes / _BYTES_PER_MB, 1)


def _number(value: float | None, digits: int = 2) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _error(error: OutputError | None) -> str:
    if error is None:
        return _NONE
    if error.max_box_px is None or error.max_score is None:
        return f"max {error.max_abs:.2g}"
    return f"{error.max_box_px:.2f} px, score {error.max_score:.4f}"
