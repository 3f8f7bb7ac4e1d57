"""Successive halving: it finds the best, spends little, and survives failures."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.tune.halving import successive_halving

COSTS = st.lists(st.floats(0.1, 1e6), min_size=1, max_size=30, unique=True)


@given(costs=COSTS)
def test_the_least_cost_wins_where_nothing_is_noisy(costs):
    found = successive_halving(range(len(costs)), lambda s, _: costs[s], budgets=(1, 2, 4))
    assert found[0].cost == min(costs)
    assert sorted(tried.setting for tried in found) == list(range(len(costs)))


@given(costs=COSTS)
def test_longer_budgets_are_spent_on_fewer(costs):
    spent = {1: 0, 2: 0, 4: 0}

    def measure(setting, budget):
        spent[budget] += 1
        return costs[setting]

    successive_halving(range(len(costs)), measure, budgets=(1, 2, 4))
    assert spent[1] == len(costs)
    assert spent[2] in {0, math.ceil(len(costs) / 2)}
    assert spent[4] <= max(1, spent[2])


def test_a_lone_setting_is_measured_once():
    calls = []
    successive_halving(["a"], lambda s, b: calls.append(b) or 1.0, budgets=(1, 2))
    assert calls == [1]


def test_a_failure_is_never_measured_again_and_comes_last():
    calls = []

    def measure(setting, budget):
        calls.append((setting, budget))
        return math.inf if setting == "broken" else 5.0

    found = successive_halving(["broken", "a", "b"], measure, budgets=(1, 2))
    assert ("broken", 2) not in calls
    assert found[-1].setting == "broken"


def test_when_all_fail_nobody_goes_on():
    found = successive_halving(["a", "b"], lambda *_: math.inf, budgets=(1, 2))
    assert {tried.budget for tried in found} == {1}


def test_of_equals_the_first_listed_stays():
    found = successive_halving(["default", "other", "third"], lambda *_: 1.0, budgets=(1, 2, 4))
    assert found[0].setting == "default"


def test_a_long_measurement_outranks_a_lucky_short_one():
    def measure(setting, budget):
        return {("a", 1): 1.0, ("b", 1): 2.0, ("a", 2): 9.0, ("c", 1): 3.0}.get(
            (setting, budget), 4.0
        )

    found = successive_halving(["a", "b", "c"], measure, budgets=(1, 2))
    assert [tried.setting for tried in found] == ["b", "a", "c"]


@pytest.mark.parametrize("keep", [0, 1, 1.5])
def test_a_share_that_keeps_none_or_all_is_refused(keep):
    with pytest.raises(ValueError, match="keep"):
        successive_halving(["a"], lambda *_: 1.0, budgets=(1,), keep=keep)


def test_no_budget_is_refused():
    with pytest.raises(ValueError, match="budget"):
        successive_halving(["a"], lambda *_: 1.0, budgets=())
