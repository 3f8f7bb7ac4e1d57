"""One row of a race, from its first build to its last measurement. What breaks ends its lane."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from edgekit.app.arena import Arena, in_one_line
from edgekit.app.bundles import Feasible
from edgekit.app.entries import Entry, Timing, compare, complete, enter, evaluate, time_once
from edgekit.bench.latency import disturbance, frames_per_second, summarise
from edgekit.core.bundle import Bundle
from edgekit.core.candidate import Candidate, CandidateResult
from edgekit.core.errors import EngineError, MeasurementInvalidError, ModelError
from edgekit.core.measurement import Accuracy, BenchPlan, Measurement
from edgekit.core.names import Status
from edgekit.core.validity import Reason

_NS_PER_MS = 1e6
_NAMED = 3
MEASURE_STEP = "measure"

Answer = TypeVar("Answer")


@dataclass
class Lane:
    """Engine and precision; what it is built and run with is found out on the way.

    Attributes:
        plan: how it can be built and run here; its candidate holds the settings found so far.
        row: what is known of it; ``status`` other than ``ok`` ends the lane, except ``gate``,
            which is still measured so that the table can tell.
        notes: remarks for the row, in the order in which they arose.
        agreed: how far its answers agreed with the float reference's on the frames.
        brief_ms: median of its settings in the search; infinite where there was none.
    """

    arena: Arena
    plan: Feasible
    row: CandidateResult
    notes: list[str] = field(default_factory=list)
    agreed: float = 0.0
    brief_ms: float = math.inf
    _entries: dict[Candidate, Entry] = field(default_factory=dict)
    _turns: list[Timing] = field(default_factory=list)
    _briefly: dict[Candidate, Timing] = field(default_factory=dict)

    @property
    def candidate(self) -> Candidate:
        """Engine, precision and the settings found so far."""
        return self.row.candidate

    @property
    def running(self) -> bool:
        """Whether there is any use in going on."""
        return self.row.status in {"ok", "gate"}

    def set(self, candidate: Candidate) -> None:
        """Go on with other settings."""
        self.row = replace(self.row, candidate=candidate)

    def build(self) -> None:
        """Build the candidate as it is set."""
        entry = self.attempt(lambda: self._entry(self.candidate))
        if entry is not None:
            self.row = replace(self.row, size_bytes=entry.bundle.size_bytes)

    def cost(self, candidate: Candidate, plan: BenchPlan) -> float:
        """Measure other settings briefly: the median in ms, infinite where they fail."""
        try:
            timing = time_once(self.arena, self._entry(candidate), candidate.knobs, plan, 0)
            self._briefly[candidate] = timing
            return summarise(timing.model_ns).p50
        except (EngineError, MeasurementInvalidError, ModelError) as error:
            self.notes.append(f"{_settings(candidate)}: {in_one_line(error)}")
            return math.inf

    def leave(self, reason: str) -> None:
        """Take no further part; the row keeps the figures of the settings' own short run."""
        timing = self._briefly.get(self.candidate)
        if timing is not None:
            self._turns = [timing]
            self.attempt(self._sum_up)
        self.end("skipped", reason)

    def judge(self) -> None:
        """Compare outputs with the float reference and apply the gate, on the device."""
        found = self.attempt(lambda: self._judged(self._entry(self.candidate)))
        if found is None:
            return
        limit = self.arena.limits.max_drop
        reason = gate_reason(found, limit, emulated=self.arena.emulated)
        self.row = replace(self.row, accuracy=found, status="gate" if reason else "ok")
        if reason:
            self.notes.append(reason)
            self.attempt(self._name_the_worst)
        elif found.interval is not None and found.verdict(limit) == "undecided":
            self.notes.append(undecided(found, limit))

    def measure(self, plan: BenchPlan, turn: int) -> None:
        """Take one turn of the last measurement, again while it is doubted and there is time."""
        entry, arena, knobs = self._entry(self.candidate), self.arena, self.candidate.knobs
        again = False
        while True:
            began = time.monotonic()
            timing = self.attempt(
                lambda: time_once(arena, entry, knobs, plan, turn, again=again)  # noqa: B023
            )
            if timing is None:
                return
            took_s = time.monotonic() - began
            doubts = timing.doubts
            if not arena.patience.waited(doubts, took_s, arena.device, arena.emit, MEASURE_STEP):
                break
            again = True
        self._turns.append(timing)

    def finish(self) -> CandidateResult:
        """Sum up the turns taken so far, and return the row."""
        if self.running and self._turns:
            self.attempt(self._sum_up)
        remarks = [*self.notes, *self._disturbed()]
        doubts = () if self.arena.emulated else tuple(_gathered(self._turns))
        self.row = replace(self.row, reason="; ".join(dict.fromkeys(remarks)), doubts=doubts)
        return self.row

    def entry(self) -> Entry:
        """Return the candidate as it is to be deployed, knobs and all."""
        entry = self._entry(self.candidate)
        bundle = replace(entry.bundle, knobs=self.candidate.knobs)
        return replace(entry, candidate=self.candidate, bundle=bundle)

    def bundle(self) -> Bundle:
        """Return what is to be deployed, with what identical devices made of it."""
        return complete(self.arena, self.entry())

    def _entry(self, candidate: Candidate) -> Entry:
        # Knobs are turned at run time: candidates that differ in them alone share their files.
        built = replace(candidate, knobs=self.plan.candidate.knobs)
        if built not in self._entries:
            self._entries[built] = enter(self.arena, self.plan, built)
        return self._entries[built]

    def _judged(self, entry: Entry) -> Accuracy:
        knobs = self.candidate.knobs
        error, agreement = compare(self.arena, entry, knobs)
        self.row = replace(self.row, error=error)
        self.agreed = agreement.value
        return evaluate(self.arena, entry, knobs) or agreement

    def _name_the_worst(self) -> None:
        """Say which layers lose most, where int8 is what the gate refused."""
        from edgekit.app.quantise import layer_losses

        how = self.candidate.quantisation
        if how is None:
            return
        rewrites = self.candidate.rewrites
        calibration = self.arena.calibration(rewrites)
        losses = layer_losses(
            self.arena.variant(rewrites), calibration, how.method, self.arena.emit
        )
        worst = [layer for layer in losses.layers if layer.name not in how.float_layers]
        named = "; ".join(
            f"{layer.name} ({layer.operator}, {layer.decibels:.0f} dB in {layer.suffers})"
            for layer in worst[:_NAMED]
        )
        self.notes.append(f"layers that lose most: {named}")

    def _sum_up(self) -> None:
        samples = tuple(ns for turn in self._turns for ns in turn.model_ns)
        whole = tuple(ns for turn in self._turns for ns in turn.end_to_end_ns)
        loads = [turn.load_ns for turn in self._turns if turn.load_ns is not None]
        peaks = [t.memory_peak_bytes for t in self._turns if t.memory_peak_bytes is not None]
        emulated = self.arena.emulated
        measured = Measurement(
            model=summarise(samples),
            end_to_end=summarise(whole) if whole else None,
            fps=None if emulated else frames_per_second(samples),
            memory_peak_bytes=max(peaks, default=None),
            load_ms=min(loads) / _NS_PER_MS if loads else None,
            emulated=emulated,
            samples_ns=samples,
            end_to_end_samples_ns=whole,
            versions=self._turns[-1].versions,
            rounds=tuple(len(turn.model_ns) for turn in self._turns),
            measured_at_s=max(turn.measured_at_s for turn in self._turns),
        )
        self.row = replace(self.row, measurement=measured, bundle=self.bundle().identity)

    def _disturbed(self) -> tuple[str, ...]:
        measured = self.row.measurement
        if measured is None or measured.emulated or not self.running:
            return ()
        words = disturbance(measured.model)
        return (words,) if words else ()

    def attempt(self, work: Callable[[], Answer]) -> Answer | None:
        """Do a part of the lane's work; what breaks ends the lane, and nothing else."""
        try:
            return work()
        except (EngineError, ModelError) as error:
            self.end("failed", in_one_line(error))
        except MeasurementInvalidError as error:
            self.end("invalid", in_one_line(error))
        return None

    def end(self, status: Status, reason: str) -> None:
        """End the lane: it takes no further part."""
        self.row = replace(self.row, status=status)
        self.notes.append(reason)


def _gathered(turns: Sequence[Timing]) -> Iterator[Reason]:
    """Return one reason of each kind: the first of them, and in how many turns there was one."""
    for kind in dict.fromkeys(reason.kind for turn in turns for reason in turn.doubts):
        found = [reason for turn in turns for reason in turn.doubts if reason.kind == kind]
        times = sum(any(reason.kind == kind for reason in turn.doubts) for turn in turns)
        yield replace(found[0], text=f"in {times} of {len(turns)} turns: {found[0].text}")


def gate_reason(accuracy: Accuracy, limit: float, *, emulated: bool) -> str:
    """Return why the gate refuses a candidate, empty if it does not.

    On an emulated device a few images are all that time allows, and their mean drop is mostly
    chance: there only what is surely too much is refused.
    """
    surely = accuracy.interval is None or accuracy.verdict(limit) == "fail"
    if accuracy.drop <= limit or (emulated and not surely):
        return ""
    words = f"{accuracy.metric} {accuracy.value:.4f}: a drop of {accuracy.drop:.4f}"
    return f"{words}{_interval(accuracy)}, more than {limit:g}"


def undecided(accuracy: Accuracy, limit: float) -> str:
    """Say that the images cannot tell whether the drop is within the limit."""
    needed = accuracy.images_needed
    more = f"; about {needed} images would" if needed else ""
    return (
        f"undecided: a drop of {accuracy.drop:.4f}{_interval(accuracy)} on {accuracy.images} "
        f"images does not settle whether it is within {limit:g}{more}"
    )


def _interval(accuracy: Accuracy) -> str:
    if accuracy.interval is None:
        return ""
    low, high = accuracy.interval
    return f" ({low:+.4f} to {high:+.4f})"


def _settings(candidate: Candidate) -> str:
    turned = [f"{name} {value}" for name, value in candidate.knobs]
    return ", ".join([*candidate.rewrites, *turned]) or "as it is"
