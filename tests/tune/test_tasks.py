"""The next task is the one that promises most, and no task is forgotten."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuning_records import make_record

from edgekit.tune.tasks import (
    Gradient,
    Task,
    expected_gains,
    following_task,
    next_task,
    prepared_or_next,
    total_cost,
)

COSTS = st.lists(st.one_of(st.floats(1e-6, 10), st.just(math.inf)), max_size=12)


def make_task(name="a", *, weight=1, flops=1e6, costs=()):
    return Task(f"hash-{name}", name, weight, flops).after(costs)


TASKS = st.lists(
    st.builds(
        lambda name, weight, flops, costs: make_task(name, weight=weight, flops=flops, costs=costs),
        st.text("abc", min_size=1, max_size=3),
        st.integers(1, 20),
        st.one_of(st.just(0.0), st.floats(1, 1e10)),
        COSTS,
    ),
    min_size=1,
    max_size=6,
)


@given(tasks=TASKS, more=COSTS, data=st.data())
def test_total_cost_never_grows_with_more_trials(tasks, more, data):
    index = data.draw(st.integers(0, len(tasks) - 1))
    before = total_cost(tasks)
    tasks[index] = tasks[index].after(more)
    assert total_cost(tasks) <= before
    assert tasks[index].bests == tuple(sorted(tasks[index].bests, reverse=True))


@given(tasks=TASKS)
def test_task_without_a_trial_is_served_first(tasks):
    chosen = next_task(tasks)
    fresh = [task for task in tasks if not task.trials]
    if fresh:
        assert tasks[chosen] in fresh
        assert tasks[chosen].weight * tasks[chosen].flops == max(
            task.weight * task.flops for task in fresh
        )


@given(tasks=TASKS, seed=st.integers(), epsilon=st.floats(0, 1))
def test_choice_is_the_same_under_the_same_seed(tasks, seed, epsilon):
    gradient = Gradient(epsilon=epsilon)
    chosen = next_task(tasks, gradient, random.Random(seed))
    assert chosen == next_task(tasks, gradient, random.Random(seed))
    assert 0 <= chosen < len(tasks)


@given(tasks=TASKS)
def test_gains_are_never_negative_nor_more_than_all_there_is(tasks):
    for task, gain in zip(tasks, expected_gains(tasks), strict=True):
        assert gain >= 0
        if math.isfinite(task.best):
            first = next(cost for cost in task.bests if math.isfinite(cost))
            assert gain <= task.weight * first * (1 + 1e-9)


def falling(start, floor, trials, half_life):
    return [floor + (start - floor) * 0.5 ** (n / half_life) for n in range(trials)]


def test_converged_task_starves_while_another_improves():
    tasks = [
        make_task("done", costs=[1.0] * 500),
        make_task("improving", costs=falling(1.0, 0.1, 40, 60)),
    ]
    served = []
    for _ in range(20):
        chosen = next_task(tasks)
        served.append(chosen)
        start = tasks[1].trials
        new = [1.0] * 16 if chosen == 0 else falling(1.0, 0.1, start + 16, 60)[start:]
        tasks[chosen] = tasks[chosen].after(new)
    assert served == [1] * 20


def test_heavier_of_two_equals_is_served():
    light = make_task("light", costs=[1.0] * 16)
    heavy = make_task("heavy", weight=5, costs=[1.0] * 16)
    assert next_task([light, heavy]) == 1
    assert next_task([heavy, light]) == 0
    assert next_task([light, light]) == 0


def test_small_task_that_improves_does_not_hold_up_a_big_one_that_stands():
    small = make_task("small", flops=1e3, costs=falling(1e-5, 1e-6, 64, 30))
    big = make_task("big", flops=1e6, costs=[1.0] * 100)
    assert next_task([small, big]) == 1


def test_task_at_twice_the_best_rate_has_nothing_to_hope_for():
    slow = make_task("slow", flops=1e6, costs=[1.0] * 10)
    fast = make_task("fast", flops=1e6, costs=[0.1] * 10)
    gains = expected_gains([slow, fast], Gradient(alpha=0))
    assert gains[0] > gains[1] > 0
    assert gains[1] <= 0.05, "half of its time is all that the optimist grants"


def test_task_that_only_fails_is_tried_on_but_does_not_eat_all():
    tasks = [make_task("broken", costs=[math.inf] * 16), make_task("sound", costs=[1.0] * 16)]
    served = [0, 0]
    for _ in range(60):
        chosen = next_task(tasks)
        served[chosen] += 1
        sound = falling(1.0, 0.2, tasks[1].trials + 16, 200)[-16:]
        tasks[chosen] = tasks[chosen].after([math.inf] * 16 if chosen == 0 else sound)
    assert 1 <= served[0] < served[1]


def test_model_is_tuned_faster_than_by_taking_turns():
    """A simulated model: one heavy task with far to go, many light ones that converge at once."""

    def run(choose):
        floors = [(10.0, 1.0, 300)] + [(0.1, 0.09, 10)] * 9
        tasks = [make_task(str(n), flops=1e6) for n in range(len(floors))]
        for turn in range(60):
            chosen = choose(tasks, turn)
            begun = tasks[chosen].trials
            costs = falling(*floors[chosen][:2], begun + 16, floors[chosen][2])[begun:]
            tasks[chosen] = tasks[chosen].after(costs)
        return total_cost(tasks)

    by_gain = run(lambda tasks, _: next_task(tasks))
    by_turns = run(lambda tasks, turn: turn % len(tasks))
    assert by_gain < by_turns / 2


def test_exhausted_tasks_are_left_out():
    done = Task("h", "done", 1, 1e9, exhausted=True)
    assert next_task([done, make_task(costs=[1.0])]) == 1
    assert next_task([done]) is None
    assert next_task([]) is None


@given(tasks=TASKS)
def test_following_task_is_another_that_is_open(tasks):
    chosen = next_task(tasks)
    following = following_task(tasks, chosen)
    assert following != chosen
    assert (following is None) == (len(tasks) == 1)


def test_prepared_task_is_taken_unless_another_promises_twice_as_much():
    stands = make_task("stands", costs=[1.0] * 16)
    better = make_task("better", weight=3, costs=[1.0] * 16)
    alike = make_task("alike", costs=[1.0] * 15)
    assert prepared_or_next([stands, alike], 0) == 0
    assert prepared_or_next([stands, better], 0) == 1
    assert prepared_or_next([stands, alike], None) == next_task([stands, alike])


def test_prepared_task_does_not_go_before_one_without_a_trial():
    fresh, served = make_task("fresh"), make_task("served", weight=9, costs=[1.0] * 8)
    assert prepared_or_next([fresh, served], 1) == 0
    assert prepared_or_next([fresh, make_task("light", flops=1e3)], 1) == 1


def test_prepared_task_that_has_nothing_left_is_not_taken():
    done = replace(make_task("done", costs=[1.0]), exhausted=True)
    assert prepared_or_next([done, make_task("open", costs=[1.0])], 0) == 1
    assert prepared_or_next([done], 0) is None


def test_history_is_taken_up_from_records():
    task = Task("hash-conv", "conv", 1, 1e6).after_records(
        [
            make_record(cost=3.0),
            make_record(failure="device_lost"),
            make_record("other", cost=0.1),
            make_record(failure="timeout"),
            make_record(cost=2.0),
        ]
    )
    assert task.bests == (3.0, 3.0, 2.0)


def test_random_choices_need_a_generator():
    with pytest.raises(ValueError, match="generator"):
        next_task([make_task(costs=[1.0])], Gradient(epsilon=0.5))


def test_every_open_task_gets_its_turn_by_chance():
    tasks = [make_task("done", costs=[1.0] * 900), make_task("new", weight=50, costs=[9.0])]
    rng = random.Random(0)
    assert {next_task(tasks, Gradient(epsilon=0.5), rng) for _ in range(50)} == {0, 1}


@pytest.mark.parametrize("wrong", [{"alpha": 2}, {"epsilon": -1}, {"window": 0}])
def test_gradient_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Gradient(**wrong)


@pytest.mark.parametrize("wrong", [{"weight": 0}, {"flops": -1.0}, {"flops": math.inf}])
def test_task_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="at least once"):
        make_task(**wrong)
