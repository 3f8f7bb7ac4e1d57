"""Candidates on several devices: one that drops off loses what it had, the others go on."""

import contextlib
import json
import threading
import time
from types import SimpleNamespace

import pytest

from edgekit.app.kernels import DeviceBench, KernelPlan, Place
from edgekit.core.errors import ConnectionLostError, RunnerError, UnreachableError
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

    @contextlib.contextmanager
    def open(self):
        self.opened += 1
        if self.down.is_set():
            raise UnreachableError("no answer")
        yield self

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
def bench():
    with contextlib.ExitStack() as stack:

        def make(boards, *, hold=False, emit=ignore, counter=None):
            bundle = SimpleNamespace(content=(), identity="bundle")
            places = [
                Place(name, board.open, lambda _: bundle, counter) for name, board in boards.items()
            ]
            made = DeviceBench(places, KernelPlan(), hold=hold, emit=emit)
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
    notes = [event.text for event in events if isinstance(event, Note)]
    assert "dropped off" in notes[0]
    assert notes[-1] == "gone is back"


def test_two_devices_share_the_work_when_one_is_lost(bench, candidates):
    def lose(text):
        lost.down.set()
        return ConnectionLostError("the link broke")

    lost, sound = Board(lose), Board(lambda text: {"seconds": [1.0]})
    made = bench({"lost": lost, "sound": sound})
    for candidate in candidates(40):
        made.submit(candidate)
    found = collect(made, 40)
    assert {each.failure for each in found.values()} <= {None, "device_lost"}
    assert sum(each.device == "sound" for each in found.values()) >= 32


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
