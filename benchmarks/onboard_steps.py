"""Preprocess, decode and NMS on this machine as a share of the model's own time: 1 thread.

YOLOv5n at 320, as deployed: the bundle's own runner, its session and its steps, in the Python that
the device runs them in. For each real image the three parts are timed one after the other, so that
whatever else the machine does hits all alike; the ratio is of their medians.

``EDGEKIT_BENCH_STEPS`` names other candidates to time, such as ``tflite:int8,ncnn:fp32`` (engine,
precision); images come from ``coco_tiny/val2017`` below an entry of ``EDGEKIT_DATA_PATH``.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgekit.engines import load_engine

CANDIDATES = "tflite:int8"
IMAGES = 80
ROUNDS = 5
GOAL = 0.3
EDGEKIT = str(Path(sys.executable).with_name("edgekit"))

# Runs with nothing but the bundle's runner and runtime on its path, as on a board.
INSIDE = """
import importlib, json, os, statistics, sys, time
import numpy as np
from edgekit.onboard import native
from edgekit.onboard.pipeline import make_postprocess, make_preprocess

bundle, frames, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
manifest = json.load(open(os.path.join(bundle, "manifest.json")))
job = manifest["job"]
hindered = native.take_up(os.path.join(bundle, native.FILE_NAME))
session_type = importlib.import_module(job["runner"]).Session
session = session_type(bundle, job, manifest["precision"], dict(manifest["knobs"], threads=1))
before = make_preprocess(job["preprocess"], getattr(session, "input_forms", None))
after = make_postprocess(job["postprocess"])
images = [np.load(os.path.join(frames, name)) for name in sorted(os.listdir(frames))]
clock, parts, found = time.perf_counter_ns, ([], [], []), 0
for index in range(rounds + 1):
    for image in images:
        began = clock()
        inputs = before(image)
        fed = clock()
        outputs = session.run(inputs)
        answered = clock()
        found += len(after(outputs, image.shape))
        ended = clock()
        if index:  # the first round is to warm up
            for part, sample in zip(parts, (fed - began, answered - fed, ended - answered)):
                part.append(sample)
medians_ms = [statistics.median(part) / 1e6 for part in parts]
print(json.dumps({"medians_ms": medians_ms, "hindered": hindered, "found": found}))
"""


def frames_into(folder: Path) -> int:
    """Write the images as frames; return how many there are."""
    import cv2
    import numpy as np

    for entry in filter(None, os.environ.get("EDGEKIT_DATA_PATH", "").split(os.pathsep)):
        for file in sorted((Path(entry) / "coco_tiny" / "val2017").glob("*.jpg"))[:IMAGES]:
            image = cv2.imread(str(file))
            if image is not None:
                np.save(folder / f"{file.stem}.npy", image[:, :, ::-1])
    return len(list(folder.iterdir()))


def deploy(engine: str, precision: str, device_root: Path) -> dict[str, Any]:
    """Build and install the candidate; return its row."""
    command = [EDGEKIT, "deploy", "yolov5", "--size", "320", "--target", "local", "--json"]
    command += ["--engine", engine, "--precision", precision, "--threads", "1", "--quick"]
    # What was measured before would not be installed here.
    command += ["--no-activate", "--fresh", "--runs", "2", "--seconds", "0.1"]
    environment = {**os.environ, "EDGEKIT_DEVICE_ROOT": str(device_root)}
    done = subprocess.run(command, env=environment, check=False, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.splitlines()
    rows = json.loads(lines[-1]).get("candidates", []) if lines else []
    built: list[dict[str, Any]] = [row for row in rows if row["bundle"]]
    if not built:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return built[0]


def measure(bundle: Path, frames: Path) -> dict[str, Any]:
    """Time the three parts of every image; return what the runner's side has to say."""
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    runtime = bundle.parents[1] / "runtimes" / manifest["runtime"]["id"]
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("PYTHON")},
        "PYTHONPATH": f"{bundle / 'runner.pyz'}{os.pathsep}{runtime}",
    }
    command = [manifest["runtime"]["python"], "-B", "-s", "-c", INSIDE]
    command += [str(bundle), str(frames), str(ROUNDS)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def figure(engine: str, precision: str, folder: Path) -> dict[str, Any]:
    """Return one candidate's figure."""
    name = f"{engine} {precision} yolov5n@320, 1 thread: pre- and postprocess / model"
    row: dict[str, Any] = {"figure": name, "value": None, "goal": f"at most {GOAL}", "ok": None}
    offered = load_engine(engine).precisions
    if precision not in offered:
        return {**row, "note": f"{engine} offers {', '.join(offered)}"}
    frames, device_root = folder / "frames", folder / "device"
    frames.mkdir(exist_ok=True)
    count = frames_into(frames)
    if not count:
        return {**row, "note": "no coco_tiny/val2017 in EDGEKIT_DATA_PATH"}
    said = measure(
        device_root / "bundles" / deploy(engine, precision, device_root)["bundle"], frames
    )
    before_ms, model_ms, after_ms = said["medians_ms"]
    ratio = (before_ms + after_ms) / model_ms
    note = (
        f"{before_ms:.3f} + {after_ms:.3f} ms beside {model_ms:.3f} ms, medians of {count} images"
    )
    if said["hindered"]:
        note += f"; steps in NumPy: {said['hindered']}"
    return {**row, "value": ratio, "ok": ratio <= GOAL, "note": note, "found": said["found"]}


def main() -> None:
    """Measure and print one figure for each candidate."""
    for candidate in os.environ.get("EDGEKIT_BENCH_STEPS", CANDIDATES).split(","):
        with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as folder:
            print(json.dumps(figure(*candidate.split(":"), Path(folder))), flush=True)


if __name__ == "__main__":
    main()
