"""COCO's mAP: equal to pycocotools on whatever boxes, and under whatever weights."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from edgekit.prepare.labels import ObjectLabel
from edgekit.prepare.metrics.coco import match_labels


def by_pycocotools(answers, truth, classes):
    """mAP50-95 and mAP50 as the field's own tool tells them."""
    annotations, found = [], []
    for image, labels in enumerate(truth, 1):
        for label in labels:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": label.kind,
                    "bbox": list(label.box),
                    "area": label.box[2] * label.box[3],
                    "iscrowd": int(label.crowd),
                }
            )
    for image, rows in enumerate(answers, 1):
        for x0, y0, x1, y1, score, kind in rows:
            bbox = [x0, y0, x1 - x0, y1 - y0]
            found.append(
                {"image_id": image, "category_id": int(kind), "bbox": bbox, "score": score}
            )
    data = COCO()
    data.dataset = {
        "info": {},
        "images": [{"id": image + 1} for image in range(len(truth))],
        "categories": [{"id": kind, "name": str(kind)} for kind in range(classes)],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        data.createIndex()
        scoring = COCOeval(data, data.loadRes(found), "bbox")
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    return scoring.stats[0], scoring.stats[1]


def drawn_set(seed, *, images=6, classes=3, most=12, crowds=0.15, coarse=False):
    """Labels, and detections that are labels moved about, doubled, invented and mistaken."""
    random = np.random.default_rng(seed)
    truth, answers = [], []
    for _ in range(images):
        labels, rows = [], []
        for _ in range(random.integers(0, most)):
            x, y, w, h = random.uniform([0, 0, 5, 5], [300, 300, 120, 120])
            if coarse:  # equal overlaps and scores: what ties are decided by shows
                x, y, w, h = (round(v / 20) * 20 for v in (x, y, w, h + 20))
                w = max(w, 20)
            kind = int(random.integers(classes))
            labels.append(ObjectLabel((x, y, w, h), kind, bool(random.random() < crowds)))
            for _ in range(random.integers(0, 4)):
                noise = random.normal(0, 0.1, 4) * (w, h, w, h) * (random.random() < 0.8)
                box = np.array([x, y, x + w, y + h]) + (
                    np.round(noise / 10) * 10 if coarse else noise
                )
                score = random.random()
                score = round(score, 1) if coarse else score
                found = kind if random.random() < 0.9 else int(random.integers(classes))
                rows.append([*map(float, box), float(score), float(found)])
        truth.append(tuple(labels))
        answers.append(rows)
    return answers, truth


def ours(answers, truth):
    tally = match_labels(answers, truth)
    ones = np.ones((1, len(truth)), np.int64)
    return tally.scores(ones)[0], tally.scores_at_50(ones)[0]


@pytest.mark.parametrize("coarse", [False, True])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_map_equals_pycocotools(coarse, seed):
    answers, truth = drawn_set(seed, coarse=coarse)
    if not any(not label.crowd for labels in truth for label in labels) or not any(answers):
        return
    assert ours(answers, truth) == pytest.approx(by_pycocotools(answers, truth, 3), abs=1e-9)


def test_map_of_crowded_images_and_more_than_a_hundred_detections_equals_pycocotools():
    answers, truth = drawn_set(7, images=3, classes=1, most=120, crowds=0.4)
    assert max(map(len, answers)) > 150
    expected = by_pycocotools(answers, truth, 1)
    assert ours(answers, truth) == pytest.approx(expected, abs=1e-9)
    assert 0.05 < expected[0] < 0.95


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), data=st.data())
def test_weighted_images_score_as_repeated_ones(seed, data):
    answers, truth = drawn_set(seed, images=5)
    counts = data.draw(st.lists(st.integers(0, 3), min_size=5, max_size=5).filter(any))
    rows = [index for index, count in enumerate(counts) for _ in range(count)]
    repeated = ours([answers[index] for index in rows], [truth[index] for index in rows])
    tally = match_labels(answers, truth)
    weights = np.array([counts, [1] * 5])
    assert tally.scores(weights)[0] == pytest.approx(repeated[0], abs=1e-12)
    assert tally.scores_at_50(weights)[0] == pytest.approx(repeated[1], abs=1e-12)
    assert tally.scores(weights)[1] == pytest.approx(ours(answers, truth)[0], abs=1e-12)


def test_weights_are_scored_alike_in_one_chunk_or_many(monkeypatch):
    answers, truth = drawn_set(3)
    tally = match_labels(answers, truth)
    counts = np.random.default_rng(0).integers(0, 4, (50, len(truth)))
    whole = tally.scores(counts)
    monkeypatch.setattr("edgekit.prepare.metrics.coco._CHUNK", 1)
    np.testing.assert_allclose(tally.scores(counts), whole, atol=1e-15)
    assert len(set(whole)) > 40


def test_right_answers_are_perfect_and_no_answers_are_worth_nothing():
    truth = [(ObjectLabel((10, 20, 30, 40), 1),), ()]
    assert ours([[[10, 20, 40, 60, 0.9, 1]], []], truth) == pytest.approx((1, 1), abs=1e-12)
    assert ours([[], []], truth) == (0.0, 0.0)
    assert ours([[[10, 20, 40, 60, 0.9, 0]], []], truth) == (0.0, 0.0)


def test_mistake_on_an_empty_image_costs_precision():
    truth = [(ObjectLabel((10, 20, 30, 40), 1),), ()]
    wrong = [[0, 0, 5, 5, 0.95, 1]]
    assert ours([[[10, 20, 40, 60, 0.9, 1]], wrong], truth) == pytest.approx((0.5, 0.5), abs=1e-12)


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong():
    crowd = ObjectLabel((100, 100, 200, 200), 0, crowd=True)
    truth = [(ObjectLabel((10, 20, 30, 40), 0), crowd)]
    inside = [[110, 110, 150, 150, 0.99, 0], [200, 200, 260, 260, 0.98, 0]]
    assert ours([[*inside, [10, 20, 40, 60, 0.9, 0]]], truth) == pytest.approx((1, 1), abs=1e-12)


def test_weights_that_leave_no_object_score_nothing():
    answers, truth = [[[10, 20, 40, 60, 0.9, 1]], []], [(ObjectLabel((10, 20, 30, 40), 1),), ()]
    assert match_labels(answers, truth).scores(np.array([[0, 2]])).tolist() == [0.0]
