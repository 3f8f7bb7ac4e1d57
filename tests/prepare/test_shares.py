"""Metrics that are shares of images, or of detections."""

import numpy as np
import pytest

from edgekit.prepare.metrics.tally import Share, agreement, share_of_best


def whole(tally, images):
    return tally.scores(np.ones((1, images), np.int64))[0]


def test_top1_counts_the_best_class():
    answers = [[[3, 0.9], [1, 0.1]], [[1, 0.6], [3, 0.4]], [], [[0, 1.0]]]
    tally = share_of_best(answers, [3, 3, 0, 0])
    assert whole(tally, 4) == 0.5
    assert tally.scores(np.array([[2, 0, 0, 0], [0, 2, 1, 1]])).tolist() == [1.0, 0.25]


def test_text_must_be_read_exactly():
    answers = [[["STOP", 0.9]], [["St0p", 0.9]], [["", 0.0]]]
    assert whole(share_of_best(answers, ["STOP", "Stop", ""]), 3) == pytest.approx(2 / 3)


def test_agreement_of_classes_is_with_the_references_best():
    expected = [[[3, 0.9]], [[1, 0.6]], [], []]
    answers = [[[3, 0.2], [5, 0.1]], [[2, 0.6]], [], [[1, 0.5]]]
    assert whole(agreement(expected, answers, "classes", None), 4) == 0.5


def boxes(*found):
    return [[x, 0.0, x + 10.0, 10.0, score, float(kind)] for x, score, kind in found]


def test_agreement_of_boxes_is_f1_and_leaves_the_borderline_out():
    expected = [boxes((0, 0.9, 1), (50, 0.8, 1), (90, 0.255, 1)), boxes((0, 0.9, 2))]
    answers = [boxes((1, 0.7, 1), (200, 0.6, 1)), boxes((0, 0.9, 3))]
    tally = agreement(expected, answers, "boxes", 0.25)
    # One pair; missed 50 and the other class; invented 200 and the other class.
    assert whole(tally, 2) == pytest.approx(2 / (2 + 4))
    assert whole(agreement(expected, expected, "boxes", 0.25), 2) == 1


def test_nothing_expected_and_nothing_found_is_agreement():
    assert whole(agreement([[], []], [[], []], "boxes", 0.25), 2) == 1
    assert Share(np.zeros(2), np.zeros(2)).scores(np.array([[1, 1]])).tolist() == [1.0]
