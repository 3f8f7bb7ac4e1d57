"""The line: every captured frame has exactly one end, whatever happens on its way."""

import threading
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.onboard.camera import line as line_of_stages
from edgekit.onboard.camera.frames import Captured, Source, SourceEnded, SourceLostError
from edgekit.onboard.camera.hand_over import POLICIES, HandOver
from edgekit.onboard.camera.ledger import ENDS, Ledger
from edgekit.onboard.camera.line import Line, Plan, size_bytes
from edgekit.onboard.camera.stage import CorruptFrameError, FrameError, Stage
from edgekit.onboard.faults import RunFailedError
from edgekit.onboard.timing import clock_ns

STAGES = ("decode", "inference", "sink")
LATEST = {"depth": 2, "policy": "latest"}
BLOCK = {"depth": 2, "policy": "block"}


class Numbered(Source):
    """Gives ``count`` frames as fast as they are taken; ``upsets`` says what goes wrong when."""

    def __init__(self, count, upsets=None, refuse_open=0):
        super().__init__()
        self.count, self.upsets, self.refuse_open = count, dict(upsets or {}), refuse_open
        self.given = self.sequence = self.opened = self.closed = 0
        self.released = Counter()

    def open(self):
        self.opened += 1
        if self.opened > 1 and self.refuse_open:
            self.refuse_open -= 1
            raise SourceLostError("no such device")

    def read(self, timeout_s):
        if self.given == self.count:
            raise SourceEnded
        upset = self.upsets.pop(self.given, None)
        if upset == "lost":
            raise SourceLostError("unplugged")
        if upset == "quiet":
            time.sleep(min(timeout_s, 0.01))
            return None
        if upset == "gap":
            self.sequence += 3
        number, now = self.given, clock_ns()
        self.given += 1
        self.sequence += 1
        return Captured(
            *(np.full(12, number % 256, np.uint8), "RGB3", 2, 2, 0, now, now, self.sequence),
            *(upset == "corrupt", lambda: self.released.update([number])),
        )

    def close(self):
        self.closed += 1


def nothing(_frames):
    """Do nothing."""


def run(source, *, queue=LATEST, work=None, plan=None, **options):
    """Run a line to its end; return it with its ledger."""
    work = work or {}
    ledger = Ledger(STAGES)
    stages = [Stage(name, work.get(name, nothing)) for name in STAGES]
    line = Line(source, stages, plan or Plan(queue, {}, **options), ledger)
    line.run(lambda: None)
    return line, ledger


def ends_of(ledger):
    rows = ledger.rows()
    columns = ledger.columns
    causes = Counter(ENDS[code] for code in rows[:, columns.index("end")])
    assert sorted(rows[:, columns.index("number")]) == list(range(len(rows)))
    return causes


def check_whole(source, ledger):
    """Every frame that was given has one row, one end, and its buffer was given back once."""
    counts = ledger.counts()
    dropped = sum(sum(causes.values()) for causes in counts["dropped"].values())
    assert counts["captured"] == source.given == counts["delivered"] + dropped
    assert sum(ends_of(ledger).values()) == source.given
    assert source.released == Counter(range(source.given))


@pytest.mark.parametrize("policy", POLICIES)
def test_every_frame_is_delivered_or_dropped_with_a_cause(policy):
    source = Numbered(2000)
    slow = {"inference": lambda _frames: time.sleep(0.0005)}
    _, ledger = run(source, queue={"depth": 2, "policy": policy}, work=slow)
    check_whole(source, ledger)
    if policy == "block":
        assert ends_of(ledger) == {"delivered": 2000}
    else:
        assert set(ends_of(ledger)) == {"delivered", policy}


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 120),
    policy=st.sampled_from(POLICIES),
    depth=st.integers(1, 5),
    upsets=st.dictionaries(
        st.integers(0, 119), st.sampled_from(["quiet", "gap", "corrupt"]), max_size=10
    ),
    bad=st.sets(st.integers(0, 119), max_size=5),
    naps=st.lists(st.sampled_from([0.0, 0.0002, 0.001]), min_size=3, max_size=3),
)
def test_accounting_is_exact_whatever_goes_wrong(count, policy, depth, upsets, bad, naps):
    def work(index):
        def one(frames):
            time.sleep(naps[index])
            if index == 0 and frames[0].number in bad:
                raise CorruptFrameError("torn")

        return one

    source = Numbered(count, upsets)
    stages = {name: work(index) for index, name in enumerate(STAGES)}
    line, ledger = run(source, queue={"depth": depth, "policy": policy}, work=stages)
    check_whole(source, ledger)
    assert not line.broken
    gaps = sum(1 for number, upset in upsets.items() if upset == "gap" and 0 < number < count)
    assert ledger.counts()["lost"] == 3 * gaps


def test_order_is_kept_and_times_follow_each_other():
    seen = []
    source = Numbered(300)
    _, ledger = run(
        source, queue=BLOCK, work={"sink": lambda frames: seen.extend(f.number for f in frames)}
    )
    assert seen == list(range(300))
    rows, columns = ledger.rows(), ledger.columns
    at = {name: rows[:, index] for index, name in enumerate(columns)}
    before = at["arrived_ns"]
    for stage in STAGES:
        for name in ("offered_ns", "queued_ns", "start_ns", "end_ns"):
            assert (at[f"{stage}.{name}"] >= before).all(), f"{stage}.{name}"
            before = at[f"{stage}.{name}"]
    assert (at["ended_ns"] == at["sink.end_ns"]).all()


def test_source_that_is_lost_is_opened_again_and_the_gap_is_told():
    source = Numbered(50, {20: "lost"}, refuse_open=2)
    line, ledger = run(source, queue=BLOCK)
    check_whole(source, ledger)
    assert ledger.counts()["delivered"] == 50
    [(since, until, why)] = ledger.away
    assert until > since
    assert why == "unplugged"
    assert source.opened == 4
    assert not line.away


def test_line_ends_while_its_source_is_away():
    source = Numbered(50, {20: "lost"}, refuse_open=10**6)
    ledger = Ledger(STAGES)
    line = Line(source, [Stage(name, nothing) for name in STAGES], Plan(BLOCK, {}), ledger)
    reopen = source.open

    def open_or_stop():
        if source.opened == 3:
            line.stop()
        reopen()

    source.open = open_or_stop
    line.run(lambda: None)
    check_whole(source, ledger)
    assert ledger.counts()["delivered"] == 20
    assert len(ledger.away) == 1
    assert not line.broken


def test_no_source_at_the_start_is_a_failure():
    source = Numbered(1, refuse_open=1)
    source.opened = 1
    with pytest.raises(RunFailedError, match="no such device"):
        run(source)
    assert source.closed


@pytest.mark.parametrize("stage", STAGES)
def test_stage_that_fails_ends_the_line_with_every_frame_accounted(stage):
    def fail(frames):
        if frames[0].number >= 10:
            raise ZeroDivisionError("by nought")

    source = Numbered(10**9)
    line, ledger = run(source, queue=BLOCK, work={stage: fail})
    check_whole(source, ledger)
    assert line.broken == f"{stage} failed: ZeroDivisionError: by nought"
    assert ends_of(ledger)["failed"] == 1


def test_stage_that_says_why_it_cannot_go_on_is_told_in_its_words_alone():
    def fail(frames):
        raise RunFailedError("cannot write to x: No space left on device")

    line, ledger = run(Numbered(100), queue=BLOCK, work={"sink": fail})
    assert line.broken == "sink failed: cannot write to x: No space left on device"
    assert ledger.faults == [line.broken]


def test_frame_that_one_stage_cannot_take_is_counted_and_the_line_goes_on():
    def refuse(frames):
        if frames[0].number % 10 == 3:
            raise FrameError("no room for this one")

    source = Numbered(100)
    line, ledger = run(source, queue=BLOCK, work={"sink": refuse})
    check_whole(source, ledger)
    assert ends_of(ledger) == {"delivered": 90, "failed": 10}
    assert not line.broken
    assert ledger.faults == ["sink: no room for this one"] * 10


def test_source_that_fails_ends_the_line():
    source = Numbered(100)
    read = source.read
    source.read = lambda timeout: 1 / 0 if source.given == 7 else read(timeout)
    line, ledger = run(source, queue=BLOCK)
    check_whole(source, ledger)
    assert "the source failed: ZeroDivisionError" in line.broken


def test_frames_that_wait_may_not_take_all_memory():
    gate = threading.Event()
    source = Numbered(50)

    def wait(_frames):
        gate.wait(10)

    def open_when_all_came():
        while source.given < 50:
            time.sleep(0.001)
        gate.set()

    opener = threading.Thread(target=open_when_all_came)
    opener.start()
    plan = Plan({"depth": 100, "policy": "block"}, {}, memory_bytes=5 * 24)
    _, ledger = run(source, work={"decode": wait}, plan=plan)
    opener.join()
    check_whole(source, ledger)
    assert ends_of(ledger) == {"delivered": 5, "memory": 45}


def test_stop_lets_what_is_on_its_way_arrive():
    source = Numbered(10**9)
    ledger = Ledger(STAGES)
    slow = [Stage(name, lambda _frames: time.sleep(0.002)) for name in STAGES]
    line = Line(source, slow, Plan(BLOCK, {}), ledger)
    timer = threading.Timer(0.2, line.stop)
    timer.start()
    line.run(lambda: None)
    timer.join()
    check_whole(source, ledger)
    assert set(ends_of(ledger)) == {"delivered"}


@pytest.mark.parametrize(("stopped", "hanging"), [(False, False), (True, False), (False, True)])
def test_last_frames_have_the_time_they_need_unless_it_is_stopped_or_hangs(
    stopped, hanging, monkeypatch
):
    monkeypatch.setattr(line_of_stages, "_DRAIN_S", 0.3)
    monkeypatch.setattr(line_of_stages, "_STILL_S", 0.3 if hanging else 60.0)
    source = Numbered(2)
    ledger = Ledger(STAGES)
    stages = [Stage(name, nothing) for name in STAGES]

    def take_long(_frames):
        if stopped:
            line.stop()
        time.sleep(1.0)

    stages[1] = Stage("inference", take_long)
    line = Line(source, stages, Plan(BLOCK, {}), ledger)
    line.run(lambda: None)
    check_whole(source, ledger)
    wanted = {"stopped": 2} if stopped or hanging else {"delivered": 2}
    assert ends_of(ledger) == wanted


def test_line_ends_after_as_many_frames_or_seconds():
    _, ledger = run(Numbered(1000), queue=BLOCK, frames=7)
    assert ledger.counts()["captured"] == 7
    began = time.monotonic()
    run(Numbered(10**9), queue=LATEST, seconds=0.3)
    assert time.monotonic() - began < 5


def test_queue_of_its_own_for_a_stage():
    source = Numbered(300)
    plan = Plan(BLOCK, {"inference": {"depth": 1, "policy": "drop-oldest"}})
    slow = {"inference": lambda _frames: time.sleep(0.001)}
    _, ledger = run(source, work=slow, plan=plan)
    check_whole(source, ledger)
    assert set(ledger.counts()["dropped"]) == {"inference"}


def test_batch_is_what_waits_and_no_more():
    ledger = Ledger(STAGES)
    sizes = []

    def infer(frames):
        sizes.append(len(frames))
        time.sleep(0.002)

    source = Numbered(200)
    stages = [Stage("decode", nothing), Stage("inference", infer, most=4), Stage("sink", nothing)]
    Line(source, stages, Plan({"depth": 8, "policy": "block"}, {}), ledger).run(lambda: None)
    check_whole(source, ledger)
    assert sum(sizes) == 200
    assert max(sizes) == 4


def test_ledger_counts_on_when_its_rows_are_full():
    ledger = Ledger(("sink",), kept_rows=10)
    source = Numbered(25)
    Line(source, [Stage("sink", nothing)], Plan(BLOCK, {}), ledger).run(lambda: None)
    assert len(ledger.rows()) == 10
    assert ledger.counts() == {"captured": 25, "delivered": 25, "dropped": {}, "lost": 0}


def test_placed_stage_runs_on_its_core():
    ledger = Ledger(("sink",))
    stage = Stage("sink", nothing, cores="0")
    Line(Numbered(20), [stage], Plan(BLOCK, {}), ledger).run(lambda: None)
    assert set(ledger.rows()[:, ledger.columns.index("sink.core")]) == {0}


def test_wrong_queue_is_refused():
    with pytest.raises(ValueError, match="no queue has the policy 'newest'"):
        HandOver(0, 1, "newest", lambda _frame, _cause: None)
    with pytest.raises(ValueError, match="one frame at least"):
        HandOver(0, 0, "block", lambda _frame, _cause: None)


def test_numbers_that_repeat_go_back_or_begin_again_are_no_losses():
    numbers = [2**32 - 2, 2**32 - 1, 0, 1, 1, 3, 4, 0, 1, 4]
    source = Numbered(len(numbers))
    read = source.read

    def numbered(timeout_s):
        captured = read(timeout_s)
        return captured._replace(sequence=numbers[source.given - 1])

    source.read = numbered
    _, ledger = run(source, queue=BLOCK)
    check_whole(source, ledger)
    assert ledger.counts()["lost"] == 2
    assert [count for _at_ns, count, _cause in ledger.as_json()["lost"]] == [2]


@pytest.mark.parametrize(("by", "pixels"), [(1, 64 * 48), (4, 16 * 12)])
def test_frame_takes_what_came_and_the_picture_that_is_made_of_it(by, pixels):
    about = ("NV12", 64, 48, 0, 0, 0, 0, False, lambda: None)
    assert size_bytes(Captured(np.zeros(4608, np.uint8), *about), by) == 4608 + 3 * pixels
    assert size_bytes(Captured(None, *about), by) == 3 * pixels
