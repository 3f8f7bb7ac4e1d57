"""What the search tries, and when it prefers another setting to the default."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from device_facts import device

from edgekit.app.search import (
    SearchSpace,
    affinity_knob,
    neighbours,
    search,
    threads_worth_trying,
    together,
    worthwhile,
)
from edgekit.catalog.targets import load_target
from edgekit.core.candidate import Candidate
from edgekit.core.knobs import Knob

BASE = Candidate("ncnn", "fp32", (("threads", 2),))


@pytest.mark.parametrize(
    ("target", "usable", "expected"),
    [("rk3399", 6, (2, 6, 1)), ("rk3566", 4, (4, 1)), ("rk3588", 2, (2, 1)), ("rpi4", 1, (1,))],
)
def test_threads_begin_with_the_fastest_cluster(target, usable, expected):
    assert threads_worth_trying(load_target(target), device(usable=usable)) == expected


def test_affinity_names_the_cores_of_the_fastest_cluster():
    parts = (0xD03,) * 4 + (0xD08,) * 2
    knob = affinity_knob(load_target("rk3399"), device(parts, 6))
    assert knob == Knob("affinity", ("all", "4,5"))


@pytest.mark.parametrize(
    ("target", "parts"), [("rk3566", (0xD05,) * 4), ("rk3399", ()), ("rk3399", (0xD05, 0xD0B))]
)
def test_affinity_is_no_knob_where_clusters_cannot_be_told_apart(target, parts):
    assert affinity_knob(load_target(target), device(parts)) is None


def test_neighbours_turn_one_knob_and_leave_its_default_out():
    found = list(neighbours(BASE, [Knob("threads", (2, 1)), Knob("spin_count", (1000, 0, 9))]))
    assert [dict(each.knobs) for each in found] == [
        {"threads": 1},
        {"threads": 2, "spin_count": 0},
        {"threads": 2, "spin_count": 9},
    ]


def test_together_joins_what_helped_alone_the_best_first():
    one = replace(BASE, knobs=(("spin_count", 0), ("threads", 2)))
    worse = replace(BASE, knobs=(("spin_count", 9), ("threads", 2)))
    other = replace(BASE, knobs=(("threads", 1),))
    joined = together(BASE, [one, worse, other])
    assert joined is not None
    assert dict(joined.knobs) == {"spin_count": 0, "threads": 1}
    assert together(BASE, [one, worse]) is None
    assert together(BASE, []) is None


def test_default_stays_unless_another_is_clearly_better():
    other = replace(BASE, knobs=(("threads", 1),))
    assert worthwhile(BASE, [other], {BASE: 10.0, other: 9.9}) == BASE
    assert worthwhile(BASE, [other], {BASE: 10.0, other: 9.0}) == other
    assert worthwhile(BASE, [], {BASE: 10.0}) == BASE


class Lane:
    """A lane whose short runs cost what is written down."""

    running = True

    def __init__(self, costs_ms):
        self._costs_ms = costs_ms  # by threads
        self.candidate = BASE
        self.left = ""
        self.looked = []

    def cost(self, candidate, plan):
        del plan
        threads = dict(candidate.knobs)["threads"]
        self.looked.append(threads)
        return self._costs_ms[threads]

    def set(self, candidate):
        self.candidate = candidate

    def leave(self, reason):
        self.left = reason
        self.running = False


@pytest.fixture
def searched():
    """Search beside a lane of 1 ms that has no other settings; return what became of a lane."""

    def run(costs_ms, threads=(2, 1)):
        fast, lane = Lane({1: 1.0, 2: 1.0}), Lane(costs_ms)
        for each in (fast, lane):
            each.plan = SimpleNamespace(engine=SimpleNamespace(knobs=lambda *_: ()))
            each.arena = SimpleNamespace(
                target=load_target("local"), device=SimpleNamespace(facts=device())
            )
        arena = SimpleNamespace(emit=lambda event: None)
        search(arena, [fast, lane], SearchSpace((), threads))
        return lane

    return run


def test_hopelessly_slow_lane_leaves_after_a_second_look_with_one_thread(searched):
    lane = searched({2: 20.0, 1: 25.0})
    assert lane.looked == [2, 1]
    assert "20 times slower" in lane.left
    assert lane.candidate == BASE, "what it was slower with is not its setting"


def test_lane_whose_threads_wait_for_a_busy_core_goes_on_with_one(searched):
    lane = searched({2: 20.0, 1: 1.5})
    assert not lane.left
    assert dict(lane.candidate.knobs) == {"threads": 1}


def test_lane_that_may_have_one_number_of_threads_only_is_looked_at_once(searched):
    lane = searched({2: 20.0}, threads=(2,))
    assert lane.looked == [2]
    assert lane.left


def test_lane_that_is_merely_slow_stays(searched):
    lane = searched({2: 5.0, 1: 5.0})
    assert not lane.left
    assert lane.candidate == BASE
