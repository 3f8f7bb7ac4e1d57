import json

from edgekit.catalog.recipes import load_recipe
from edgekit.report.catalog import recipe_facts, recipe_lines


def line_of(recipe, fact):
    (line,) = [line for line in recipe_lines(recipe) if line.startswith(f"{fact} ")]
    return line.removeprefix(fact).strip()


def test_recipe_tells_its_metric_and_where_its_labels_are_from():
    recipe = load_recipe("yolov5")
    assert line_of(recipe, "evaluation") == (
        "coco-map on 80 images coco_tiny/val2017, "
        "labels coco_tiny/annotations/instances_val2017.json"
    )
    assert line_of(recipe, "calibration").startswith("80 images coco_tiny/train2017, labels ")
    assert line_of(recipe, "samples") == "8 images coco_tiny/val2017"
    assert line_of(load_recipe("efficientnet-lite0"), "evaluation") == (
        "agreement on 80 images coco_tiny/val2017"
    )


def test_recipe_facts_are_plain_values():
    facts = json.loads(json.dumps(recipe_facts(load_recipe("shapes"))))
    assert facts["evaluation"]["metric"] == "coco-map"
    assert facts["evaluation"]["postprocess"]["score_threshold"] == 0.001
    assert facts["calibration"]["seed"] != facts["evaluation"]["seed"]
