"""The pipelined runner against loops that do the same one after the other, and its own cost.

edgekit deploys once; then the runner of the installed bundle, in a job of kind ``camera``, takes
turns with a plain sequential OpenCV loop over the same session (``camera_loops/sequential.py``),
with a GStreamer pipeline of the same stages where that is there (``camera_loops/gstreamer.py``),
and with itself writing nothing down. The source is a drawn 720p video of JPEG pictures, whose
decoding every one of them has to do. The engine has one thread where a second core is what the
pipeline is for, and in one more run as many as there are cores, where it has little to win.
"""

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
RECIPE = os.environ.get("EDGEKIT_BENCH_RECIPE", "yolov5")
CONFIGS = os.environ.get("EDGEKIT_BENCH_CONFIGS", "128:1,160:1,320:1,320:2").split(",")
FRAMES = int(os.environ.get("EDGEKIT_BENCH_FRAMES", "300"))
TURNS = int(os.environ.get("EDGEKIT_BENCH_TURNS", "5"))
OVERLOAD_FRAMES = 10_000
HALF, GAIN, KEPT_UP, SMALL = 0.5, 1.6, 0.99, 0.02
BLOCK = {"depth": 2, "policy": "block"}
WITHOUT_RECORD = """
import functools, sys
sys.path.insert(0, sys.argv[1])
from edgekit.onboard import harness
from edgekit.onboard.camera import ledger, run, stage
from edgekit.engines.onnxruntime.runner import Session
# Counted still, as without counting no pipeline knows its end; neither timed nor kept.
stage.cpu_ns = stage.core = lambda: 0
run.Ledger = functools.partial(ledger.Ledger, kept_rows=0)
run._Run.tick = lambda _self: None
sys.exit(harness.main(Session, sys.argv[2:]))
"""

GSTREAMER = """
import sys
sys.path.append("/usr/lib/python3/dist-packages")
import gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
sys.exit(not all(map(Gst.ElementFactory.find, ("avidemux", "jpegdec", "videoscale"))))
"""
SOURCE = {"kind": "video", "name": "", "width": 0, "height": 0, "format": "", "fps": 0}


class Bench:
    """A deployed bundle, a video, and the programs that run both."""

    def __init__(self, folder: Path, size: int, threads: int, video: Path) -> None:
        self.folder, self.video = folder, video
        self.title = f"{RECIPE}@{size}, threads {threads}, 720p"
        root = folder / f"device-{size}-{threads}"
        self.bundle = deployed(root, size, threads)
        manifest = json.loads((self.bundle / "manifest.json").read_text(encoding="utf-8"))
        self.manifest = manifest
        opencv = find_spec("cv2")
        if opencv is None or opencv.origin is None:
            raise SystemExit("OpenCV is not installed here")
        # The engine's packages first; of this environment only what they lack, which is OpenCV.
        paths = [root / "runtimes" / manifest["runtime"]["id"], Path(opencv.origin).parents[1]]
        self.paths = os.pathsep.join(map(str, paths))

    def said(self, *words: str) -> str:
        """Run Python with the packages of the device."""
        environment = {**os.environ, "PYTHONPATH": self.paths}
        done = subprocess.run(
            [sys.executable, "-S", *words],
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{words[:2]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return done.stdout

    def loop_fps(self, program: str) -> float:
        """Return what a loop beside this file reaches."""
        script = str(HERE / "camera_loops" / f"{program}.py")
        told = self.said(script, str(self.bundle), str(self.video), str(FRAMES))
        return float(json.loads(told.splitlines()[-1])["fps"])

    def pipeline(self, *, recorded: bool = True, **changes: object) -> "Record":
        """Run the pipeline; return what it wrote down."""
        output = self.folder / "job"
        output.mkdir(exist_ok=True)
        pipeline = {
            "source": {
                "kind": "video",
                "name": str(self.video),
                **dict.fromkeys(("width", "height"), 0),
                "format": "",
                "fps": 0,
            },
            "queue": BLOCK,
            "queues": {},
            "sink": {"kind": "none", "path": ""},
            "seconds": 0,
            "frames": FRAMES,
            "placement": {},
            "batch": 1,
            "memory_mb": 256,
            "preview": None,
            "adapt": None,
            **changes,
        }
        manifest = self.manifest
        job = {
            "folder": str(self.bundle),
            "job": manifest["job"],
            "engine": manifest["engine"],
            "precision": manifest["precision"],
            "knobs": manifest["knobs"],
            "kind": "camera",
            "pipeline": pipeline,
            "output": str(output),
        }
        path = output / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        runner = str(self.bundle / "runner.pyz")
        self.said(*((runner,) if recorded else ("-c", WITHOUT_RECORD, runner)), str(path))
        return Record(output)


class Record:
    """A finished run."""

    def __init__(self, folder: Path) -> None:
        self.told = json.loads((folder / "camera.json").read_text(encoding="utf-8"))
        rows = np.load(folder / "frames.npy")
        self.at = (
            {name: rows[:, index] for index, name in enumerate(self.told["columns"])}
            if rows.size
            else {}
        )

    @property
    def fps(self) -> float:
        """Frames delivered in the line's time."""
        first, last = self.told["span_ns"]
        return float(self.told["counts"]["delivered"] * 1e9 / (last - first))

    def shares(self) -> dict[str, float]:
        """Return what share of all work each stage has, the source's included."""
        done = self.at["end"] == 0
        work = {
            stage: float(np.sum((self.at[f"{stage}.end_ns"] - self.at[f"{stage}.start_ns"])[done]))
            for stage in self.told["stages"]
        }
        work["camera"] = float(self.told["capture"]["cpu_ns"])
        whole = sum(work.values())
        return {stage: spent / whole for stage, spent in work.items()}

    def closure(self) -> float:
        """Return the sum of stages and waits over the latency, both measured apart."""
        done = self.at["end"] == 0
        parts = (self.at["arrived_ns"] - self.at["captured_ns"])[done].astype(float)
        for stage in self.told["stages"]:
            parts += (self.at[f"{stage}.end_ns"] - self.at[f"{stage}.start_ns"])[done]
            parts += (self.at[f"{stage}.start_ns"] - self.at[f"{stage}.offered_ns"])[done]
        latency = (self.at["ended_ns"] - self.at["captured_ns"])[done]
        return float(parts.sum() / latency.sum())


def deployed(root: Path, size: int, threads: int) -> Path:
    """Deploy through edgekit; return the folder of the installed bundle."""
    command = [
        str(Path(sys.executable).with_name("edgekit")),
        *("deploy", RECIPE, "--target", "local", "--engine", "onnxruntime", "--size", str(size)),
        *("--precision", "fp32", "--threads", str(threads), "--runs", "3", "--seconds", "0"),
        "--json",
    ]
    environment = {**os.environ, "EDGEKIT_DEVICE_ROOT": str(root)}
    done = subprocess.run(command, env=environment, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    (row,) = json.loads(done.stdout.splitlines()[-1])["candidates"]
    return root / "bundles" / str(row["bundle"])


def drawn_video(path: Path, frames: int) -> Path:
    """Write a 720p video of JPEG pictures with shapes that move over a rough ground."""
    import cv2

    random = np.random.default_rng(0)
    ground = cv2.resize(random.integers(0, 255, (90, 160, 3), np.uint8), (1280, 720))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (1280, 720))
    for number in range(frames):
        frame = ground.copy()
        at = (40 + 7 * number % 1200, 40 + 5 * number % 640)
        cv2.circle(frame, at, 60, (0, 0, 255), -1)
        cv2.putText(frame, str(number), at, cv2.FONT_HERSHEY_SIMPLEX, 2, (255, 255, 255), 3)
        writer.write(frame)
    writer.release()
    return path


def tell(figure: str, values: list[float], goal: str, *, ok: bool | None, note: str = "") -> None:
    """Print one figure."""
    spread = f"{len(values)} turns, from {min(values):.3f} to {max(values):.3f}"
    table = {"figure": figure, "value": round(median(values), 4), "goal": goal, "ok": ok}
    print(json.dumps({**table, "note": "; ".join(filter(None, (spread, note)))}), flush=True)


def compare(bench: Bench) -> None:
    """Pipelined against sequential, GStreamer and itself without a record, by turns."""
    gstreamer = has_gstreamer()
    against, bare, gst, closures = [], [], [], []
    shares: dict[str, float] = {}
    fps = 0.0
    for _turn in range(TURNS):
        ours = bench.pipeline()
        shares, fps = ours.shares(), ours.fps
        closures.append(ours.closure())
        against.append(ours.fps / bench.loop_fps("sequential"))
        bare.append(1 - bench.pipeline().fps / bench.pipeline(recorded=False).fps)
        if gstreamer:
            gst.append(ours.fps / bench.loop_fps("gstreamer"))
    largest = max(shares, key=lambda stage: shares[stage])
    balanced = shares[largest] <= HALF
    note = f"{fps:.1f} fps; {largest} has {shares[largest]:.0%} of the work"
    least = GAIN if balanced else 1.0
    name = f"{bench.title}, as fast as it can"
    tell(
        f"pipelined over sequential OpenCV loop, {name}",
        against,
        f"at least {least}",
        ok=median(against) >= least,
        note=note,
    )
    tell(f"what writing down costs, {name}", bare, "at most 0.02", ok=median(bare) <= SMALL)
    gap = max(abs(closure - 1) for closure in closures)
    tell(f"stages and waits over latency, {name}", closures, "within 0.02 of 1", ok=gap <= SMALL)
    what = f"pipelined over GStreamer with an appsink, {name}"
    if gst:
        tell(what, gst, "at least 1.0", ok=median(gst) >= 1.0)
    else:
        absent = {"ok": None, "note": "GStreamer's Python bindings are not installed"}
        table = {"figure": what, "value": None, "goal": "at least 1.0", **absent}
        print(json.dumps(table), flush=True)


def drawn(width: int, height: int, four: str, *, fps: float) -> dict[str, Any]:
    """Return a source of test frames."""
    size = {"width": width, "height": height}
    return {**SOURCE, **size, "kind": "drawn", "format": four, "fps": fps}


def at_camera_rate(bench: Bench) -> None:
    """A camera of 30 frames a second: what can be kept up with is delivered whole."""
    run = bench.pipeline(
        source=drawn(1280, 720, "YUYV", fps=30),
        queue={"depth": 2, "policy": "latest"},
    )
    counts = run.told["counts"]
    share = counts["delivered"] / (counts["captured"] + counts["lost"])
    tell(
        f"share delivered of a camera of 30 fps, {bench.title}",
        [share],
        "at least 0.99",
        ok=share >= KEPT_UP,
        note=f"{run.fps:.1f} fps",
    )


def overload(bench: Bench) -> None:
    """More frames than anything could infer: every one has an end."""
    run = bench.pipeline(
        source=drawn(160, 120, "RGB3", fps=0),
        queue={"depth": 2, "policy": "latest"},
        frames=OVERLOAD_FRAMES,
    )
    counts = run.told["counts"]
    ends = counts["delivered"] + sum(sum(causes.values()) for causes in counts["dropped"].values())
    whole = len(set(run.at["number"].tolist())) == OVERLOAD_FRAMES == counts["captured"] == ends
    tell(
        f"frames of {OVERLOAD_FRAMES} with one end, under overload",
        [float(ends)],
        f"{OVERLOAD_FRAMES}, exactly",
        ok=whole,
        note=json.dumps(counts),
    )


def has_gstreamer() -> bool:
    """Tell whether GStreamer's bindings and its plug-ins are there."""
    done = subprocess.run([sys.executable, "-c", GSTREAMER], check=False, capture_output=True)
    return done.returncode == 0


def main() -> None:
    """Measure and print the figures."""
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as name:
        folder = Path(name)
        video = drawn_video(folder / "video.avi", FRAMES)
        for config in CONFIGS:
            size, threads = map(int, config.split(":"))
            bench = Bench(folder, size, threads, video)
            compare(bench)
            at_camera_rate(bench)
        overload(bench)


if __name__ == "__main__":
    main()
