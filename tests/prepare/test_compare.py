"""Device outputs against the reference."""

import numpy as np
import pytest

from edgekit.core.errors import RunnerError
from edgekit.prepare.compare import compare_answers, compare_outputs
from edgekit.prepare.reference import FrameReference, ReferenceOutputs


@pytest.fixture
def reference(tmp_path):
    def make(arrays, answers=None, kind="none", threshold=None):
        frames = []
        for number, outputs in enumerate(arrays):
            paths = {}
            for name, array in outputs.items():
                paths[name] = tmp_path / f"{number}-{name}.npy"
                np.save(paths[name], array)
            frames.append(FrameReference(paths, answers[number] if answers else []))
        return ReferenceOutputs(tuple(frames), kind, threshold)

    return make


def detections(*boxes):
    return [[x, 0.0, x + 10.0, 10.0, score, float(kind)] for x, score, kind in boxes]


HEAD = np.linspace(-1, 1, 24, dtype=np.float32).reshape(1, 2, 3, 4)


def test_equal_outputs_have_no_error(reference):
    error = compare_outputs(reference([{"a": HEAD}]), [{"a": HEAD.copy()}], [[]])
    assert (error.max_abs, error.mean_abs) == (0, 0)
    assert error.min_cosine == pytest.approx(1)
    assert error.max_box_px is error.matched is None


def test_errors_are_the_worst_of_all_outputs_and_frames(reference):
    expected = reference([{"a": HEAD, "b": HEAD}, {"a": HEAD, "b": HEAD}])
    off = HEAD.copy()
    off[0, 0, 0, 0] += 0.5
    error = compare_outputs(expected, [{"a": HEAD, "b": HEAD}, {"a": -HEAD, "b": off}], [[], []])
    assert error.max_abs == pytest.approx(2)
    assert error.mean_abs == pytest.approx((np.abs(2 * HEAD).sum() + 0.5) / (4 * HEAD.size))
    assert error.min_cosine == pytest.approx(-1)


def test_outputs_may_be_files(reference, tmp_path):
    np.save(tmp_path / "out.npy", HEAD + 0.25)
    error = compare_outputs(reference([{"a": HEAD}]), [{"a": tmp_path / "out.npy"}], [[]])
    assert error.max_abs == pytest.approx(0.25)


def test_integers_do_not_wrap_around(reference):
    small, large = np.zeros(3, np.uint8), np.full(3, 255, np.uint8)
    error = compare_outputs(reference([{"a": small}]), [{"a": large}], [[]])
    assert error.max_abs == 255
    error = compare_outputs(reference([{"a": large}]), [{"a": small}], [[]])
    assert (error.max_abs, error.min_cosine) == (255, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_output_that_is_not_finite_fails(reference, value):
    bad = HEAD.copy()
    bad[0, 1, 2, 3] = value
    with pytest.raises(RunnerError, match="output a of frame 0 holds NaN or infinity"):
        compare_outputs(reference([{"a": HEAD}]), [{"a": bad}], [[]])


def test_detection_that_is_not_finite_fails(reference):
    expected = reference([{"a": HEAD}], [detections((0, 0.9, 1))], "boxes", 0.25)
    with pytest.raises(RunnerError, match="not finite"):
        compare_answers(expected, [detections((0, float("nan"), 1))])


def test_missing_output_fails(reference):
    with pytest.raises(RunnerError, match="no output a for frame 0"):
        compare_outputs(reference([{"a": HEAD}]), [{"b": HEAD}], [[]])


def test_output_of_another_shape_fails(reference):
    with pytest.raises(RunnerError, match=r"has shape \[24\], expected \[1, 2, 3, 4\]"):
        compare_outputs(reference([{"a": HEAD}]), [{"a": HEAD.ravel()}], [[]])


def test_missing_frame_fails(reference):
    expected = reference([{"a": HEAD}, {"a": HEAD}])
    with pytest.raises(RunnerError, match="outputs for 1 frames, 2 were sent"):
        compare_outputs(expected, [{"a": HEAD}], [[], []])
    with pytest.raises(RunnerError, match="answers for 1 frames, 2 were sent"):
        compare_answers(expected, [[]])


def test_matched_detections_tell_pixels_and_scores(reference):
    answers = [detections((0, 0.9, 1), (100, 0.8, 2))]
    expected = reference([{"a": HEAD}], answers, "boxes", 0.25)
    found = [detections((0.5, 0.88, 1), (100, 0.8, 2), (300, 0.7, 1))]
    error = compare_outputs(expected, [{"a": HEAD}], found)
    assert error.max_box_px == pytest.approx(0.5)
    assert error.max_score == pytest.approx(0.02)
    assert (error.matched, error.unmatched) == (2, 1)
    accuracy = compare_answers(expected, found)
    assert accuracy.value == pytest.approx(2 * 2 / (2 * 2 + 1))
    assert accuracy.drop == pytest.approx(1 - accuracy.value)
    assert (accuracy.metric, accuracy.reference) == ("agreement", 1.0)


def test_dead_detector_agrees_in_nothing(reference):
    expected = reference([{"a": HEAD}], [detections((0, 0.9, 1))], "boxes", 0.25)
    assert compare_answers(expected, [[]]).value == 0
    assert compare_outputs(expected, [{"a": HEAD}], [[]]).max_box_px is None


def test_empty_frames_agree(reference):
    assert compare_answers(reference([{"a": HEAD}], [[]], "boxes", 0.25), [[]]).value == 1


def test_detection_flipped_at_the_threshold_is_forgiven(reference):
    answers = [detections((0, 0.9, 1), (100, 0.2501, 2))]
    expected = reference([{"a": HEAD}], answers, "boxes", 0.25)
    assert compare_answers(expected, [detections((0, 0.9, 1))]).value == 1
    sure = reference([{"a": HEAD}], [detections((0, 0.9, 1), (100, 0.27, 2))], "boxes", 0.25)
    assert compare_answers(sure, [detections((0, 0.9, 1))]).value < 1


def test_classes_agree_by_the_best_alone(reference):
    answers = [[[7, 0.9], [3, 0.1]], [[2, 0.6], [1, 0.4]]]
    expected = reference([{"a": HEAD}] * 2, answers, "classes")
    assert compare_answers(expected, [[[7, 0.5], [1, 0.4]], [[1, 0.5], [2, 0.5]]]).value == 0.5


def test_text_agrees_to_the_letter(reference):
    expected = reference([{"a": HEAD}] * 2, [[["abc", 0.9]], [["", 0.0]]], "text")
    assert compare_answers(expected, [[["abd", 0.9]], [["", 0.0]]]).value == 0.5


def test_tensors_agree_by_relative_error(reference):
    expected = reference([{"a": HEAD}])
    assert compare_answers(expected, [[]], [{"a": HEAD * 1.1}]).value == pytest.approx(0.9)
    assert compare_answers(expected, [[]], [{"a": HEAD * -5}]).value == 0
    zeros = reference([{"a": HEAD * 0}])
    assert compare_answers(zeros, [[]], [{"a": HEAD * 0}]).value == 1
    assert compare_answers(zeros, [[]], [{"a": HEAD}]).value == 0


def test_large_values_do_not_leave_the_range(reference):
    large = np.full((2, 3), 1e30, np.float32)
    error = compare_outputs(reference([{"a": large}]), [{"a": -large}], [[]])
    assert error.min_cosine == pytest.approx(-1)
    assert error.max_abs == pytest.approx(2e30)
