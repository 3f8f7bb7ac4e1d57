import json

import pytest

from edgekit.catalog.folders import builtin_folder
from edgekit.catalog.recipes import load_recipe, read_recipe, recipe_for_onnx, recipe_names
from edgekit.core.errors import CatalogError, ModelError, UnknownNameError, UsageError
from edgekit.core.model import StepSpec
from edgekit.core.recipe import Calibration, Evaluation, Source
from edgekit.onboard.steps import POSTPROCESS, PREPROCESS

# Steps whose parameters include the model's input size, which prepare fills in.
SIZED = {"letterbox", "resize", "yolov5", "db"}


def test_every_promised_recipe_is_there():
    assert {"yolov5", "ppocr-det", "ppocr-rec", "efficientnet-lite0"} <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_complete_and_its_steps_can_be_made(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.licence
    assert recipe.homepage == "" or recipe.homepage.startswith("https://")
    assert recipe.source.sha256
    assert recipe.source.size_bytes
    assert recipe.samples is not None
    for steps, step in ((PREPROCESS, recipe.preprocess), (POSTPROCESS, recipe.postprocess)):
        parameters = json.loads(step.parameters_json)
        if step.name in SIZED:
            parameters["size"] = list(recipe.size or (64, 64))
        steps[step.name](parameters)
    assert recipe.calibration is not None
    assert recipe.evaluation is not None
    parameters = {
        **json.loads(recipe.postprocess.parameters_json),
        **json.loads(recipe.evaluation.postprocess_json),
    }
    if recipe.postprocess.name in SIZED:
        parameters["size"] = list(recipe.size or (64, 64))
    POSTPROCESS[recipe.postprocess.name](parameters)
    if recipe.export is not None:
        assert recipe.export.script.is_file()
        assert "--hash=sha256:" in recipe.export.requirements.read_text("utf-8")


def test_yolov5_is_the_official_release():
    recipe = load_recipe("yolov5")
    assert recipe.source == Source(
        kind="url",
        filename="yolov5n.onnx",
        sha256="04f0e55c26f58d17145b36045780fe1250d5bd2187543e11568e5141d05b3262",
        size_bytes=3_981_910,
        url="https://github.com/ultralytics/yolov5/releases/download/v7.0/yolov5n.onnx",
    )
    assert len(recipe.classes) == 80
    assert (recipe.classes[0], recipe.classes[79]) == ("person", "toothbrush")
    assert recipe.size == (640, 640)
    assert recipe.licence == "AGPL-3.0-only"


def test_yolov5_is_scored_by_the_publishers_rules():
    recipe = load_recipe("yolov5")
    assert recipe.calibration == Calibration(
        kind="images",
        path="coco_tiny/train2017",
        count=80,
        labels="coco_tiny/annotations/instances_train2017.json",
    )
    assert recipe.evaluation == Evaluation(
        metric="coco-map",
        kind="images",
        path="coco_tiny/val2017",
        count=80,
        labels="coco_tiny/annotations/instances_val2017.json",
        postprocess_json='{"iou_threshold":0.6,"max_detections":300,"multi_label":true,'
        '"score_threshold":0.001}',
    )


def test_shapes_are_trained_calibrated_and_judged_on_series_of_their_own():
    recipe = load_recipe("shapes")
    trained, published = 1, 2  # shapes/train.py, shapes/evaluate.py
    seeds = [trained, published, recipe.samples.seed, recipe.calibration.seed]
    assert len({*seeds, recipe.evaluation.seed}) == 5


def test_pypi_source_is_named_by_its_member():
    source = load_recipe("ppocr-det").source
    assert (source.kind, source.filename) == ("pypi", "ch_PP-OCRv4_det_infer.onnx")
    assert source.member.endswith("/models/ch_PP-OCRv4_det_infer.onnx")


def test_ppocr_rec_spells_every_class_but_blank_and_space():
    recipe = load_recipe("ppocr-rec")
    charset = json.loads(recipe.postprocess.parameters_json)["charset"]
    assert len(charset) == len(set(charset)) == 6623


def test_unknown_recipe_is_told_what_was_meant():
    with pytest.raises(UnknownNameError) as caught:
        load_recipe("yolo5")
    assert "yolov5" in caught.value.hint


def edited(tmp_path, *changes, base="yolov5"):
    text = (builtin_folder("recipes") / f"{base}.toml").read_text("utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return file


VAL_LABELS = 'labels = "coco_tiny/annotations/instances_val2017.json"'
EVALUATED = 'metric = "coco-map"\nkind = "images"'


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ([('kind = "url"', 'kind = "urls"')], "must be one of 'url', 'pypi', 'file'; did you mean"),
        ([('kind = "url"', 'kind = "file"')], "of kind 'file' has no key 'url'"),
        ([("url = ", "# url = ")], "of kind 'url' needs key 'url'"),
        ([('"https://', '"http://')], "must begin with https://"),
        ([('sha256 = "0', 'sha256 = "G')], "64 lower-case hexadecimal"),
        ([("size_bytes = 3_981_910", "size_bytes = 0")], "size_bytes must be positive"),
        ([("yolov5n.onnx", "..")], "must be a plain file name"),
        ([("size = [640, 640]", "size = [640, 0]")], ":6: size must be"),
        ([("size = [640, 640]", "size = 640")], ":6: size must be an array, is an integer"),
        ([('"person"', '"bicycle"')], "classes must be distinct"),
        ([("max_drop = 0.01", "max_drop = 7")], "max_drop must lie between 0 and 1"),
        ([("count = 8\n", "count = 0\n")], "samples.count must be at least 1"),
        ([("count = 80\nlabels", "seed = -1\nlabels")], "seed must lie between 0 and 4294967295"),
        ([("count = 80\nlabels", "count = 0\nlabels")], "calibration.count must be at least 1"),
        ([('"coco-map"', '"coco-mAP"')], "must be one of 'coco-map', 'top1', 'text', 'agreement'"),
        ([('"coco-map"', '"agreement"')], "the metric 'agreement' has no labels"),
        ([(VAL_LABELS, "")], "the metric 'coco-map' needs labels"),
        ([(EVALUATED, EVALUATED.replace("images", "shapes"))], "'shapes' has no key 'path'"),
        ([('path = "coco_tiny/val2017"\ncount = 80', "")], "'images' needs key 'path'"),
        ([("true\nmax_det", "true\n[evaluation.rules]\nmax_det")], "unknown key 'rules'"),
        ([('licence = "AGPL-3.0-only"\n', "")], "key 'licence' is missing"),
        ([("pad_value = 114 }", "pad_value = 114 }\npading = 1")], "unknown key 'pading'"),
    ],
)
def test_wrong_recipe_is_told_with_file_and_line(tmp_path, changes, fault):
    with pytest.raises(CatalogError) as caught:
        read_recipe(edited(tmp_path, *changes))
    assert fault in caught.value.message
    assert "mine.toml:" in caught.value.message


def test_file_source_counts_from_the_recipes_folder(tmp_path):
    url = f'url = "{load_recipe("yolov5").source.url}"'
    file = edited(tmp_path, ('kind = "url"', 'kind = "file"'), (url, 'path = "m/a.onnx"'))
    source = read_recipe(file).source
    assert source.path == tmp_path / "m" / "a.onnx"
    assert source.filename == "a.onnx"


def test_recipe_for_onnx_takes_any_file_as_tensors(tmp_path):
    file = tmp_path / "My Model (v2).onnx"
    file.write_bytes(b"12345")
    recipe = recipe_for_onnx(file)
    assert recipe.name == "my-model-v2"
    assert recipe.source == Source(
        kind="file", filename="My Model (v2).onnx", size_bytes=5, path=file
    )
    assert recipe.preprocess == recipe.postprocess == StepSpec("tensor")
    assert recipe.task == "tensor"
    assert recipe_for_onnx(file, name="mine").name == "mine"


def test_recipe_for_onnx_sees_relative_paths_from_here(tmp_path, monkeypatch):
    (tmp_path / "....onnx").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    recipe = recipe_for_onnx(Path("....onnx"))
    assert recipe.source.path == tmp_path / "....onnx"
    assert recipe.name == "model"


def test_recipe_for_onnx_refuses_absent_files_and_bad_names(tmp_path):
    with pytest.raises(ModelError, match=r"no model file .*absent\.onnx"):
        recipe_for_onnx(tmp_path / "absent.onnx")
    (tmp_path / "a.onnx").touch()
    with pytest.raises(UsageError, match="cannot name a model"):
        recipe_for_onnx(tmp_path / "a.onnx", name="Not A Name")
