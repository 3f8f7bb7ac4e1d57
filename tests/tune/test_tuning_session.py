"""Tuning goes on where it stopped, whatever ended it, and keeps every trial."""

import contextlib
import math
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from processes import assert_nothing_runs_below, running_below
from tuning_records import SCOPE

from edgekit.core.errors import EngineError
from edgekit.core.events import StepFinished, StepProgress, StepStarted, ignore
from edgekit.tune.records import Records, open_records
from edgekit.tune.session import Limits, Measured, Session
from edgekit.tune.worker import Worker

TESTS = Path(__file__).resolve().parents[1]
ALL = 45
COUNTED = replace(SCOPE, cost="instructions")

KILLED = """
import sys
import time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from tune.test_tuning_session import Bench, Limits, session

class Slow(Bench):
    def results(self, wait_s):
        time.sleep(0.02)
        found, self.waiting = self.waiting[:1], self.waiting[1:]
        return found

with session(Path(sys.argv[1]), Slow(), lambda event: print(event, flush=True)) as ready:
    ready.run("Tune", Limits())
"""


class Bench:
    """Times nothing: the cost of a candidate follows from its number."""

    def __init__(self, outcome=None):
        self.waiting = []
        self.outcome = outcome or (lambda trace: {"costs": (cost_of(trace),)})
        self.traces = []

    def submit(self, candidate):
        assert candidate.library.read_text() == candidate.trace
        self.traces.append(candidate.trace)
        self.waiting.append(
            Measured(candidate.number, device="bench", **self.outcome(candidate.trace))
        )

    def flush(self):
        pass

    def results(self, wait_s):
        found, self.waiting = self.waiting, []
        return found

    def stranded(self):
        return ()


def cost_of(trace):
    return 1e-3 / (1 + int(trace.split()[1]))


@contextlib.contextmanager
def session(folder, bench, emit=ignore, manner="", scope=SCOPE):
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    script = [sys.executable, str(TESTS / "tuning_worker.py"), str(scratch)]
    with (
        Worker([*script, *([manner] if manner else [])], folder / "log") as worker,
        open_records(folder / "records.sqlite") as records,
    ):
        yield Session(worker, worker.greeting(), bench, records, scope, emit=emit)


def trials(folder, scope=SCOPE):
    with open_records(folder / "records.sqlite") as records:
        return tuple(records.trials(scope))


def test_session_tries_all_there_is_and_keeps_every_trial(tmp_path):
    events = []
    with session(tmp_path, Bench(), events.append) as ready:
        tuned = ready.run("Tune", Limits())
    assert (tuned.stop, tuned.trials, tuned.failures) == ("exhausted", ALL, 1)
    assert tuned.cost == pytest.approx(2 * (1e-3 / 40 + 1e-3 / 5))
    kept = trials(tmp_path)
    assert Counter(trial.trace for trial in kept).most_common(1)[0][1] == 1
    assert len(kept) == ALL
    (failed,) = [trial for trial in kept if trial.failure]
    assert (failed.failure, failed.detail) == ("build_error", "a loop that cannot be vectorised")
    assert {trial.device for trial in kept if not trial.failure} == {"bench"}
    assert isinstance(events[0], StepStarted)
    assert any("GFLOPS" in event.unit for event in events if isinstance(event, StepProgress))
    assert events[-1] == StepFinished("tune", f"{ALL} trials")
    assert not list((tmp_path / "scratch").glob("[0-9]*.so")), "a library outlived its trial"


def test_instructions_are_kept_apart_told_small_and_shown_as_no_speed(tmp_path, monkeypatch):
    told = []
    say = Worker._say

    def overhear(worker, line):
        told.append(line)
        say(worker, line)

    monkeypatch.setattr(Worker, "_say", overhear)
    counts = Bench(lambda _trace: {"costs": (4e9,)})
    events = []
    with session(tmp_path, counts, events.append, scope=COUNTED) as ready:
        tuned = ready.run("Tune", Limits(trials=20))
    assert tuned.cost == 2 * (4e9 + 4e9)
    assert len(trials(tmp_path, COUNTED)) == 20
    assert {trial.cost for trial in trials(tmp_path, COUNTED) if not trial.failure} == {4e9}
    assert not trials(tmp_path)
    units = [event.unit for event in events if isinstance(event, StepProgress)]
    assert any("conv, 4000 M instructions, model 1.6e+04 M instructions" in unit for unit in units)
    assert not any(word in unit for unit in units for word in ("FLOPS", "FPS", " ms"))
    with session(tmp_path, counts, scope=COUNTED) as ready:
        ready.run("Tune", Limits(trials=1))
    results = [result for line in told for result in line.get("results", ())]
    known = [trial for line in told for trial in line.get("trials", ())]
    # MetaSchedule takes costs for seconds, and 1e10 of them for a failure.
    assert {tuple(each["costs"] or ()) for each in results} == {(4.0,), ()}
    assert {tuple(each["costs"]) for each in known} == {(4.0,), ()}


def test_trials_are_a_limit_of_the_session(tmp_path):
    with session(tmp_path, Bench()) as ready:
        tuned = ready.run("Tune", Limits(trials=20))
    assert (tuned.stop, tuned.trials, len(trials(tmp_path))) == ("trials", 20, 20)


def test_time_is_a_limit_before_anything_is_tried(tmp_path):
    with session(tmp_path, Bench()) as ready:
        tuned = ready.run("Tune", Limits(time_s=0))
    assert (tuned.stop, tuned.trials, tuned.cost) == ("time", 0, math.inf)


def test_second_session_tries_nothing_twice(tmp_path):
    first, second = Bench(), Bench()
    with session(tmp_path, first) as ready:
        ready.run("Tune", Limits(trials=20))
    with session(tmp_path, second) as ready:
        tuned = ready.run("Tune", Limits())
    assert (tuned.stop, tuned.trials) == ("exhausted", ALL - 20)
    assert not set(first.traces) & set(second.traces)
    assert tuned.cost == pytest.approx(2 * (1e-3 / 40 + 1e-3 / 5))


def test_candidate_that_a_lost_device_had_is_tried_again(tmp_path):
    def lose(trace):
        return {"failure": "device_lost"} if trace == "hash-pool 2" else {"costs": (1e-3,)}

    with session(tmp_path, Bench(lose)) as ready:
        ready.run("Tune", Limits())
    again = Bench()
    with session(tmp_path, again) as ready:
        ready.run("Tune", Limits())
    assert again.traces == ["hash-pool 2"]


def test_nothing_is_learnt_from_a_candidate_that_a_lost_device_had(tmp_path, monkeypatch):
    def lose(trace):
        return {"failure": "device_lost"} if trace == "hash-pool 2" else {"costs": (1e-3,)}

    told = []
    monkeypatch.setattr(Worker, "measured", lambda _self, results: told.extend(results))
    with session(tmp_path, Bench(lose)) as ready:
        tuned = ready.run("Tune", Limits())
    assert (tuned.trials, len(told)) == (ALL, ALL - 1)
    (pool,) = [task for task in tuned.tasks if task.name == "pool"]
    assert pool.trials == 4


def test_time_ends_a_session_whose_devices_are_all_away(tmp_path):
    class Gone(Bench):
        """Measures three; then nobody is there any more, and the time is up."""

        def results(self, wait_s):
            if over or len(self.waiting) < 3:
                return []
            over.append(True)
            found, self.waiting = self.waiting[:3], self.waiting[3:]
            return found

        def stranded(self):
            numbers = [each.number for each in self.waiting]
            self.waiting.clear()
            return numbers

    over, monotonic = [], time.monotonic
    bench = Gone()
    with session(tmp_path, bench) as ready, pytest.MonkeyPatch.context() as patch:
        # An hour passes when the third is measured.
        patch.setattr(time, "monotonic", lambda: monotonic() + 3600 * bool(over))
        tuned = ready.run("Tune", Limits(time_s=1800))
    # One of the batch's eight could not be built.
    assert (tuned.stop, tuned.trials, tuned.failures) == ("time", 3 + 1, 1)
    assert len(bench.traces) == 7
    assert len(trials(tmp_path)) == 3 + 1, "what nobody began is no trial"
    assert not list((tmp_path / "scratch").glob("[0-9]*.so"))
    again = Bench()
    with session(tmp_path, again) as ready:
        ready.run("Tune", Limits())
    assert set(bench.traces[3:]) <= set(again.traces)


def test_interrupted_session_keeps_what_was_measured(tmp_path):
    class Interrupted(Bench):
        def flush(self):
            raise KeyboardInterrupt

    class Late(Interrupted):
        """Has nothing ready before the interrupt, and everything after it."""

        flushed = False

        def flush(self):
            self.flushed = True
            super().flush()

        def results(self, wait_s):
            return super().results(wait_s) if self.flushed else []

    with session(tmp_path, Late()) as ready:
        tuned = ready.run("Tune", Limits())
    assert tuned.stop == "interrupted"
    assert tuned.trials == len(trials(tmp_path)) == 8


def test_interrupt_while_trials_are_kept_loses_none_of_them(tmp_path, monkeypatch):
    appended = []

    def interrupted(records, record, append=Records.append):
        new = append(records, record)
        appended.append(record)
        if len(appended) == 3:
            raise KeyboardInterrupt
        return new

    class AtOnce(Bench):
        flushed = False

        def flush(self):
            self.flushed = True

        def results(self, wait_s):
            return super().results(wait_s) if self.flushed else []

    monkeypatch.setattr(Records, "append", interrupted)
    with session(tmp_path, AtOnce()) as ready:
        tuned = ready.run("Tune", Limits())
    assert tuned.stop == "interrupted"
    assert tuned.trials == len(trials(tmp_path)) == 8


def test_nothing_that_runs_is_an_error_and_no_search(tmp_path):
    bench = Bench(lambda _trace: {"failure": "run_error", "detail": "no TVM there"})
    with (
        session(tmp_path, bench) as ready,
        pytest.raises(EngineError, match=r"none of the first 8 .* no TVM there"),
    ):
        ready.run("Tune", Limits())


def test_dead_worker_is_told_with_its_last_words(tmp_path):
    with (
        session(tmp_path, Bench(), manner="dies") as ready,
        pytest.raises(EngineError, match=r"ended with 1; it last said: out of memory"),
    ):
        ready.run("Tune", Limits())


@pytest.mark.parametrize("interrupted", [False, True])
def test_what_a_busy_worker_started_ends_with_it(tmp_path, monkeypatch, interrupted):
    def wait(process, timeout=None, wait=subprocess.Popen.wait):
        if interrupted and timeout == 0.2:
            raise KeyboardInterrupt
        return wait(process, timeout)

    monkeypatch.setattr("edgekit.tune.worker._END_S", 0.2)
    monkeypatch.setattr(subprocess.Popen, "wait", wait)
    script = "import subprocess, sys; subprocess.run(['sh', '-c', 'sleep 60; : $0', sys.argv[1]])"
    busy = [sys.executable, "-c", script, str(tmp_path / "compiler")]
    worker = Worker(busy, tmp_path / "log")
    while len(running_below(tmp_path / "compiler")) < 2:
        time.sleep(0.02)
    with pytest.raises(KeyboardInterrupt) if interrupted else contextlib.nullcontext():
        worker.close()
    assert_nothing_runs_below(tmp_path)


def test_worker_that_cannot_begin_says_why(tmp_path):
    with (
        pytest.raises(EngineError, match="no C compiler for aarch64") as caught,
        session(tmp_path, Bench(), manner="cannot"),
    ):
        pass
    assert caught.value.hint.startswith("install one; log: ")


def test_killed_session_goes_on_and_measures_nothing_twice(tmp_path):
    """Kill -9 at several moments; what was told as done is on record, and only once."""
    for moment_s in (0.1, 0.0, 0.05):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), str(TESTS)],
            stdout=subprocess.PIPE,
            text=True,
        )
        before = len(trials(tmp_path))
        for line in process.stdout:
            if line.startswith("StepProgress"):
                break
        time.sleep(moment_s)
        process.send_signal(signal.SIGKILL)
        told = [line for line in process.stdout if line.startswith("StepProgress")]
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        assert_nothing_runs_below(tmp_path)
        kept = trials(tmp_path)
        if told:
            assert len(kept) - before >= int(told[-1].partition("done=")[2].partition(",")[0])
    with session(tmp_path, Bench()) as ready:
        assert ready.run("Tune", Limits()).stop == "exhausted"
    kept = trials(tmp_path)
    assert len(kept) == len({trial.trace for trial in kept}) == ALL
