"""The plain loop that everybody writes first: OpenCV reads, one frame after the other.

Usage: python sequential.py BUNDLE VIDEO FRAMES
"""

import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np

bundle, video, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.path.insert(0, bundle + "/runner.pyz")

from edgekit.engines.onnxruntime.runner import Session  # noqa: E402 - out of the bundle
from edgekit.onboard import native  # noqa: E402
from edgekit.onboard.pipeline import make_postprocess  # noqa: E402

manifest = json.loads(Path(bundle, "manifest.json").read_text(encoding="utf-8"))
session = Session(bundle, manifest["job"], manifest["precision"], manifest["knobs"])
[wanted] = manifest["job"]["inputs"]
height, width = wanted["shape"][2:]


native.take_up(bundle + "/" + native.FILE_NAME)
postprocess = make_postprocess(manifest["job"]["postprocess"])


def letterboxed(frame: np.ndarray) -> np.ndarray:
    """BGR -> float32[1, 3, h, w], as OpenCV's own samples do it."""
    ratio = min(height / frame.shape[0], width / frame.shape[1])
    size = (round(frame.shape[1] * ratio), round(frame.shape[0] * ratio))
    resized = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    edges = (top, height - size[1] - top, left, width - size[0] - left)
    padded = cv2.copyMakeBorder(resized, *edges, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    return cv2.dnn.blobFromImage(padded, 1 / 255, swapRB=True)


session.run({wanted["name"]: np.zeros(wanted["shape"], np.float32)})
capture = cv2.VideoCapture(video)
answers = []
began = time.perf_counter()
for number in range(count):
    got, frame = capture.read()
    if not got:
        raise SystemExit(f"the video ended after {number} frames")
    outputs = session.run({wanted["name"]: letterboxed(frame)})
    answers.append(postprocess(outputs, frame.shape))
seconds = time.perf_counter() - began
print(json.dumps({"fps": count / seconds, "answers": len(answers)}))
