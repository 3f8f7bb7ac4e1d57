"""Classification, text, and the parameters of every step."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.onboard.steps import POSTPROCESS, PREPROCESS
from edgekit.onboard.steps.components import component_boxes

FRAME = (100, 200, 3)


def test_classify_gives_the_best_first_and_breaks_ties_by_index():
    scores = np.array([[0.1, 0.4, 0.2, 0.4]], np.float32)
    answers = POSTPROCESS["classify"]({"top_k": 3})({"o": scores}, FRAME)
    assert [index for index, _ in answers] == [1, 3, 2]
    assert answers[0][1] == pytest.approx(0.4)


def test_classify_with_softmax_gives_probabilities():
    logits = np.array([[1000.0, 1001.0, 999.0]], np.float32)
    answers = POSTPROCESS["classify"]({"softmax": True})({"o": logits}, FRAME)
    assert sum(score for _, score in answers) == pytest.approx(1)
    assert [index for index, _ in answers] == [1, 0, 2]


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 2**31), st.floats(0.05, 0.8))
def test_components_equal_opencv(height, width, seed, density):
    mask = np.random.RandomState(seed).rand(height, width) < density
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    expected = [(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:count].tolist()]
    assert sorted(component_boxes(mask)) == sorted(expected)


def test_components_follow_a_spiral():
    mask = np.zeros((9, 9), bool)
    mask[0], mask[:, 8], mask[8], mask[2:, 0], mask[2, :7], mask[2:7, 6] = (True,) * 6
    assert component_boxes(mask) == [(0, 0, 9, 9)]


def test_db_finds_text_regions_and_grows_them():
    probability = np.zeros((1, 1, 160, 320), np.float32)
    probability[0, 0, 40:50, 80:160] = 0.9
    probability[0, 0, 100:120, 20:60] = 0.8
    probability[0, 0, 140:142, 10:12] = 0.9  # too small
    probability[0, 0, 10:20, 200:220] = 0.5  # too faint
    answers = POSTPROCESS["db"]({"size": [160, 320]})({"o": probability}, (160, 320, 3))
    grow = 80 * 10 * 1.5 / (2 * 90)
    assert len(answers) == 2
    np.testing.assert_allclose(
        answers[0], [80 - grow, 40 - grow, 160 + grow, 50 + grow, 0.9, 0], atol=1e-3
    )
    assert answers[1][4] == pytest.approx(0.8)


def test_db_answers_in_frame_pixels():
    probability = np.zeros((1, 1, 40, 80), np.float32)  # a quarter of the input
    probability[0, 0, 10:20, 20:60] = 1
    step = POSTPROCESS["db"]({"size": [160, 320], "unclip_ratio": 0})
    answers = step({"o": probability}, (320, 960, 3))
    np.testing.assert_allclose(answers, [[240, 80, 720, 160, 1, 0]], atol=1e-3)


def test_db_of_an_empty_map_answers_nothing():
    step = POSTPROCESS["db"]({"size": [32, 32]})
    assert step({"o": np.zeros((1, 1, 32, 32), np.float32)}, FRAME) == []


def _steps(classes, count):
    steps = np.full((1, len(classes), count), 0.01, np.float32)
    steps[0, np.arange(len(classes)), classes] = 0.9
    return {"o": steps}


@pytest.mark.parametrize(
    ("classes", "text"),
    [
        ([0, 1, 1, 0, 1, 2, 2, 0], "aab"),
        ([3, 3, 4, 1], "c a"),
        ([0, 0, 0], ""),
    ],
)
def test_ctc_collapses_repeats_and_drops_blanks(classes, text):
    # Five classes: the blank, three letters, and the space that dictionaries leave out.
    [[answer, score]] = POSTPROCESS["ctc"]({"charset": ["a", "b", "c"]})(_steps(classes, 5), FRAME)
    assert answer == text
    assert score == pytest.approx(0.9 if text else 0.0)


def test_ctc_without_a_charset_answers_class_numbers():
    assert POSTPROCESS["ctc"]({})(_steps([0, 7, 7, 12], 20), FRAME)[0][0] == "7 12"


def test_ctc_refuses_a_charset_of_another_model():
    with pytest.raises(ValueError, match="2 characters for 9 classes"):
        POSTPROCESS["ctc"]({"charset": ["a", "b"]})(_steps([1], 9), FRAME)


def test_tensor_answers_nothing():
    assert POSTPROCESS["tensor"]({})({"o": np.zeros(3)}, ()) == []


_NEEDED = {"size": [32, 32], "anchors": [[1, 1], [1, 1], [1, 1]]}
_EVERY = [("pre", name) for name in PREPROCESS] + [("post", name) for name in POSTPROCESS]


def _make(side, name, values):
    registry = PREPROCESS if side == "pre" else POSTPROCESS
    wants = {
        "letterbox": ["size"],
        "resize": ["size"],
        "yolov5": ["size"],
        "yolov5-heads": ["size", "anchors"],
        "db": ["size"],
    }.get(name, [])
    return registry[name]({**{key: _NEEDED[key] for key in wants}, **values})


@pytest.mark.parametrize(("side", "name"), _EVERY)
def test_every_step_refuses_unknown_parameters(side, name):
    assert callable(_make(side, name, {}))
    with pytest.raises(ValueError, match="nonsense"):
        _make(side, name, {"nonsense": 1})


@pytest.mark.parametrize(
    ("side", "name", "values"),
    [
        ("pre", "letterbox", {"size": [32]}),
        ("pre", "letterbox", {"size": [0, 32]}),
        ("pre", "letterbox", {"size": "32"}),
        ("pre", "letterbox", {"fit": "crop"}),
        ("pre", "resize", {"fit": "middle"}),
        ("pre", "resize", {"std": 0}),
        ("pre", "resize", {"mean": [1, 2]}),
        ("pre", "resize", {"mean": float("nan")}),
        ("pre", "resize", {"crop_ratio": 0}),
        ("pre", "resize", {"upscale": 1}),
        ("pre", "resize", {"block": 0}),
        ("pre", "resize", {"block": 3}),
        ("pre", "resize", {"quantise": "int8"}),
        ("pre", "resize", {"quantise": {"dtype": "int8"}}),
        ("pre", "resize", {"quantise": {"dtype": "int4", "scale": 1}}),
        ("pre", "resize", {"quantise": {"scale": 1, "zero": 1}}),
        ("post", "yolov5", {"score_threshold": 0}),
        ("post", "yolov5", {"iou_threshold": 2}),
        ("post", "yolov5", {"max_detections": 0}),
        ("post", "yolov5", {"max_detections": True}),
        ("post", "yolov5-heads", {"anchors": [[1, 1]]}),
        ("post", "yolov5-heads", {"anchors": [["a"]]}),
        ("post", "yolov5-heads", {"strides": [8, 16, 0]}),
        ("post", "ctc", {"charset": "abc"}),
        ("post", "classify", {"output": 3}),
    ],
)
def test_steps_refuse_wrong_parameters(side, name, values):
    with pytest.raises(ValueError, match=next(iter(values))):
        _make(side, name, values)


def test_missing_size_is_named():
    with pytest.raises(ValueError, match="needs parameter 'size'"):
        PREPROCESS["letterbox"]({})


def test_answers_survive_json():
    rows = np.zeros((1, 1, 7), np.float32)
    rows[0, 0] = [16, 16, 8, 8, 0.9, 0.9, 0.1]
    answers = POSTPROCESS["yolov5"]({"size": [32, 32]})({"o": rows}, (32, 32, 3))
    assert json.loads(json.dumps(answers)) == answers
