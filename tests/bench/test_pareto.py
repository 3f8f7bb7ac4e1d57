"""The Pareto front: nobody on it is beaten, everybody off it is."""

from hypothesis import given
from hypothesis import strategies as st

from edgekit.bench.pareto import pareto_front

FIGURE = st.one_of(st.none(), st.integers(0, 5))
POINTS = st.lists(st.tuples(FIGURE, FIGURE, FIGURE), max_size=12)


def beats(one, other):
    a = [9 if value is None else value for value in one]
    b = [9 if value is None else value for value in other]
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


@given(POINTS)
def test_front_is_exactly_what_nothing_beats(points):
    front = pareto_front(points)
    for number, point in enumerate(points):
        assert (number in front) == (not any(beats(other, point) for other in points))


def test_equals_all_stay():
    assert pareto_front([(1, 2), (1, 2), (2, 1), (2, 2)]) == (0, 1, 2)


def test_what_was_not_measured_is_worse_than_any_number():
    assert pareto_front([(1, None), (1, 1e9)]) == (1,)
