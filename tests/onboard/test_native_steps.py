"""The steps in C give what NumPy's give: equal, but for float32's last digits of the logistic."""

import ctypes
import sys
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.onboard import native
from edgekit.onboard.arrays import Form, Quantised, to_form
from edgekit.onboard.native import binding
from edgekit.onboard.steps import POSTPROCESS, PREPROCESS

SHARED = settings(
    deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
STRIDES = [8, 16]
QUANTISE = {
    "float32": None,
    "int8": {"dtype": "int8", "scale": 1 / 255, "zero_point": -128},
    "uint8": {"dtype": "uint8", "scale": 0.02, "zero_point": 100},
}


@SHARED
@given(
    shape=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    grid=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    block=st.integers(1, 3),
    fit=st.sampled_from(["stretch", "letterbox", "pad", "crop"]),
    upscale=st.booleans(),
    layout=st.sampled_from(["NCHW", "NHWC"]),
    dtype=st.sampled_from(["float32", "int8", "uint8"]),
    channels=st.sampled_from(["RGB", "BGR"]),
    mean=st.sampled_from([0, 0.5, [0.485, 0.456, 0.406]]),
    seed=st.integers(0, 1000),
)
def test_images_are_equal(both, shape, grid, block, dtype, mean, seed, **values):
    frame = np.random.RandomState(seed).randint(0, 256, (*shape, 3), np.uint8)
    values.update(size=[edge * block for edge in grid], block=block, mean=mean)
    values["std"] = [0.229, 0.224, 0.225] if mean else 1
    if QUANTISE[dtype]:
        values["quantise"] = QUANTISE[dtype]
    reference, fast = both(PREPROCESS["resize"], values)
    expected, tensor = reference(frame)["images"], fast(frame)["images"]
    assert tensor.dtype == expected.dtype == dtype
    assert tensor.flags.c_contiguous
    np.testing.assert_array_equal(tensor, expected)


@pytest.mark.parametrize(
    "view",
    [
        lambda frame: frame[:, ::-1],
        lambda frame: frame[:, :, ::-1],
        lambda frame: frame[::2, 1:],
        np.asfortranarray,
    ],
)
def test_frames_that_are_views_are_read_as_they_look(both, view):
    frame = view(np.random.RandomState(3).randint(0, 256, (31, 47, 3), np.uint8))
    reference, fast = both(PREPROCESS["letterbox"], {"size": [16, 24]})
    np.testing.assert_array_equal(fast(frame)["images"], reference(frame)["images"])


def test_one_step_serves_frames_of_many_shapes_in_many_threads(both):
    reference, fast = both(PREPROCESS["letterbox"], {"size": [32, 32], "layout": "NHWC"})
    random = np.random.RandomState(0)
    frames = [random.randint(0, 256, (20 + i, 60 - i, 3), np.uint8) for i in range(20)]
    expected = [reference(frame)["images"] for frame in frames]
    wrong = []

    def work():
        for _round in range(20):
            for frame, right in zip(frames, expected, strict=True):
                if not np.array_equal(fast(frame)["images"], right):
                    wrong.append(frame.shape)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_frame_of_another_kind_is_refused_before_c_sees_it(both):
    for step in both(PREPROCESS["letterbox"], {"size": [8, 8]}):
        for frame in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
            with pytest.raises(ValueError, match="uint8"):
                step(frame)
        with pytest.raises(ValueError, match="nothing in it"):
            step(np.zeros((0, 4, 3), np.uint8))


def _heads(seed, size, classes, anchors, *, confident=0.1):
    random = np.random.RandomState(seed)
    heads = []
    for stride in STRIDES:
        grid = (size[0] // stride, size[1] // stride)
        head = random.standard_normal((anchors, 5 + classes, *grid)) * 2
        head[:, 4] -= 5
        head[:, 4][random.rand(*head[:, 4].shape) < confident] += 9
        heads.append(head.reshape(1, -1, *grid).astype(np.float32))
    return heads


def _in_form(head, layout, dtype, wrapped):
    if dtype == "float32":
        values = to_form(head, Form(layout, dtype, None, None))
        if wrapped:
            return Quantised(values, None, None, layout)
        return values if layout == "NCHW" else values.transpose(0, 3, 1, 2)
    form = Form(layout, dtype, np.abs(head).max() / 100, 3 if dtype == "int8" else 120)
    return Quantised(to_form(head, form), form.scale, form.zero_point, layout)


@SHARED
@given(
    cells=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    classes=st.integers(1, 6),
    anchors=st.integers(1, 3),
    form=st.tuples(
        st.sampled_from(["NCHW", "NHWC"]),
        st.sampled_from(["float32", "int8", "uint8"]),
        st.booleans(),
    ),
    multi_label=st.booleans(),
    score_threshold=st.sampled_from([0.001, 0.25, 0.7]),
    iou_threshold=st.sampled_from([0, 0.45, 1]),
    max_detections=st.sampled_from([1, 5, 300]),
    seed=st.integers(0, 1000),
)
def test_heads_give_equal_detections(both, cells, classes, anchors, form, seed, **values):
    size = [cells[0] * 16, cells[1] * 16]
    sizes = np.random.RandomState(seed).uniform(5, 90, (len(STRIDES), 2 * anchors)).tolist()
    values.update(size=size, strides=STRIDES, anchors=sizes)
    reference, fast = both(POSTPROCESS["yolov5-heads"], values)
    outputs = {
        str(index): _in_form(head, *form)
        for index, head in enumerate(_heads(seed, size, classes, anchors))
    }
    shape = (37, 111, 3)
    expected, answers = reference(outputs, shape), fast(outputs, shape)
    assert len(answers) == len(expected)
    if form[1] == "float32":
        expected, answers = (np.array(each).reshape(-1, 6) for each in (expected, answers))
        np.testing.assert_allclose(answers, expected, rtol=1e-5, atol=1e-3)
    else:
        assert answers == expected


@SHARED
@given(
    count=st.integers(0, 200),
    classes=st.integers(1, 5),
    multi_label=st.booleans(),
    score_threshold=st.sampled_from([0.01, 0.3]),
    iou_threshold=st.sampled_from([0, 0.5]),
    levels=st.integers(2, 40),
    seed=st.integers(0, 1000),
)
def test_whole_graph_gives_equal_detections(both, count, classes, levels, seed, **values):
    random = np.random.RandomState(seed)
    rows = random.rand(1, count, 5 + classes).astype(np.float32)
    rows[..., :4] *= 64
    rows[..., 4:] = np.round(rows[..., 4:] * levels) / levels  # many scores are equal
    reference, fast = both(POSTPROCESS["yolov5"], {"size": [64, 64], **values})
    assert fast({"o": rows}, (50, 70, 3)) == reference({"o": rows}, (50, 70, 3))


def test_more_candidates_than_there_is_memory_for_at_first(both):
    rows = np.random.RandomState(0).rand(1, 20000, 9).astype(np.float32)
    rows[..., :4] *= 640
    values = {"size": [640, 640], "multi_label": True, "score_threshold": 0.01}
    reference, fast = both(POSTPROCESS["yolov5"], values)
    expected = reference({"o": rows}, (480, 640, 3))
    assert len(expected) == 300
    assert fast({"o": rows}, (480, 640, 3)) == expected


@pytest.mark.parametrize("shape", [(1, 17, 2, 2), (2, 18, 2, 2), (1, 15, 2, 2), (18, 2, 2)])
def test_head_that_is_not_a_head_is_refused_before_c_sees_it(both, shape):
    values = {"size": [16, 16], "strides": [8], "anchors": [[1, 2, 3, 4, 5, 6]]}
    for step in both(POSTPROCESS["yolov5-heads"], values):
        with pytest.raises(ValueError, match="is not"):
            step({"a": np.zeros(shape, np.float32)}, (16, 16, 3))


def test_logistic_holds_over_the_whole_range(both):
    # One cell for each logit: the box's width is (2 * logistic)^2 * anchor.
    logits = np.concatenate(
        [np.linspace(-120, 120, 4001), [0.0, -0.0, 1e-30, 88.7, -103.9, 3e38, -3e38]]
    ).astype(np.float32)
    head = np.zeros((1, 6, 1, len(logits)), np.float32)
    head[0, 2, 0], head[0, 4], head[0, 5] = logits, 9, 9
    values = {
        "size": [1, len(logits)],
        "strides": [1],
        "anchors": [[1, 0.1]],
        "max_detections": len(logits),
        "iou_threshold": 1,
    }
    reference, fast = both(POSTPROCESS["yolov5-heads"], values)
    expected, answers = (np.array(s({"h": head}, (1, len(logits)))) for s in (reference, fast))
    assert len(expected) == len(logits)
    np.testing.assert_allclose(answers, expected, rtol=1e-5, atol=1e-6)


def test_library_that_is_none_leaves_numpy(tmp_path):
    path = tmp_path / native.FILE_NAME
    assert native.take_up(str(path)) != ""
    path.write_bytes(b"\x7fELF torn")
    assert native.take_up(str(path)) != ""
    assert native.taken_up() is None


def test_library_of_another_version_leaves_numpy(steps_library, monkeypatch):
    monkeypatch.setattr(binding, "_VERSION", 99)
    assert "version 3, not 99" in native.take_up(steps_library)
    assert native.taken_up() is None


def test_python_without_ctypes_leaves_numpy(steps_library, monkeypatch):
    monkeypatch.setitem(sys.modules, "_ctypes", None)
    for name in ("ctypes", "edgekit.onboard.native.binding"):
        monkeypatch.delitem(sys.modules, name)
    assert native.take_up(steps_library) != ""
    assert native.taken_up() is None
    step = PREPROCESS["letterbox"]({"size": [8, 8]})
    assert step(np.zeros((4, 4, 3), np.uint8))["images"].shape == (1, 3, 8, 8)


def test_structures_are_as_large_as_c_has_them(steps_library):
    # steps.h holds pointers and 4-byte fields alone, so a forgotten field shows in the size.
    pointer = ctypes.sizeof(ctypes.c_void_p)

    def padded(size):
        return -(-size // pointer) * pointer

    assert ctypes.sizeof(binding.Image) == padded(11 * 4 + 9 * 4) + 6 * pointer
    assert ctypes.sizeof(binding.Head) == padded(8 * 4) + 2 * pointer
    assert ctypes.sizeof(binding.Rules) == 12 * 4
