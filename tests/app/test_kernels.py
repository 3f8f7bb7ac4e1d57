"""Candidates on several devices: one that drops off loses what it had, the others go on."""

import contextlib
import json
import threading
import time
from types import SimpleNamespace

import pytest

from edgekit.app import kernel_lane
from edgekit.app.kernel_lane import KernelPlan, Place
from edgekit.app.kernels import DeviceBench
from edgekit.core.errors import (
    AgentError,
    ConnectionLostError,
    DiskFullError,
    HostKeyError,
    RunnerError,
    UnreachableError,
)
from edgekit.core.events import Note, ignore
from edgekit.tune.worker import Candidate


class Board:
    """A device that answers with what ``outcome`` makes of a candidate's content."""

    def __init__(self, outcome):
        self.outcome = outcome
        self.content = {}
        self.opened = 0
        self.requests = []
        self.down = threading.Event()
        self.absence = UnreachableError("no answer")
        self.closed = threading.Event()

    @contextlib.contextmanager
    def open(self, emit):
        self.opened += 1
        if self.down.is_set():
            raise self.absence
        yield self

    def close(self):
        self.closed.set()

    def push(self, files, emit=ignore):
        self.content.update({file.sha256: file.source.read_text() for file in files})

    def install(self, bundle, emit=ignore):
        assert bundle.identity == "bundle"

    def run(self, bundle_id, request, listen):
        plan = json.loads(request.postprocess_json)
        self.requests.append((request.launcher, plan["counts"], plan["limit_s"]))
        assert len(plan["arguments"]) == len(request.frames)
        for number, frame in enumerate(request.frames):
            found = self.outcome(self.content[frame])
            if isinstance(found, Exception):
                raise found
            listen({"event": "kernel", "number": number, **found})


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(kernel_lane, "_FIRST_BACK_OFF_S", 1e-3)
    with contextlib.ExitStack() as stack:

        def make(boards, *, hold=False, emit=ignore, counter=None, plan=None):
            bundle = SimpleNamespace(content=(), identity="bundle")
            places = [
                Place(name, board.open, lambda _: bundle, counter) for name, board in boards.items()
            ]
            made = DeviceBench(places, plan or KernelPlan(), hold=hold, emit=emit)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def candidates(tmp_path):
    def make(count):
        found = []
        for number in range(count):
            library = tmp_path / f"{number}.so"
            library.write_text(str(number))
            found.append(Candidate(number, "hash", "trace", library, ((2, 32, (1,)),)))
        return found

    return make


def notes(events):
    return [event.text for event in events if isinstance(event, Note)]


def collect(bench, count):
    found = []
    deadline = time.monotonic() + 30
    while len(found) < count:
        assert time.monotonic() < deadline, found
        found += bench.results(0.1)
    return {each.number: each for each in found}


def test_every_candidate_comes_back_with_its_own_cost(bench, candidates):
    made = bench({"a": Board(lambda text: {"seconds": [float(text) + 1]})})
    for candidate in candidates(20):
        made.submit(candidate)
    found = collect(made, 20)
    assert {number: each.costs for number, each in found.items()} == {
        number: (number + 1.0,) for number in range(20)
    }


def test_nothing_is_measured_while_candidates_are_held(bench, candidates):
    made = bench({"a": Board(lambda text: {"seconds": [1.0]})}, hold=True)
    for candidate in candidates(3):
        made.submit(candidate)
    assert not made.results(0.5)
    made.flush()
    assert len(collect(made, 3)) == 3


def test_device_that_drops_off_is_waited_for_while_others_go_on(bench, candidates):
    events = []
    gone = Board(lambda text: ConnectionLostError("the link broke"))

    def lose(text):
        gone.down.set()
        return ConnectionLostError("the link broke")

    gone.outcome = lose
    other = Board(lambda text: {"seconds": [2.0]})
    made = bench({"gone": gone}, emit=events.append)
    (first, *rest) = candidates(4)
    made.submit(first)
    lost = collect(made, 1)[0]
    assert (lost.failure, lost.device) == ("device_lost", "gone")
    gone.outcome = other.outcome
    for candidate in rest:
        made.submit(candidate)
    assert not made.results(0.3), "measured on a device that is away"
    gone.down.clear()
    assert {each.costs for each in collect(made, 3).values()} == {(2.0,)}
    assert "dropped off" in notes(events)[0]
    assert notes(events)[-1] == "gone is back"


def test_two_devices_share_the_work_when_one_is_lost(bench, candidates):
    def lose(text):
        lost.down.set()
        return ConnectionLostError("the link broke")

    lost, sound = Board(lose), Board(lambda text: {"seconds": [1.0]})
    made = bench({"lost": lost, "sound": sound})
    for candidate in candidates(40):
        made.submit(candidate)
    found = collect(made, 40).values()
    marked = [each for each in found if each.failure]
    assert [(each.failure, each.device) for each in marked] == [("device_lost", "lost")]
    assert all(each.device == "sound" for each in found if not each.failure)
    assert sum(each.failure is None for each in found) == 39


def test_runner_that_dies_fails_only_what_it_had_left(bench, candidates):
    def outcome(text):
        return RunnerError("killed") if text == "2" else {"seconds": [1.0]}

    made = bench({"a": Board(outcome)}, hold=True)
    for candidate in candidates(4):
        made.submit(candidate)
    made.flush()
    found = collect(made, 4)
    assert [found[number].failure for number in (0, 1)] == [None, None]
    assert found[2].failure == "run_error"
    assert found[3].failure is None, "what the runner had not begun is no fault of its own"


def test_only_what_was_in_flight_is_marked_when_a_device_is_lost(bench, candidates):
    def outcome(text):
        return ConnectionLostError("the link broke") if text == "2" else {"seconds": [1.0]}

    made = bench({"a": Board(outcome)}, hold=True)
    for candidate in candidates(8):
        made.submit(candidate)
    made.flush()
    found = collect(made, 8)
    assert [number for number, each in found.items() if each.failure] == [2]
    assert found[2].failure == "device_lost"


def test_device_that_refuses_is_tried_again_before_its_candidates_are_given_up(bench, candidates):
    refusals = [AgentError("another agent is at work", code="busy")] * 4

    def push(files, emit=ignore):
        Board.push(board, files)
        if any(file.path == "1.so" for file in files):
            raise DiskFullError("no room")

    board = Board(lambda text: refusals.pop() if refusals else {"seconds": [1.0]})
    made = bench({"a": board})
    first, second = candidates(2)
    made.submit(first)
    assert collect(made, 1)[0].failure is None
    assert board.opened == 1 + 4
    board.push = push
    made.submit(second)
    lost = collect(made, 1)[1]
    assert (lost.failure, lost.detail) == ("device_lost", "no room")
    assert board.opened >= 5 + kernel_lane._MOST_LOSSES - 1


def test_waiting_for_the_last_device_has_an_end_and_says_so(bench, candidates):
    def lose(text):
        return ConnectionLostError("the link broke")

    boards = {"a": Board(lose), "b": Board(lose)}
    events = []
    made = bench(boards, emit=events.append, plan=KernelPlan(away_s=0.5))
    for board in boards.values():
        board.down.set()
    for candidate in candidates(6):
        made.submit(candidate)
    found = []

    def wait():
        while True:
            found.extend(made.results(0.1))

    with pytest.raises(UnreachableError, match=r"within 0\.5 s: a: no answer; b: no answer"):
        wait()
    assert [each.failure for each in found] == ["device_lost"] * 2
    assert sum("no device is left" in text for text in notes(events)) == 1


def test_candidates_are_stranded_only_while_no_device_is_there(bench, candidates):
    def lose(text):
        gone.down.set()
        return ConnectionLostError("the link broke")

    gone = Board(lose)
    made = bench({"gone": gone})
    assert made.stranded() == ()
    for candidate in candidates(5):
        made.submit(candidate)
    assert collect(made, 1)[0].failure == "device_lost"
    found = []
    deadline = time.monotonic() + 30
    while len(found) < 4:
        assert time.monotonic() < deadline, found
        found += made.stranded()
    assert found == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "absence", [HostKeyError("its key has changed"), ValueError("its key has changed")]
)
def test_device_that_answers_but_is_no_use_is_told_once_and_waited_for(bench, candidates, absence):
    def lose(text):
        board.down.set()
        return ConnectionLostError("the link broke")

    board, events = Board(lose), []
    board.absence = absence
    made = bench({"a": board}, emit=events.append)
    first, second = candidates(2)
    made.submit(first)
    collect(made, 1)
    opened = board.opened
    while board.opened < opened + 3:
        made.results(0.01)
    board.outcome = lambda text: {"seconds": [1.0]}
    board.down.clear()
    made.submit(second)
    assert collect(made, 1)[1].failure is None
    useless = [text for text in notes(events) if "cannot be used yet" in text]
    assert useless == ["a cannot be used yet: its key has changed"]


def test_device_that_hangs_is_given_up(bench, candidates):
    def hang(text):
        assert board.closed.wait(30)
        board.outcome = lambda text: {"seconds": [1.0]}
        return ConnectionLostError("the connection was closed")

    board = Board(hang)
    made = bench({"a": board}, plan=KernelPlan(limit_s=0.5, grace_s=0.5))
    first, second = candidates(2)
    made.submit(first)
    lost = collect(made, 1)[0]
    assert (lost.failure, lost.detail) == ("device_lost", "it said nothing for 1 s")
    made.submit(second)
    assert collect(made, 1)[1].failure is None


def test_device_that_is_away_at_the_start_is_an_error(bench):
    board = Board(None)
    board.down.set()
    with pytest.raises(UnreachableError):
        bench({"a": board})


def test_board_that_counts_is_told_how_again_whenever_it_comes_back(bench, candidates):
    made_ready = []

    @contextlib.contextmanager
    def counter():
        made_ready.append("in")
        yield SimpleNamespace(words=("emulator", str(len(made_ready))), counts="/run/counts")
        made_ready.append("out")

    board = Board(lambda text: ConnectionLostError("the link broke"))
    made = bench({"a": board}, counter=counter)
    (first, second) = candidates(2)
    made.submit(first)
    assert collect(made, 1)[0].failure == "device_lost"
    board.outcome = lambda text: {"instructions": 3_000_000_000}
    made.submit(second)
    assert collect(made, 1)[1].costs == (3e9,)
    made.close()
    assert made_ready == ["in", "out", "in", "out"]
    launchers = [launcher for launcher, _counts, _limit_s in board.requests]
    assert launchers == [("emulator", "1"), ("emulator", "3")]
    assert {counts for _launcher, counts, _limit_s in board.requests} == {"/run/counts"}


def test_board_that_times_starts_the_runner_itself(bench, candidates):
    board = Board(lambda text: {"seconds": [1.0]})
    made = bench({"a": board})
    made.submit(*candidates(1))
    assert collect(made, 1)[0].costs == (1.0,)
    assert board.requests[0][:2] == ((), "")
