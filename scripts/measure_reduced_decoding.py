"""What decoding at a reduced size does to mAP: the figures of docs/camera-decode.md.

Labelled images become frames of 1280x720 (scaled by Lanczos to fit, grey around them), as JPEG of
4:2:0 and as YU12. Each frame is made RGB by the board's own step, whole and at each part of its
size, and goes through the steps and the model of an installed bundle. Labels follow the images.

    PYTHONPATH=. .venv/bin/python scripts/measure_reduced_decoding.py BUNDLE IMAGES LABELS ...

BUNDLE is a folder that ``edgekit deploy yolov5 --target local --engine onnxruntime --size 160``
left on the device; IMAGES and LABELS may be given more than once.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.bench.bootstrap import drop_interval, resample_counts
from edgekit.catalog.recipes import load_recipe
from edgekit.engines.onnxruntime.runner import Session
from edgekit.onboard.camera.frames import Captured
from edgekit.onboard.camera.pixels import to_rgb
from edgekit.onboard.pipeline import make_postprocess, make_preprocess
from edgekit.prepare.answers import Answers
from edgekit.prepare.labels import ObjectLabel, read_labels
from edgekit.prepare.metrics.coco import match_labels

WIDTH, HEIGHT = 1280, 720
FORMATS = ("MJPG", "YU12")
Objects = tuple[ObjectLabel, ...]


def main() -> None:
    """Print one line for each format and reduction."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("sets", type=Path, nargs="+", help="IMAGES LABELS, IMAGES LABELS, ...")
    parser.add_argument("--by", type=int, nargs="+", default=[1, 2, 4, 8])
    options = parser.parse_args()
    recipe = load_recipe("yolov5")
    pairs = zip(options.sets[::2], options.sets[1::2], strict=True)
    seen = [each for images, labels in pairs for each in frames(images, labels, recipe.classes)]
    if recipe.evaluation is None:
        raise SystemExit("the recipe has no evaluation")
    model = Model(options.bundle, recipe.evaluation.postprocess_json)
    truth = [objects for _, objects in seen]
    counts = resample_counts(len(seen))
    for name in FORMATS:
        whole: Any = None
        for by in options.by:
            answers = [model.answers(captured(name, rgb), by) for rgb, _ in seen]
            tally = match_labels(answers, truth)
            (score,) = tally.scores(np.ones((1, len(seen)), np.int64))
            whole = whole or (score, tally.scores(counts))
            low, high = drop_interval(whole[1], tally.scores(counts))
            print(
                f"{options.bundle.name[:8]} input {model.size} {name} 1/{by}: mAP {score:.4f}, "
                f"drop {whole[0] - score:+.4f} ({low:+.4f} to {high:+.4f}), {len(seen)} images",
                flush=True,
            )


class Model:
    """An installed bundle's session between its steps."""

    def __init__(self, bundle: Path, postprocess_json: str) -> None:
        manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
        job = manifest["job"]
        self.size = job["preprocess"]["parameters"]["size"]
        self._session = Session(str(bundle), job, manifest["precision"], manifest["knobs"])
        forms = getattr(self._session, "input_forms", None)
        self._before = make_preprocess(job["preprocess"], forms)
        self._after = make_postprocess(job["postprocess"], json.loads(postprocess_json))

    def answers(self, frame: Captured, by: int) -> Answers:
        """Infer a frame that is decoded at a part of its size."""
        outputs = self._session.run(self._before(to_rgb(frame, by=by)))
        answers: Answers = self._after(outputs, (frame.height, frame.width, 3))
        return answers


def frames(
    folder: Path, labels: Path, classes: tuple[str, ...]
) -> list[tuple[NDArray[np.uint8], Objects]]:
    """Return each labelled image as a frame, in the order of their names."""
    names = sorted(file.name for file in folder.glob("*.jpg"))
    known = read_labels(labels, "coco-map", classes, names)
    found = [(name, known[name]) for name in names if name in known]
    return [framed(folder / name, each) for name, each in found if isinstance(each, tuple)]


def framed(path: Path, objects: Objects) -> tuple[NDArray[np.uint8], Objects]:
    """Bring an image to the frame's size, its labels with it."""
    image = cv2.imread(str(path))
    if image is None:
        raise SystemExit(f"{path} cannot be read")
    rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    height, width = rgb.shape[:2]
    ratio = min(WIDTH / width, HEIGHT / height)
    size = (round(width * ratio), round(height * ratio))
    left, top = (WIDTH - size[0]) // 2, (HEIGHT - size[1]) // 2
    frame = np.full((HEIGHT, WIDTH, 3), 114, np.uint8)
    scaled = cv2.resize(rgb, size, interpolation=cv2.INTER_LANCZOS4)
    frame[top : top + size[1], left : left + size[0]] = scaled
    gain = (size[0] / width, size[1] / height)
    return frame, tuple(
        ObjectLabel(
            (
                each.box[0] * gain[0] + left,
                each.box[1] * gain[1] + top,
                each.box[2] * gain[0],
                each.box[3] * gain[1],
            ),
            each.kind,
            each.crowd,
        )
        for each in objects
    )


def captured(name: str, rgb: NDArray[np.uint8]) -> Captured:
    """Return a frame as a camera would give it."""
    if name == "YU12":
        data = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    else:
        sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
        how = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
        data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), how)[1].reshape(-1)
    return Captured(data, name, WIDTH, HEIGHT, 0, 0, 0, 0, False, lambda: None)


if __name__ == "__main__":
    main()
