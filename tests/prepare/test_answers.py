"""Which detections are the same."""

from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.model import StepSpec
from edgekit.prepare.answers import answer_kind, iou, match, score_threshold


def box(x, y, width=10.0, height=10.0, score=0.9, kind=0):
    return [x, y, x + width, y + height, score, kind]


edges = st.floats(0, 500)
boxes = st.lists(
    st.builds(
        box, edges, edges, edges, edges, score=st.floats(0.25, 1), kind=st.sampled_from([0.0, 1.0])
    ),
    max_size=8,
)


def test_shifted_box_is_the_same():
    found = match([box(0, 0)], [box(1, 1)])
    assert len(found.pairs) == 1
    assert not found.missed
    assert not found.invented


def test_box_of_another_class_is_another():
    found = match([box(0, 0)], [box(0, 0, kind=1)])
    assert (len(found.pairs), len(found.missed), len(found.invented)) == (0, 1, 1)


def test_box_that_overlaps_by_less_than_half_is_another():
    assert not match([box(0, 0)], [box(0, 4)]).pairs
    assert match([box(0, 0)], [box(0, 3)]).pairs


def test_box_clipped_to_nothing_is_the_same_within_a_pixel():
    flat = box(0, 40, height=0)
    assert match([flat], [box(0, 40.5, height=0)]).pairs
    assert not match([flat], [box(0, 42, height=0)]).pairs


def test_nearest_of_two_is_taken_whatever_their_order():
    near, far = box(1, 0), box(3, 0)
    for found in ([near, far], [far, near]):
        assert match([box(0, 0)], found).pairs == ((box(0, 0), near),)


def test_one_box_cannot_stand_for_two():
    found = match([box(0, 0), box(1, 0)], [box(0, 0)])
    assert (len(found.pairs), len(found.missed)) == (1, 1)


def test_detection_at_the_threshold_does_not_count_against():
    found = match([box(0, 0, score=0.255)], [box(50, 50, score=0.4)])
    clear = found.without_borderline(0.25)
    assert not clear.missed
    assert clear.invented == (box(50, 50, score=0.4),)


@given(boxes, boxes)
def test_every_detection_stands_in_one_place(expected, found):
    matches = match(expected, found)
    assert sorted([one for one, _ in matches.pairs] + list(matches.missed)) == sorted(expected)
    assert sorted([one for _, one in matches.pairs] + list(matches.invented)) == sorted(found)


@given(edges, edges, edges, edges)
def test_iou_is_symmetric_and_bounded(x, y, width, height):
    one, other = box(0, 0, 100, 100), box(x, y, width, height)
    assert iou(one, other) == iou(other, one)
    assert 0 <= iou(one, other) <= 1 + 1e-9


def test_threshold_is_read_from_the_step_or_its_default():
    assert score_threshold(StepSpec("yolov5", '{"score_threshold": 0.4}')) == 0.4
    assert score_threshold(StepSpec("yolov5-heads")) == 0.25
    assert score_threshold(StepSpec("classify")) is None
    assert answer_kind(StepSpec("tensor")) == "none"
