"""The same stages as a GStreamer pipeline: its elements decode and scale, an appsink infers.

Usage: python gstreamer.py BUNDLE VIDEO FRAMES KNOBS
"""

import json
import sys
import time
from pathlib import Path

sys.path.append("/usr/lib/python3/dist-packages")  # where Debian keeps GStreamer's bindings

import gi  # type: ignore[import-not-found]
import numpy as np

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # type: ignore[import-not-found]  # noqa: E402

bundle, video, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
knobs = json.loads(sys.argv[4])
sys.path.insert(0, bundle + "/runner.pyz")

from edgekit.engines.onnxruntime.runner import Session  # noqa: E402 - out of the bundle
from edgekit.onboard import native  # noqa: E402
from edgekit.onboard.pipeline import make_postprocess, make_preprocess  # noqa: E402

manifest = json.loads(Path(bundle, "manifest.json").read_text(encoding="utf-8"))
session = Session(bundle, manifest["job"], manifest["precision"], knobs)
height, width = manifest["job"]["preprocess"]["parameters"]["size"]
native.take_up(bundle + "/" + native.FILE_NAME)
forms = getattr(session, "input_forms", None)
preprocess = make_preprocess(manifest["job"]["preprocess"], forms)
postprocess = make_postprocess(manifest["job"]["postprocess"])
session.run(preprocess(np.zeros((height, width, 3), np.uint8)))

Gst.init(None)
pipeline = Gst.parse_launch(
    f"filesrc location={video} ! avidemux ! queue max-size-buffers=2 ! jpegdec ! "
    "queue max-size-buffers=2 ! videoscale add-borders=true ! videoconvert ! "
    f"video/x-raw,format=RGB,width={width},height={height},pixel-aspect-ratio=1/1 ! "
    "queue max-size-buffers=2 ! appsink name=sink sync=false max-buffers=2"
)
sink = pipeline.get_by_name("sink")
pipeline.set_state(Gst.State.PLAYING)
answers = []
began = 0.0
for number in range(count):
    sample = sink.emit("pull-sample")
    if sample is None:
        raise SystemExit(f"the pipeline ended after {number} frames")
    buffer = sample.get_buffer()
    mapped, info = buffer.map(Gst.MapFlags.READ)
    stride = len(info.data) // height
    image = np.frombuffer(info.data, np.uint8).reshape(height, stride)[:, : 3 * width]
    # It has the size of the input already: the step of the bundle only makes numbers of it.
    outputs = session.run(preprocess(image.reshape(height, width, 3)))
    answers.append(postprocess(outputs, (720, 1280, 3)))
    began = began or time.perf_counter()
    buffer.unmap(info)
seconds = time.perf_counter() - began
pipeline.set_state(Gst.State.NULL)
print(json.dumps({"fps": (count - 1) / seconds, "answers": len(answers)}))
