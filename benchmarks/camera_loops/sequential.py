"""The plain loop that everybody writes first: OpenCV reads, one frame after the other.

Usage: python sequential.py BUNDLE VIDEO FRAMES KNOBS
"""

import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np

bundle, video, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
knobs = json.loads(sys.argv[4])
sys.path.insert(0, bundle + "/runner.pyz")

from edgekit.engines.onnxruntime.runner import Session  # noqa: E402 - out of the bundle
from edgekit.onboard import native  # noqa: E402
from edgekit.onboard.pipeline import make_postprocess, make_preprocess  # noqa: E402

manifest = json.loads(Path(bundle, "manifest.json").read_text(encoding="utf-8"))
session = Session(bundle, manifest["job"], manifest["precision"], knobs)


native.take_up(bundle + "/" + native.FILE_NAME)
forms = getattr(session, "input_forms", None)
preprocess = make_preprocess(manifest["job"]["preprocess"], forms)
postprocess = make_postprocess(manifest["job"]["postprocess"])

session.run(preprocess(np.zeros((720, 1280, 3), np.uint8)))
capture = cv2.VideoCapture(video)
answers = []
began = 0.0
for number in range(count):
    got, frame = capture.read()
    if not got:
        raise SystemExit(f"the video ended after {number} frames")
    outputs = session.run(preprocess(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)))
    answers.append(postprocess(outputs, frame.shape))
    began = began or time.perf_counter()  # what it takes to begin is no part of a rate
seconds = time.perf_counter() - began
print(json.dumps({"fps": (count - 1) / seconds, "answers": len(answers)}))
