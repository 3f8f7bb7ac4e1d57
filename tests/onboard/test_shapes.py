"""The drawn scenes, and the shipped detector that must find what is in them."""

import ast
import hashlib
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.catalog.recipes import load_recipe
from edgekit.onboard.steps import POSTPROCESS, PREPROCESS
from edgekit.prepare import shapes
from edgekit.prepare.shapes import CLASSES, draw_scene

HELD_OUT_SEED = 7  # training draws seed 1
MAX_MODEL_BYTES = 2_000_000


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 2**32 - 1), st.integers(0, 10_000), st.integers(32, 200), st.integers(32, 200)
)
def test_scenes_are_labelled_inside_the_frame(seed, index, height, width):
    scene = draw_scene(seed, index, height=height, width=width)
    assert scene.frame.shape == (height, width, 3)
    assert scene.frame.dtype == np.uint8
    assert scene.boxes.shape == (len(scene.classes), 4)
    assert (scene.boxes[:, :2] >= 0).all()
    assert (scene.boxes[:, 2:] <= [width, height]).all()
    assert (scene.boxes[:, 2:] - scene.boxes[:, :2] >= 7.99).all()
    assert set(scene.classes.tolist()) <= set(range(len(CLASSES)))


def test_a_seed_draws_the_same_scene_again_and_another_index_another():
    first, again, other = draw_scene(5, 3), draw_scene(5, 3), draw_scene(5, 4)
    np.testing.assert_array_equal(first.frame, again.frame)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    assert (first.frame != other.frame).any()


def test_all_classes_are_drawn_about_equally_often():
    counts = np.bincount(
        np.concatenate([draw_scene(0, i, height=64, width=64).classes for i in range(150)]),
        minlength=len(CLASSES),
    )
    assert counts.min() > 0.5 * counts.mean()


@pytest.mark.parametrize("name", CLASSES)
def test_outlines_are_filled_as_opencv_fills_them(name):
    corners = shapes._corners(name, 0.3) * 40 + 50
    assert np.hypot(*(corners - 50).T).max() == pytest.approx(40)
    filled = np.zeros((100, 100), np.uint8)
    # OpenCV's pixel centres are integers, and 4 binary digits of a fraction are kept.
    cv2.fillPoly(filled, [np.rint((corners - 0.5) * 16).astype(np.int32)], 1, shift=4)
    cover = shapes._coverage(corners, 100, 100)
    # OpenCV also paints the pixels that the outline touches: half a pixel all around.
    outline = np.hypot(*(np.roll(corners, -1, axis=0) - corners).T).sum()
    assert (filled[cover == 1] == 1).all()
    assert 0 <= filled.sum() - cover.sum() <= outline


def test_the_recipe_describes_the_shipped_file():
    recipe = load_recipe("shapes")
    content = recipe.source.path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == recipe.source.sha256
    assert len(content) == recipe.source.size_bytes <= MAX_MODEL_BYTES
    assert recipe.classes == CLASSES
    assert recipe.samples.kind == "shapes"


@pytest.fixture(scope="module")
def session():
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = str(load_recipe("shapes").source.path)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def test_the_model_is_laid_out_as_yolov5(session):
    (given_to,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given_to.name, given_to.type, given_to.shape) == (
        "images",
        "tensor(float)",
        [1, 3, 160, 160],
    )
    assert (answer.name, answer.shape) == ("output0", [1, 3 * (400 + 100 + 25), 5 + len(CLASSES)])
    names = ast.literal_eval(session.get_modelmeta().custom_metadata_map["names"])
    assert tuple(names[index] for index in range(len(names))) == CLASSES


def _iou(box, others):
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:4], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    return shared / ((box[2:4] - box[:2]).prod() + areas - shared)


@pytest.mark.parametrize("size", [(240, 320), (160, 160), (300, 170)])
def test_the_model_finds_the_shapes(session, size):
    recipe = load_recipe("shapes")
    placed = {"size": list(recipe.size)}
    before = PREPROCESS[recipe.preprocess.name](
        {**placed, **json.loads(recipe.preprocess.parameters_json)}
    )
    after = POSTPROCESS[recipe.postprocess.name](
        {**placed, **json.loads(recipe.postprocess.parameters_json)}
    )
    hits = answered = objects = 0
    for index in range(40):
        scene = draw_scene(HELD_OUT_SEED, index, height=size[0], width=size[1])
        outputs = {"output0": session.run(None, before(scene.frame))[0]}
        free = np.ones(len(scene.classes), bool)
        for row in np.array(after(outputs, scene.frame.shape), np.float32).reshape(-1, 6):
            fit = _iou(row, scene.boxes) * (free & (scene.classes == row[5]))
            answered += 1
            if fit.max(initial=0) > 0.5:
                free[fit.argmax()] = False
                hits += 1
        objects += len(scene.classes)
    assert objects > 120
    assert hits / objects > 0.9
    assert hits / answered > 0.9
