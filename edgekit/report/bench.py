"""The table of a bench, and the lines below it."""

from collections.abc import Iterator, Sequence

from edgekit.core.bench import BenchReport, BenchResult, Soak
from edgekit.core.clocks import PinnedClock, ReleasedClocks
from edgekit.core.power import NO_SENSOR
from edgekit.report.table import Column, Table

_NONE = "-"
_NOT_TOLD = "not told"
_COLUMNS = (
    Column("engine"),
    Column("precision"),
    Column("threads", numeric=True),
    Column("believed"),
    Column("p50/p90/p99 ms", numeric=True),
    Column("95 % of p50", numeric=True),
    Column("FPS", numeric=True),
    Column("end-to-end ms", numeric=True),
    Column("MHz", numeric=True),
    Column("max °C", numeric=True),
    Column("W", numeric=True),
    Column("J/inference", numeric=True),
)
_SOAK_COLUMNS = (
    Column("from s", numeric=True),
    Column("FPS", numeric=True),
    Column("max °C", numeric=True),
    Column("min MHz", numeric=True),
)
_SOAK_ROWS = 20
_KHZ_PER_MHZ = 1e3


def bench_table(report: BenchReport) -> Table:
    """One row for each candidate. An emulated device's times are left out: they mean nothing."""
    return Table(_COLUMNS, tuple(_row(result) for result in report.results))


def bench_lines(report: BenchReport) -> tuple[str, ...]:
    """Why a run is not believed, what could not be judged, and where the run's folder is."""
    lines = [line for result in report.results for line in _remarks(result)]
    lines += [f"clocks: {line}" for line in _clocks(report)]
    return (*lines, f"run: {report.run_dir}")


def soak_table(soak: Soak, *, emulated: bool) -> Table:
    """The course of a long run, in twenty lines at most; the JSON result holds all of it."""
    step = -(-len(soak.windows) // _SOAK_ROWS)
    rows = tuple(
        (
            f"{window.start_s:.0f}",
            _number(None if emulated else window.fps, 1),
            _number(window.temperature_c, 0),
            _number(window.clock_mhz, 0),
        )
        for window in soak.windows[::step]
    )
    return Table(_SOAK_COLUMNS, rows, title="course")


def soak_line(soak: Soak, *, emulated: bool, blind: bool = False) -> str:
    """Say in one line how speed held out; of an emulated device, what was seen of heat alone.

    Args:
        soak: the long run.
        emulated: whether its speed means nothing.
        blind: whether the device tells neither of its clocks nor of throttling.
    """
    cool = "this device does not tell whether it throttled" if blind else "never seen to throttle"
    if emulated:
        if soak.throttled_after_s is None:
            return cool
        return f"throttled after {soak.throttled_after_s:.0f} s: {soak.sign}"
    lost = 100 * (1 - soak.sustained_fps / soak.initial_fps)
    change = f"{lost:.1f} % less than" if lost > 0 else f"{-lost:.1f} % more than"
    held = f"sustained {soak.sustained_fps:.1f} FPS, {change} the {soak.initial_fps:.1f} at first"
    if soak.throttled_after_s is not None:
        return f"{held}; throttled after {soak.throttled_after_s:.0f} s: {soak.sign}"
    if soak.slowed_after_s is not None:
        seen = cool if blind else "no throttling seen"
        return f"{held}; slower from {soak.slowed_after_s:.0f} s on, {seen}"
    return f"{held}; {cool}"


def _row(result: BenchResult) -> tuple[str, ...]:
    subject, measured = result.subject, result.measurement
    shown = not measured.emulated
    latency, interval = measured.model, result.validity.median_interval_ms
    whole = measured.end_to_end
    seen = result.health[1:-1] or result.health
    clocks = [each.current_khz or 0 for one in seen for each in one.clusters]
    heat = [zone.temperature_c for one in seen for zone in one.zones]
    return (
        subject.engine,
        subject.precision,
        str(dict(subject.knobs).get("threads", _NONE)),
        "yes" if result.validity.valid else "no",
        f"{latency.p50:.2f}/{latency.p90:.2f}/{latency.p99:.2f}" if shown else _NONE,
        f"{interval[0]:.2f} to {interval[1]:.2f}" if shown and interval else _NONE,
        _number(measured.fps, 1),
        _number(whole.p50 if whole and shown else None, 2),
        _number(max(clocks, default=0) / _KHZ_PER_MHZ or None, 0),
        _number(max(heat, default=None), 0),
        *_power(result),
    )


def _power(result: BenchResult) -> tuple[str, str]:
    power = result.power
    if power is None:
        return _NONE, _NONE
    if power.j_per_inference is None:
        return power.name if power.name == NO_SENSOR else _NOT_TOLD, _NONE
    return _number(power.mean_w, 2), f"{power.j_per_inference:.4g}"


def _clocks(report: BenchReport) -> Iterator[str]:
    if report.clocks is None:
        return
    pinned, released = report.clocks.pinned, report.clocks.released
    for clock in pinned.clocks:
        if clock.pinned:
            became = _became(clock, released)
            yield f"{clock.name} was pinned ({clock.read_back}){became}"
    yield from pinned.why_not
    if not report.clocks.held:
        ended = released.ended if released else "the link was lost"
        yield f"not believed: they did not hold to the end ({ended})"
    for file, value, found in released.differing if released else ():
        yield f"{file} was set to {value} and held {found} at the end"
    for file, why in released.failed if released else ():
        yield f"{file} could not be put back ({why}); the device's next session tries again"


def _became(clock: PinnedClock, released: ReleasedClocks | None) -> str:
    """Say what became of a clock that was pinned."""
    if not clock.set:
        return " before, and is so still"
    if released is None:
        return "; the device puts it back by itself, unseen"
    if any(f"/{clock.name}/" in file for file, _why in released.failed):
        return ""  # the file that refused is told by itself
    if any(f"/{clock.name}/" in file for file in released.left):
        return "; somebody else has set it meanwhile, and it was left so"
    return f", and put back ({clock.was})"


def _remarks(result: BenchResult) -> Iterator[str]:
    subject = result.subject
    for number, attempt in enumerate(result.attempts, 1):
        why = "; ".join(reason.text for reason in attempt.validity.reasons)
        yield f"{subject}: run {number} not believed: {why}"
    for reason in result.validity.reasons:
        yield f"{subject}: not believed: {reason.text}"
    if result.validity.not_judged:
        yield f"{subject}: not judged: {'; '.join(_gathered(result.validity.not_judged))}"
    for words in result.power.words if result.power else ():
        yield f"{subject}: {words}"
    if result.soak is not None:
        emulated = result.measurement.emulated
        unknown = {each.partition(":")[0] for each in result.validity.not_judged}
        blind = {"clocks", "throttling"} <= unknown
        yield f"{subject}: {soak_line(result.soak, emulated=emulated, blind=blind)}"


def _gathered(unknown: Sequence[str]) -> Iterator[str]:
    """Name together what has one reason."""
    by_reason: dict[str, list[str]] = {}
    for each in unknown:
        what, _, why = each.partition(": ")
        by_reason.setdefault(why, []).append(what)
    for why, names in by_reason.items():
        yield f"{', '.join(names)}: {why}"


def _number(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"
