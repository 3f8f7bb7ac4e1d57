"""Measuring by turns: the order, the interval of a ratio, and what counts as a tie."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.bench.rounds import is_open, is_tie, ratio_interval, split, turns


def drawn(mean_ns, seed, *, rounds=5, noise=0.02, runs=20):
    chance = random.Random(seed)
    return [[round(mean_ns * chance.gauss(1, noise)) for _ in range(runs)] for _ in range(rounds)]


def test_turns_go_there_and_back():
    assert [item for _, item in turns("ABC", 3)] == list("ABCCBAABC")
    assert [number for number, _ in turns("AB", 2)] == [0, 0, 1, 1]


def test_turns_give_a_linear_drift_to_all_alike():
    times = {"A": 0, "B": 0, "C": 0}
    for moment, (_, item) in enumerate(turns("ABC", 4)):
        times[item] += moment
    assert len(set(times.values())) == 1


@given(st.lists(st.lists(st.integers(1, 9), max_size=5), max_size=5))
def test_split_gives_back_the_rounds(rounds):
    samples = [sample for each in rounds for sample in each]
    assert split(samples, [len(each) for each in rounds]) == tuple(tuple(r) for r in rounds)


def test_split_refuses_counts_of_other_samples():
    with pytest.raises(ValueError, match="3 samples"):
        split([1, 2, 3], [1, 1])


def test_interval_holds_the_true_ratio_in_most_of_many_contests():
    held = 0
    for seed in range(200):
        low, high = ratio_interval(drawn(2_000_000, seed), drawn(1_000_000, seed + 1000))
        held += low <= 2 <= high
    # 95 % of 200 is 190; fewer than 180 has a chance of one in a thousand.
    assert 180 <= held < 200


def test_a_drift_that_hits_both_leaves_the_ratio_alone():
    drift = [1.0, 1.5, 2.2, 0.7, 3.0]
    one = [[round(2_000_000 * d)] * 5 for d in drift]
    other = [[round(1_000_000 * d)] * 5 for d in drift]
    low, high = ratio_interval(one, other)
    assert low == pytest.approx(2, rel=1e-5)
    assert high == pytest.approx(2, rel=1e-5)


def test_equals_tie_and_a_tenth_does_not():
    assert is_tie(drawn(1_000_000, 1), drawn(1_000_000, 2))
    assert not is_tie(drawn(1_100_000, 1), drawn(1_000_000, 2))


def test_a_difference_that_nobody_would_notice_is_a_tie():
    assert is_tie(drawn(1_002_000, 1, noise=0), drawn(1_000_000, 1, noise=0))


def test_more_rounds_are_wanted_only_where_they_could_tell_what_matters():
    noisy = [[1_000_000], [1_100_000], [900_000]]
    assert is_open(noisy, noisy[::-1])
    assert not is_open(drawn(1_000_000, 1, noise=0), drawn(1_000_000, 2, noise=0))
    assert not is_open(drawn(1_100_000, 1), drawn(1_000_000, 2))


def test_one_round_cannot_tell_two_percent():
    assert is_tie([[1_020_000]], [[1_000_000]])
    assert not is_tie([[1_050_000]], [[1_000_000]])


def test_rounds_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="2 rounds"):
        ratio_interval([[1], [2]], [[1]])
    with pytest.raises(ValueError, match="0 rounds"):
        ratio_interval([], [])
