"""Measure the ``shapes`` detector on scenes that training never saw.

Run from the repository's root with edgekit's own environment::

    PYTHONPATH=. .venv/bin/python recipes/shapes/evaluate.py recipes/shapes/shapes.onnx
"""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgekit.onboard.steps import POSTPROCESS, PREPROCESS
from edgekit.prepare.shapes import CLASSES, Scene, draw_scene

HELD_OUT_SEED = 2  # training draws seed 1
SHARED = {"size": [160, 160]}
IN_USE = {**SHARED, "score_threshold": 0.5, "iou_threshold": 0.45}  # as the recipe says
# As COCO's evaluation of YOLOv5 is done: every candidate counts, weighed by its score.
FOR_MAP = {**SHARED, "score_threshold": 0.001, "iou_threshold": 0.6, "multi_label": True}
OVERLAPS = np.arange(10) * 0.05 + 0.5

Rows = NDArray[np.float32]


def main() -> None:
    """Print precision and recall as in use, and the mean average precisions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--scenes", type=int, default=500)
    options = parser.parse_args()
    scenes = [draw_scene(HELD_OUT_SEED, index) for index in range(options.scenes)]
    in_use, for_map = detect(options.model, scenes)
    objects = sum(len(scene.classes) for scene in scenes)
    hits = np.concatenate([match(r, s, 0.5) for r, s in zip(in_use, scenes, strict=True)])
    averages = np.array([[average(for_map, scenes, k, o) for o in OVERLAPS] for k in range(5)])
    print(f"{len(scenes)} scenes of seed {HELD_OUT_SEED}, {objects} objects")
    print(f"precision {hits.mean():.4f}, recall {hits.sum() / objects:.4f} (score 0.5, IoU 0.5)")
    print(f"mAP50 {averages[:, 0].mean():.4f}, mAP50-95 {averages.mean():.4f}")
    for name, row in zip(CLASSES, averages, strict=True):
        print(f"  {name:<9} AP50 {row[0]:.4f}, AP50-95 {row.mean():.4f}")


def detect(model: Path, scenes: list[Scene]) -> tuple[list[Rows], list[Rows]]:
    """The answers ``float32[N, 6]`` for each scene: as in use, and for the mAP."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    prepare = PREPROCESS["letterbox"](SHARED)
    steps = [POSTPROCESS["yolov5"](values) for values in (IN_USE, FOR_MAP)]
    found: tuple[list[Rows], list[Rows]] = ([], [])
    for scene in scenes:
        outputs = {"output0": session.run(None, prepare(scene.frame))[0]}
        for answers, step in zip(found, steps, strict=True):
            rows = step(outputs, scene.frame.shape)
            answers.append(np.array(rows, np.float32).reshape(-1, 6))
    return found


def match(rows: Rows, scene: Scene, overlap: float) -> NDArray[np.bool_]:
    """Whether each answer, best first, hits an object that no better answer took."""
    taken = np.zeros(len(scene.classes), bool)
    hits = np.zeros(len(rows), bool)
    for index, row in enumerate(rows):
        shared = iou(row[:4], scene.boxes)
        shared[taken | (scene.classes != row[5])] = 0
        if len(shared) and shared.max() >= overlap:
            taken[shared.argmax()] = hits[index] = True
    return hits


def iou(box: Rows, others: Rows) -> Rows:
    """IoU of one box with many: ``float32[N]``."""
    low = np.maximum(box[:2], others[:, :2])
    shared = np.clip(np.minimum(box[2:], others[:, 2:]) - low, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    whole: Rows = shared / ((box[2:] - box[:2]).prod() + areas - shared)
    return whole


def average(found: list[Rows], scenes: list[Scene], kind: int, overlap: float) -> float:
    """Average precision of one class at one overlap: 101 points of recall, as COCO."""
    scores, hits, objects = [], [], 0
    for rows, scene in zip(found, scenes, strict=True):
        own = rows[rows[:, 5] == kind]
        scores.append(own[:, 4])
        hits.append(match(own, scene, overlap))
        objects += int((scene.classes == kind).sum())
    order = np.argsort(-np.concatenate(scores), kind="stable")
    right = np.concatenate(hits)[order].cumsum()
    precision = right / np.arange(1, len(right) + 1)
    # At each recall the best precision still to come.
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(right / objects, np.linspace(0, 1, 101))
    return float(np.append(envelope, 0)[np.minimum(at, len(envelope))].mean())


if __name__ == "__main__":
    main()
