"""Scores with their intervals, on the shapes detector and on sets whose truth is known."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.app.accuracy import score
from edgekit.bench.bootstrap import MIN_IMAGES
from edgekit.core.errors import RunnerError, UsageError
from edgekit.core.model import FileRef
from edgekit.prepare.evaluation import EvaluationSet
from edgekit.prepare.labels import ObjectLabel


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def classes_set(truth):
    frames = tuple(FileRef(Path(str(index)), f"{index:064x}", 1) for index in range(len(truth)))
    names = tuple(f"{index}.png" for index in range(len(truth)))
    return EvaluationSet("top1", "classes", frames, names, tuple(truth), "{}", None, "labels")


def answers(classes):
    return [[[kind, 0.9]] for kind in classes]


TRUTH = [0] * 100
RIGHT_80 = answers([0] * 80 + [1] * 20)


def test_drop_is_told_with_its_interval():
    worse = answers([1] * 10 + [0] * 70 + [1] * 20)
    found = score(classes_set(TRUTH), RIGHT_80, worse, max_drop=0.01)
    assert (found.metric, found.value, found.reference, found.images) == ("top1", 0.7, 0.8, 100)
    assert found.drop == pytest.approx(0.1)
    low, high = found.interval
    # A share of 0.1 of 100 images: 0.1 -+ 1.96 * sqrt(0.1 * 0.9 / 100).
    assert (low, high) == (pytest.approx(0.041, abs=0.015), pytest.approx(0.159, abs=0.015))
    assert found.verdict(0.01) == "fail"
    assert found.images_needed is None


def test_images_that_cannot_decide_are_told_how_many_could():
    # Ten images lost and nine won: a drop of 0.01 of which nothing is sure.
    other = answers([1] * 10 + [0] * 79 + [1] * 11)
    found = score(classes_set(TRUTH), RIGHT_80, other, max_drop=0.03)
    assert found.verdict(0.03) == "undecided"
    assert found.drop == pytest.approx(0.01)
    low, high = found.interval
    assert low < 0
    assert high > 0.03
    assert found.images_needed == pytest.approx(100 * ((high - 0.01) / 0.02) ** 2, abs=1.5)
    lenient = score(classes_set(TRUTH), RIGHT_80, other, max_drop=0.5)
    assert (lenient.verdict(0.5), lenient.images_needed) == ("pass", None)
    assert lenient.interval == found.interval


def test_too_few_images_have_no_interval():
    few = MIN_IMAGES - 1
    found = score(classes_set([0] * few), answers([0] * few), answers([0] * few), max_drop=0.01)
    assert (found.drop, found.interval, found.images_needed) == (0, None, None)
    assert found.verdict(0.01) == "undecided"


def test_drop_of_map_is_paired_and_mirrored_when_the_sides_are_swapped():
    random = np.random.default_rng(0)
    truth, reference, worse = [], [], []
    for _ in range(60):
        x, y = random.uniform(0, 200, 2)
        truth.append((ObjectLabel((x, y, 50, 50), 0),))
        box = np.array([x, y, x + 50, y + 50]) + random.normal(0, 2, 4)
        reference.append([[*map(float, box), float(random.random()), 0.0]])
        moved = box + random.normal(0, 2, 4)
        worse.append([[*map(float, moved), reference[-1][0][4], 0.0]])
    evaluation = replace(classes_set(truth), metric="coco-map", kind="boxes", threshold=0.001)
    found = score(evaluation, reference, worse, max_drop=0.01)
    low, high = found.interval
    assert 0 < low < found.drop < high
    assert score(evaluation, worse, reference, max_drop=0.01).interval == (-high, -low)
    assert score(evaluation, reference, [[]] * 60, max_drop=0.01).value == 0


def test_score_is_kept_by_answers_and_evaluation(own_cache, monkeypatch):
    evaluation = classes_set(TRUTH)
    first = score(evaluation, RIGHT_80, answers(TRUTH), max_drop=0.01)
    monkeypatch.setattr("edgekit.app.accuracy.drop_interval", None)  # fails if it is called
    assert score(evaluation, RIGHT_80, answers(TRUTH), max_drop=0.01) == first
    with pytest.raises(TypeError):
        score(evaluation, RIGHT_80, answers([1] * 100), max_drop=0.01)
    with pytest.raises(TypeError):
        score(classes_set([1, *TRUTH[1:]]), RIGHT_80, answers(TRUTH), max_drop=0.01)


def test_labels_on_which_the_reference_scores_nothing_are_refused():
    with pytest.raises(UsageError, match="the float reference itself scores 0 in top1"):
        score(classes_set([3] * 100), RIGHT_80, RIGHT_80, max_drop=0.01)


def test_agreement_on_frames_that_show_nothing_decides_nothing():
    evaluation = replace(classes_set(TRUTH), metric="agreement", kind="boxes", truth=None)
    nothing = [[]] * 100
    found = score(evaluation, nothing, nothing, max_drop=0.01)
    assert (found.drop, found.interval, found.verdict(0.01)) == (0, None, "undecided")
    one = [[[0.0, 0.0, 9.0, 9.0, 0.9, 0.0]], *nothing[1:]]
    assert score(evaluation, one, one, max_drop=0.01).verdict(0.01) == "pass"
    assert score(evaluation, nothing, one, max_drop=0.01).drop == 1


def test_texts_are_kept_apart():
    evaluation = replace(classes_set(["ab"] * 50), metric="text", kind="text")
    right, wrong = [[["ab", 0.9]]] * 50, [[["ab", 0.9]]] * 40 + [[["b", 0.9]]] * 10
    assert score(evaluation, right, right, max_drop=0.01).drop == 0
    assert score(evaluation, right, wrong, max_drop=0.01).drop == pytest.approx(0.2)


def test_missing_answers_fail():
    with pytest.raises(RunnerError, match="answers for 99 frames, 100 were sent"):
        score(classes_set(TRUTH), RIGHT_80, RIGHT_80[1:], max_drop=0.01)


def test_kept_score_imports_no_numpy(own_cache):
    score(classes_set(TRUTH), RIGHT_80, answers(TRUTH), max_drop=0.01)
    script = """
import sys
from pathlib import Path
from edgekit.app.accuracy import score
from edgekit.core.model import FileRef
from edgekit.prepare.evaluation import EvaluationSet
frames = tuple(FileRef(Path(str(index)), f"{index:064x}", 1) for index in range(100))
names = tuple(f"{index}.png" for index in range(100))
found = EvaluationSet("top1", "classes", frames, names, (0,) * 100, "{}", None, "labels")
right = [[[0, 0.9]]] * 80 + [[[1, 0.9]]] * 20
score(found, right, [[[0, 0.9]]] * 100, max_drop=0.01)
print(*sorted({"onnx", "onnxruntime", "numpy", "cv2"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
