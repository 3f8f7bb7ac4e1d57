"""Labels: COCO's, lists of lines, and those that drawn scenes know themselves."""

import json

import pytest

from edgekit.core.errors import UsageError
from edgekit.prepare.labels import ObjectLabel, drawn_labels, read_labels
from edgekit.prepare.shapes import CLASSES, draw_scene

PERSON = {"bbox": [1, 2, 3.5, 4], "category_id": 7, "image_id": 10}
COCO = {
    "images": [{"id": 10, "file_name": "val/a.jpg"}, {"id": 11, "file_name": "b.jpg"}],
    "categories": [{"id": 7, "name": "person"}, {"id": 3, "name": "dog"}],
    "annotations": [PERSON, {**PERSON, "category_id": 3, "iscrowd": 1}],
}


def written(tmp_path, content):
    file = tmp_path / "labels"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_coco_categories_find_their_classes_by_name(tmp_path):
    file = written(tmp_path, COCO)
    names = ["a.jpg", "b.jpg", "c.jpg"]
    assert read_labels(file, "coco-map", ("cat", "dog", "person"), names) == {
        "a.jpg": (
            ObjectLabel((1, 2, 3.5, 4), 2),
            ObjectLabel((1, 2, 3.5, 4), 1, crowd=True),
        ),
        "b.jpg": (),
    }
    # Kept by content and by classes, so another model's indices are its own.
    assert read_labels(file, "coco-map", ("person", "dog"), names)["a.jpg"][0].kind == 0


def test_only_the_images_asked_for_are_told(tmp_path):
    assert set(read_labels(written(tmp_path, COCO), "coco-map", ("person", "dog"), ["b.jpg"])) == {
        "b.jpg"
    }


def test_categories_that_the_model_lacks_are_listed(tmp_path):
    with pytest.raises(UsageError) as caught:
        read_labels(written(tmp_path, COCO), "coco-map", ("Person", "cat"), ["a.jpg"])
    assert "it has no dog, person" in caught.value.message
    assert "Person, cat" in caught.value.hint


def test_category_that_no_annotation_uses_is_no_fault(tmp_path):
    content = {**COCO, "categories": [*COCO["categories"], {"id": 8, "name": "okapi"}]}
    assert read_labels(written(tmp_path, content), "coco-map", ("person", "dog"), ["a.jpg"])


def test_model_without_class_names_is_told_so(tmp_path):
    with pytest.raises(UsageError) as caught:
        read_labels(written(tmp_path, COCO), "coco-map", (), ["a.jpg"])
    assert "classes have no names" in caught.value.hint


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[]",
        "{}",
        json.dumps({**COCO, "annotations": [{**PERSON, "bbox": [1, 2, 3]}]}),
        json.dumps({**COCO, "annotations": [{**PERSON, "image_id": 99}]}),
        json.dumps({**COCO, "annotations": [{**PERSON, "bbox": [1, 2, float("nan"), 3]}]}),
        json.dumps(
            {**COCO, "images": [{"id": 10, "file_name": "a"}, {"id": 11, "file_name": "x/a"}]}
        ),
    ],
)
def test_file_that_is_no_coco_annotations_is_refused(tmp_path, content):
    with pytest.raises(UsageError, match="cannot be used"):
        read_labels(written(tmp_path, content), "coco-map", ("person", "dog"), ["a.jpg"])


def test_absent_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot read the labels"):
        read_labels(tmp_path / "absent.json", "coco-map", ("person",), ["a.jpg"])


def test_lines_hold_classes_by_name_or_number(tmp_path):
    file = written(tmp_path, "a.jpg golden retriever\n\nsub/b.jpg 0\n")
    classes = ("cat", "golden retriever")
    assert read_labels(file, "top1", classes, ["a.jpg", "b.jpg"]) == {"a.jpg": 1, "b.jpg": 0}
    assert read_labels(written(tmp_path, "a.jpg 5"), "top1", (), ["a.jpg"]) == {"a.jpg": 5}


@pytest.mark.parametrize("label", ["2", "-1", "dog"])
def test_class_that_the_model_lacks_is_refused(tmp_path, label):
    with pytest.raises(UsageError, match=f"it has no {label}"):
        read_labels(written(tmp_path, f"a.jpg {label}"), "top1", ("cat", "cow"), ["a.jpg"])


def test_lines_hold_texts_with_their_spaces(tmp_path):
    file = written(tmp_path, "a b.png\tMind the  gap\nc.png 42 km\n")
    assert read_labels(file, "text", (), ["a b.png", "c.png"]) == {
        "a b.png": "Mind the  gap",
        "c.png": "42 km",
    }


def test_line_without_a_label_is_told_with_its_number(tmp_path):
    with pytest.raises(UsageError, match=r"line 2 is no FILE LABEL: 'b\.png'"):
        read_labels(written(tmp_path, "a.png x\nb.png\n"), "text", (), ["a.png"])


def test_drawn_scenes_know_their_labels(own_cache):
    shuffled = CLASSES[::-1]
    first = drawn_labels(shuffled, seed=9, count=3)
    assert drawn_labels(shuffled, seed=9, count=3) == first
    scene = draw_scene(9, 2)
    assert [shuffled[label.kind] for label in first[2]] == [CLASSES[k] for k in scene.classes]
    x, y, width, height = first[2][0].box
    assert [x, y, x + width, y + height] == pytest.approx(scene.boxes[0].tolist())


def test_drawn_scenes_do_not_fit_other_classes():
    with pytest.raises(UsageError, match="it has no square, triangle, star, cross"):
        drawn_labels(("circle", "person"), seed=0, count=1)
