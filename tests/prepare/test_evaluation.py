"""The evaluation set: frames, labels, and what is told where either is missing."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tiny_models

from edgekit.core.errors import CatalogError, ModelError, RunnerError, UsageError
from edgekit.core.events import Note, ignore
from edgekit.core.model import StepSpec
from edgekit.core.recipe import Calibration, Evaluation
from edgekit.prepare.calibration_side import check_disjoint, load_calibration_side
from edgekit.prepare.evaluation import load_evaluation
from edgekit.prepare.labels import ObjectLabel
from edgekit.prepare.normalise import prepare_model
from edgekit.prepare.scoring import reference_answers, tally_answers

LOW = '{"multi_label":true,"score_threshold":0.02}'
RULES = Evaluation("coco-map", "images", "set/val", 99, 0, "set/val.json", LOW)
CALIBRATION = Calibration("images", "set/train", 99, 0, "set/train.json")
DETECT = {"postprocess": StepSpec("yolov5", '{"score_threshold": 0.05}')}


def prepared(tmp_path, recipe, source=None):
    file = tiny_models.saved(source or tiny_models.yolov5(), tmp_path / "m.onnx")
    return prepare_model(recipe, file, size=None, emit=ignore)


@pytest.fixture
def recipe():
    return tiny_models.recipe(evaluation=RULES, calibration=CALIBRATION, **DETECT)


@pytest.fixture
def model(tmp_path, recipe):
    return prepared(tmp_path, recipe)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Two folders of five pictures each with labels of "thing 0" and "thing 1"."""
    root = tmp_path / "data"
    for seed, side in enumerate(("train", "val")):
        folder = root / "set" / side
        folder.mkdir(parents=True)
        random = np.random.default_rng(seed)
        images, annotations = [], []
        for index in range(5):
            picture = random.integers(0, 255, (48, 64, 3), np.uint8)
            cv2.imwrite(str(folder / f"{side}{index}.png"), picture)
            images.append({"id": index, "file_name": f"{side}{index}.png"})
            annotations.append({"bbox": [4, 4, 20, 30], "category_id": 5, "image_id": index})
        labels = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 5, "name": "thing 1"}],
        }
        (root / "set" / f"{side}.json").write_text(json.dumps(labels))
    monkeypatch.setenv("EDGEKIT_DATA_PATH", str(root))
    return root / "set"


def load(recipe, model, emit=ignore, images=None, labels=None):
    return load_evaluation(recipe, model, images=images, labels=labels, emit=emit)


def test_recipe_names_frames_and_labels(data, recipe, model, events):
    loaded = load(recipe, model, events)
    assert loaded.metric == "coco-map"
    assert loaded.names == tuple(f"val{index}.png" for index in range(5))
    assert [label.kind for truth in loaded.truth for label in truth] == [1] * 5
    assert loaded.postprocess_json == LOW
    assert loaded.threshold == 0.02
    assert not events.of(Note)


def test_identity_hangs_on_labels_and_rules_and_frames(data, recipe, model):
    first = load(recipe, model).identity
    assert load(recipe, model).identity == first
    other = replace(recipe, evaluation=replace(RULES, postprocess_json="{}"))
    assert load(other, model).identity != first
    text = (data / "val.json").read_text()
    (data / "val.json").write_text(text.replace("[4, 4, 20, 30]", "[4, 4, 20, 31]", 1))
    second = load(recipe, model).identity
    (data / "val4.png").unlink(missing_ok=True)
    (data / "val" / "val4.png").unlink()
    assert len({first, second, load(recipe, model).identity}) == 3


def test_count_picks_by_seed_whatever_the_order_of_the_folder(data, recipe, model):
    few = replace(recipe, evaluation=replace(RULES, count=2, seed=3))
    names = load(few, model).names
    assert names == tuple(sorted(names))
    assert load(few, model).names == names
    assert len({load(replace(few, evaluation=replace(RULES, count=2, seed=s)), model).names
                for s in range(8)}) > 1  # fmt: skip


def test_unreadable_image_is_left_out_with_its_label(data, recipe, model, events):
    (data / "val" / "val2.png").write_bytes(b"broken")
    loaded = load(recipe, model, events)
    assert "val2.png" not in loaded.names
    assert len(loaded.names) == len(loaded.frames) == len(loaded.truth) == 4
    assert "val2.png" in events.of(Note)[0].text
    assert events.of(Note)[0].warning


def test_image_without_label_is_left_out(data, recipe, model, events):
    (data / "val" / "val2.png").rename(data / "val" / "stray.png")
    loaded = load(recipe, model, events)
    assert len(loaded.names) == 4
    assert "stray.png" in events.of(Note)[0].text


@pytest.mark.parametrize("what", ["unreadable", "empty", "unlabelled", "nothing to find"])
def test_set_that_can_tell_nothing_is_refused(data, recipe, model, what):
    expected = {
        "unreadable": "no image in",
        "empty": "there is no image in",
        "unlabelled": "the labels name none of the 5 images",
        "nothing to find": "name no object on any of the 5 images",
    }[what]
    for index, file in enumerate(sorted((data / "val").iterdir())):
        if what == "unreadable":
            file.write_bytes(b"broken")
        elif what == "empty":
            file.unlink()
        elif what == "unlabelled":
            file.rename(file.with_name(f"x{index}.png"))
    if what == "nothing to find":
        told = json.loads((data / "val.json").read_text())
        (data / "val.json").write_text(json.dumps({**told, "annotations": []}))
    with pytest.raises(UsageError, match=expected):
        load(recipe, model)


def test_labels_that_do_not_fit_the_classes_are_refused(data, recipe, model):
    text = (data / "val.json").read_text()
    (data / "val.json").write_text(text.replace("thing 1", "thing 7"))
    with pytest.raises(UsageError, match="it has no thing 7"):
        load(recipe, model)


def test_absent_labels_leave_agreement_with_a_note(data, recipe, model, events):
    (data / "val.json").unlink()
    loaded = load(recipe, model, events)
    assert (loaded.metric, loaded.truth) == ("agreement", None)
    assert loaded.postprocess_json == "{}"
    assert loaded.threshold == 0.05
    assert "set/val.json" in events.of(Note)[0].text


def test_absent_images_leave_agreement_on_drawn_scenes(recipe, model, events):
    few = replace(recipe, evaluation=replace(RULES, count=2))
    loaded = load(few, model, events)
    assert (loaded.metric, len(loaded.frames)) == ("agreement", 2)
    assert "set/val" in events.of(Note)[0].text


def test_sides_that_are_drawn_for_want_of_images_share_no_scene(recipe, model):
    few = replace(
        recipe,
        evaluation=replace(RULES, count=3),
        calibration=replace(CALIBRATION, count=3),
    )
    side = load_calibration_side(few, model, evaluation=load(few, model))
    assert len(side.frames) == 3


def test_users_calibration_images_need_no_table_and_are_held_apart_too(data, recipe, model):
    bare = replace(recipe, evaluation=None, calibration=None)
    evaluation = load(bare, model, images=data / "val")
    assert load_calibration_side(bare, model, evaluation=evaluation) is None
    side = load_calibration_side(bare, model, evaluation=evaluation, images=data / "train")
    assert (side.metric, side.names[0]) == ("agreement", "train0.png")
    with pytest.raises(UsageError, match="5 calibration images are evaluation images too"):
        load_calibration_side(bare, model, evaluation=evaluation, images=data / "val")


def test_users_images_have_the_users_labels_or_none(data, recipe, model):
    unlabelled = load(recipe, model, images=data / "train")
    assert (unlabelled.metric, unlabelled.names[0]) == ("agreement", "train0.png")
    labelled = load(recipe, model, images=data / "train", labels=data / "train.json")
    assert (labelled.metric, len(labelled.truth)) == ("coco-map", 5)
    with pytest.raises(UsageError, match="the labels name none"):
        load(recipe, model, images=data / "train", labels=data / "val.json")


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        (RULES, "those of tiny are set/val, not at hand"),
        (Evaluation("agreement", "shapes"), "those of tiny are not files"),
        (None, "those of tiny are not files"),
    ],
)
def test_users_labels_of_no_images_are_refused(recipe, model, tmp_path, rules, fault):
    with pytest.raises(UsageError, match=fault):
        load(replace(recipe, evaluation=rules), model, labels=tmp_path / "labels.json")


def test_users_labels_turn_agreement_into_top1(data, tmp_path):
    plain = tiny_models.recipe("classify", evaluation=Evaluation("agreement", "images", "set/val"))
    model = prepared(tmp_path, replace(plain, size=(32, 32)), tiny_models.classifier())
    assert load(plain, model).metric == "agreement"
    (tmp_path / "l.txt").write_text("".join(f"val{index}.png {index % 4}\n" for index in range(5)))
    loaded = load(plain, model, labels=tmp_path / "l.txt")
    assert (loaded.metric, loaded.truth) == ("top1", (0, 1, 2, 3, 0))
    answers = reference_answers(loaded, model)
    hits = sum(found[0][0] == told for found, told in zip(answers, loaded.truth, strict=True))
    scores = tally_answers(loaded, answers, answers).scores(np.ones((1, 5), np.int64))
    assert scores[0] == hits / 5


def test_bare_tensors_have_no_evaluation(data, tmp_path):
    recipe = tiny_models.recipe("tensor", evaluation=RULES, calibration=CALIBRATION)
    model = prepared(tmp_path, recipe, tiny_models.classifier((1, 3, 8, 8)))
    assert load(recipe, model) is None
    assert load_calibration_side(recipe, model, evaluation=None) is None
    with pytest.raises(UsageError, match="bare tensors"):
        load(recipe, model, images=data / "val")


def test_recipe_without_evaluation_has_none_unless_images_are_given(data, recipe, model):
    bare = replace(recipe, evaluation=None)
    assert load(bare, model) is None
    assert load(bare, model, images=data / "val").metric == "agreement"
    assert load(bare, model, images=data / "val", labels=data / "val.json").metric == "coco-map"


def test_reference_answers_hold_the_evaluations_parameters_and_are_cached(
    data, recipe, model, events
):
    loaded = load(recipe, model)
    answers = reference_answers(loaded, model)
    scores = [box[4] for boxes in answers for box in boxes]
    assert 0.02 < min(scores) < 0.05
    assert reference_answers(loaded, model, events) == answers
    assert events[-1].detail == "cached"


def test_wrong_evaluation_parameter_is_the_recipes_fault(data, recipe, model):
    wrong = replace(recipe, evaluation=replace(RULES, postprocess_json='{"score_treshold":0.1}'))
    with pytest.raises(CatalogError, match=r"evaluation\.postprocess.*score_treshold"):
        reference_answers(load(wrong, model), model)


def test_layout_that_the_decoder_does_not_know_is_told(data, tmp_path):
    recipe = tiny_models.recipe(size=(32, 32))
    model = prepared(tmp_path, recipe, tiny_models.classifier())
    loaded = load(recipe, model, images=data / "val")
    with pytest.raises(ModelError, match="decoder yolov5 does not know the outputs of tiny"):
        reference_answers(loaded, model)


@pytest.mark.parametrize(
    ("answers", "fault"),
    [
        ([[]] * 4, "answers for 4 frames, 5 were sent"),
        ([[]] * 4 + [None], "no answer for val4.png"),
        ([[]] * 4 + [[[0, 0, 1, float("nan"), 0.5, 1]]], "an answer for val4.png is not finite"),
    ],
)
def test_answers_that_cannot_be_scored_are_the_runners_fault(data, recipe, model, answers, fault):
    loaded = load(recipe, model)
    with pytest.raises(RunnerError, match=fault):
        tally_answers(loaded, [[]] * 5, answers)


def test_calibration_side_has_its_own_frames_and_labels(data, recipe, model):
    evaluation = load(recipe, model)
    side = load_calibration_side(recipe, model, evaluation=evaluation)
    assert side.metric == "coco-map"
    assert side.names[0] == "train0.png"
    assert side.labels_from == "labels train.json"
    assert not {frame.sha256 for frame in side.frames} & {f.sha256 for f in evaluation.frames}


def test_image_on_both_sides_is_refused_by_name_whatever_it_is_called(data, recipe, model):
    content = (data / "val" / "val3.png").read_bytes()
    (data / "train" / "train1.png").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load_calibration_side(recipe, model, evaluation=load(recipe, model))
    assert "1 calibration images are" in caught.value.message
    assert "train1.png = val3.png" in caught.value.message
    ranges_seen_on = [frame.sha256 for frame in load(recipe, model).frames[3:]]
    with pytest.raises(UsageError, match=r"too: val3\.png, val4\.png"):
        check_disjoint(ranges_seen_on, load(recipe, model))
    assert load_calibration_side(recipe, model, evaluation=None) is not None


def test_calibration_without_labels_takes_the_references_sure_detections(data, recipe, model):
    bare = replace(recipe, calibration=replace(CALIBRATION, labels=""))
    side = load_calibration_side(bare, model, evaluation=load(recipe, model))
    assert (side.metric, side.postprocess_json) == ("coco-map", LOW)
    assert side.labels_from == "labels by the float reference"
    sure = reference_answers(replace(side, postprocess_json="{}"), model)
    assert sum(map(len, side.truth)) == sum(map(len, sure)) > 0
    x0, y0, x1, y1, score, kind = sure[0][0]
    assert score > 0.05
    assert side.truth[0][0] == ObjectLabel((x0, y0, x1 - x0, y1 - y0), int(kind))


def test_calibration_of_a_classifier_without_labels_is_agreement(data, tmp_path):
    recipe = tiny_models.recipe(
        "classify",
        size=(32, 32),
        calibration=Calibration("images", "set/train"),
        evaluation=Evaluation("agreement", "images", "set/val"),
    )
    model = prepared(tmp_path, recipe, tiny_models.classifier())
    side = load_calibration_side(recipe, model, evaluation=load(recipe, model))
    assert (side.metric, len(side.frames)) == ("agreement", 5)
