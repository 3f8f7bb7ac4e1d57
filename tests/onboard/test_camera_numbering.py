"""What is lost follows from a driver's numbers, whatever it does to them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.onboard.camera.numbering import Numbering

TOP = 2**32


def lost_in(numbers):
    numbering = Numbering()
    return [numbering.lost_before(number) for number in numbers]


@pytest.mark.parametrize(
    ("numbers", "lost"),
    [
        ([7, 8, 9], [0, 0, 0]),  # what was before the first is nobody's loss
        ([0, 1, 4, 5], [0, 0, 2, 0]),
        ([5, 5, 6, 7], [0, 0, 0, 0]),
        ([5, 5, 7, 8], [0, 0, 0, 0]),  # the second stands for 6
        ([5, 5, 5, 8, 9], [0, 0, 0, 0, 0]),
        ([5, 5, 9], [0, 0, 2]),
        ([5, 7, 7, 8, 10], [0, 1, 0, 0, 0]),
        ([0, 0, 0, 0], [0, 0, 0, 0]),  # a driver that does not count
        ([90, 91, 0, 1, 3], [0, 0, 0, 0, 1]),  # it began anew
        ([90, 90, 0, 2], [0, 0, 0, 1]),
        ([6, 5, 6], [0, 0, 0]),
        ([TOP - 2, TOP - 1, 0, 1], [0, 0, 0, 0]),
        ([TOP - 2, 1], [0, 2]),
        ([TOP - 1, TOP - 1, 1], [0, 0, 0]),
        ([-1, -1, -1], [0, 0, 0]),
        ([4, -1, 9, 11], [0, 0, 0, 1]),
    ],
)
def test_lost_frames_are_told_before_the_frame_that_came_after_them(numbers, lost):
    assert lost_in(numbers) == lost


@given(st.integers(0, TOP - 1), st.lists(st.integers(1, 1000), max_size=50))
def test_every_number_that_is_passed_over_is_a_loss_wherever_they_begin_again(first, steps):
    numbers = [first]
    for step in steps:
        numbers.append((numbers[-1] + step) % TOP)
    assert lost_in(numbers)[1:] == [step - 1 for step in steps]


@given(st.integers(0, TOP - 1), st.lists(st.integers(0, 4), max_size=50))
def test_no_more_is_lost_than_the_numbers_were_ever_ahead_of_the_frames(first, steps):
    numbers, ahead, most = [first], 0, 0
    for step in steps:
        numbers.append((numbers[-1] + step) % TOP)
        ahead += step - 1
        most = max(most, ahead)
    assert sum(lost_in(numbers)) == most


@given(st.lists(st.integers(-1, TOP - 1), max_size=50))
def test_nothing_is_ever_taken_back(numbers):
    assert all(count >= 0 for count in lost_in(numbers))
