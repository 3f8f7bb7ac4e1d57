import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.onboard.arrays import Form, Quantised, to_form
from edgekit.onboard.steps import POSTPROCESS
from edgekit.onboard.steps.detect import sigmoid
from edgekit.onboard.steps.suppress import non_maximum_suppression

ANCHORS = [
    [10, 13, 16, 30, 33, 23],
    [30, 61, 62, 45, 59, 119],
    [116, 90, 156, 198, 373, 326],
]
SIZE = [96, 128]
CLASSES = 4


def _heads(seed, confident=0.03):
    """Raw heads in which few cells are confident, as a trained network's are."""
    random = np.random.RandomState(seed)
    heads = []
    for stride in (8, 16, 32):
        head = random.standard_normal((1, 3, 5 + CLASSES, SIZE[0] // stride, SIZE[1] // stride))
        head[:, :, 4] -= 6
        sure = random.rand(*head[:, :, 4].shape) < confident
        head[:, :, 4][sure] += 9
        head[:, :, 5:] *= 3
        heads.append(head.reshape(1, -1, *head.shape[-2:]).astype(np.float32))
    return heads


def _decode_slowly(heads):
    """YOLOv5 v7.0's Detect, cell by cell, in double precision."""
    rows = []
    for head, stride, anchors in zip(heads, (8, 16, 32), ANCHORS, strict=True):
        _, _, height, width = head.shape
        cells = head.reshape(3, 5 + CLASSES, height, width).astype(np.float64)
        for a in range(3):
            for y in range(height):
                for x in range(width):
                    s = 1 / (1 + np.exp(-cells[a, :, y, x]))
                    s[0] = (2 * s[0] - 0.5 + x) * stride
                    s[1] = (2 * s[1] - 0.5 + y) * stride
                    s[2] = (2 * s[2]) ** 2 * anchors[2 * a]
                    s[3] = (2 * s[3]) ** 2 * anchors[2 * a + 1]
                    rows.append(s)
    return np.array(rows, np.float32)[None]


def _iou(a, b):
    across = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    down = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - across * down
    return across * down / union if union > 0 else 0.0


def _suppress_slowly(boxes, scores, classes, threshold, most):
    kept = []
    for index in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(
            classes[index] != classes[other] or _iou(boxes[index], boxes[other]) <= threshold
            for other in kept
        ):
            kept.append(index)
    return kept[:most]


def _answer_slowly(rows, frame_shape, *, multi_label, threshold):
    boxes, scores, classes = [], [], []
    for row in rows[0].astype(np.float64):
        kinds = row[5:] * row[4]
        wanted = range(CLASSES) if multi_label else [int(kinds.argmax())]
        for kind in wanted:
            if kinds[kind] > threshold and row[4] > threshold:
                x, y, w, h = row[:4]
                boxes.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
                scores.append(kinds[kind])
                classes.append(kind)
    kept = _suppress_slowly(boxes, scores, classes, 0.45, 300)
    gain = min(SIZE[0] / frame_shape[0], SIZE[1] / frame_shape[1])
    left = (SIZE[1] - frame_shape[1] * gain) / 2
    top = (SIZE[0] - frame_shape[0] * gain) / 2
    limit = np.array([frame_shape[1], frame_shape[0]] * 2)
    return [
        [*np.clip((np.array(boxes[i]) - [left, top] * 2) / gain, 0, limit), scores[i], classes[i]]
        for i in kept
    ]


def _assert_same(answers, expected, atol=2e-2):
    assert len(answers) == len(expected)
    np.testing.assert_allclose(
        np.array(answers).reshape(-1, 6), np.array(expected).reshape(-1, 6), atol=atol
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("multi_label", [False, True])
def test_whole_graph_answers_equal_the_slow_reference(seed, multi_label):
    rows = _decode_slowly(_heads(seed))
    step = POSTPROCESS["yolov5"]({"size": SIZE, "multi_label": multi_label})
    answers = step({"output0": rows}, (192, 256, 3))
    expected = _answer_slowly(rows, (192, 256), multi_label=multi_label, threshold=0.25)
    assert expected
    _assert_same(answers, expected)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("values", [{}, {"multi_label": True, "score_threshold": 0.001}])
def test_heads_answers_equal_the_whole_graph(seed, values):
    heads = _heads(seed)
    whole = POSTPROCESS["yolov5"]({"size": SIZE, **values})
    cut = POSTPROCESS["yolov5-heads"]({"size": SIZE, "anchors": ANCHORS, **values})
    shape = (150, 333, 3)
    # The order and the names of the heads are the engine's own affair.
    outputs = {"c": heads[2], "a": heads[0], "b": heads[1]}
    _assert_same(cut(outputs, shape), whole({"o": _decode_slowly(heads)}, shape))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "float32"])
@pytest.mark.parametrize("values", [{}, {"multi_label": True, "score_threshold": 0.001}])
def test_quantised_heads_answer_as_their_floats(seed, layout, dtype, values):
    outputs = {}
    for index, head in enumerate(_heads(seed)):
        zero_point = -20 if dtype == "int8" else 108
        form = Form(layout, dtype, None, None)
        if dtype != "float32":
            form = Form(layout, dtype, np.abs(head).max() / 100, zero_point)
        outputs[str(index)] = Quantised(to_form(head, form), form.scale, form.zero_point, layout)
    step = POSTPROCESS["yolov5-heads"]({"size": SIZE, "anchors": ANCHORS, **values})
    floats = {name: head.to_float() for name, head in outputs.items()}
    expected = step(floats, (150, 333, 3))
    assert expected
    _assert_same(step(outputs, (150, 333, 3)), expected, atol=1e-4)


def test_answers_are_plain_floats_by_falling_score_inside_the_frame():
    answers = POSTPROCESS["yolov5"]({"size": SIZE})({"o": _decode_slowly(_heads(3))}, (96, 128, 3))
    assert all(type(value) is float for row in answers for value in row)
    scores = [row[4] for row in answers]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= r[0] <= r[2] <= 128 and 0 <= r[1] <= r[3] <= 96 for r in answers)


def test_nothing_confident_answers_nothing():
    heads = {str(i): head * 0 - 9 for i, head in enumerate(_heads(0))}
    step = POSTPROCESS["yolov5-heads"]({"size": SIZE, "anchors": ANCHORS})
    assert step(heads, (96, 128, 3)) == []
    rows = np.zeros((1, 7, 5 + CLASSES), np.float32)
    assert POSTPROCESS["yolov5"]({"size": SIZE})({"o": rows}, (96, 128, 3)) == []


def test_max_detections_keeps_the_best():
    rows = _decode_slowly(_heads(1))
    every = POSTPROCESS["yolov5"]({"size": SIZE})({"o": rows}, (96, 128, 3))
    few = POSTPROCESS["yolov5"]({"size": SIZE, "max_detections": 2})({"o": rows}, (96, 128, 3))
    assert len(every) > 2
    assert few == every[:2]


def test_wrong_shapes_are_refused():
    whole = POSTPROCESS["yolov5"]({"size": SIZE})
    with pytest.raises(ValueError, match="5 \\+ C"):
        whole({"o": np.zeros((1, 9), np.float32)}, (96, 128, 3))
    with pytest.raises(ValueError, match="no output None"):
        whole({"a": np.zeros(1), "b": np.zeros(1)}, (96, 128, 3))
    cut = POSTPROCESS["yolov5-heads"]({"size": SIZE, "anchors": ANCHORS})
    with pytest.raises(ValueError, match="no head of 12 x 16 cells"):
        cut({"a": np.zeros((1, 27, 5, 5), np.float32)}, (96, 128, 3))


def test_sigmoid_does_not_overflow():
    values = np.array([-1e4, -90, 0, 90, 1e4], np.float32)
    np.testing.assert_allclose(sigmoid(values), [0, 0, 0.5, 1, 1], atol=1e-7)
    assert sigmoid(values).dtype == np.float32


@st.composite
def _candidates(draw):
    count = draw(st.integers(0, 40))
    random = np.random.RandomState(draw(st.integers(0, 2**31)))
    corners = random.randint(0, 60, (count, 2))
    boxes = np.concatenate([corners, corners + random.randint(0, 40, (count, 2))], axis=1)
    # Few distinct scores, so that ties are common.
    scores = random.randint(1, 8, count) / 8
    return boxes.astype(np.float32), scores.astype(np.float32), random.randint(0, 3, count)


_THRESHOLDS = st.sampled_from([0.0, 0.3, 0.45, 0.7, 1.0])


@settings(deadline=None)
@given(_candidates(), _THRESHOLDS, st.integers(1, 50))
def test_nms_equals_the_slow_reference(candidates, threshold, most):
    kept = non_maximum_suppression(*candidates, threshold, most)
    assert kept == _suppress_slowly(*candidates, threshold, most)


@settings(deadline=None)
@given(_candidates(), _THRESHOLDS)
def test_nms_is_idempotent(candidates, threshold):
    boxes, scores, classes = candidates
    kept = non_maximum_suppression(boxes, scores, classes, threshold, 300)
    again = non_maximum_suppression(boxes[kept], scores[kept], classes[kept], threshold, 300)
    assert again == list(range(len(kept)))


@settings(deadline=None)
@given(_candidates(), _THRESHOLDS, st.randoms(use_true_random=False))
def test_nms_does_not_depend_on_the_order_of_distinct_scores(candidates, threshold, random):
    boxes, _, classes = candidates
    scores = np.linspace(1, 0.1, len(boxes)).astype(np.float32)
    order = list(range(len(boxes)))
    random.shuffle(order)
    kept = non_maximum_suppression(boxes, scores, classes, threshold, 300)
    shuffled = non_maximum_suppression(boxes[order], scores[order], classes[order], threshold, 300)
    assert [order[index] for index in shuffled] == kept
