"""The pipelined runner against loops that do the same one after the other, and its own cost.

edgekit deploys once; then the runner of the installed bundle, in a job of kind ``camera``, takes
turns with a plain sequential OpenCV loop over the same session (``camera_loops/sequential.py``) and
with a GStreamer pipeline of the same stages where that is there (``camera_loops/gstreamer.py``):
as it is, which decodes at a part of the frames' size where the model can use no more, and once more
decoding whole frames. What writing down costs is told by many short turns within one process
(``camera_loops/recorded.py``), as processes differ by more than that. The source is a drawn 720p
video of JPEG pictures, whose decoding every one of them has to do. The engine has one thread where
a second core is what the pipeline is for, and in one more run as many as there are cores, where it
has little to win.
"""

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
RECIPE = os.environ.get("EDGEKIT_BENCH_RECIPE", "yolov5")
CONFIGS = os.environ.get("EDGEKIT_BENCH_CONFIGS", "128:1,160:1,320:1,320:2").split(",")
FRAMES = int(os.environ.get("EDGEKIT_BENCH_FRAMES", "600"))
TURNS = int(os.environ.get("EDGEKIT_BENCH_TURNS", "5"))
SHORT_TURNS = int(os.environ.get("EDGEKIT_BENCH_SHORT_TURNS", "100"))
SHORT_FRAMES = 100
COMPARED = "none: for comparison"
OVERLOAD_FRAMES = 10_000
HALF, GAIN, KEPT_UP, SMALL = 0.5, 1.6, 0.99, 0.02
# As edgekit runs ONNX Runtime beside other stages (``Knob.shared``): threads that wait leave their
# core to these. The plain loop has no others.
SLEEP = {"spinning": 0}
BLOCK = {"depth": 2, "policy": "block"}
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
        self.knobs = {"sequential": manifest["knobs"], "gstreamer": manifest["knobs"] | SLEEP}

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
        about = (str(self.bundle), str(self.video), str(FRAMES), json.dumps(self.knobs[program]))
        told = self.said(script, *about)
        return float(json.loads(told.splitlines()[-1])["fps"])

    def costs(self) -> list[dict[str, dict[str, float]]]:
        """Return ``fps`` and ``cpu_ms`` of the pipeline with and without its record, each turn."""
        script = str(HERE / "camera_loops" / "recorded.py")
        job = str(self._job(frames=SHORT_FRAMES))
        told = self.said(script, str(self.bundle / "runner.pyz"), job, str(SHORT_TURNS))
        return [json.loads(line) for line in told.splitlines() if line.startswith('{"recorded"')]

    def pipeline(self, **changes: object) -> "Record":
        """Run the pipeline; return what it wrote down."""
        job = self._job(**changes)
        self.said(str(self.bundle / "runner.pyz"), str(job))
        return Record(job.parent)

    def _job(self, **changes: object) -> Path:
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
            "decode": "reduced",
            **changes,
        }
        manifest = self.manifest
        job = {
            "folder": str(self.bundle),
            "job": manifest["job"],
            "engine": manifest["engine"],
            "precision": manifest["precision"],
            "knobs": manifest["knobs"] | SLEEP,
            "kind": "camera",
            "pipeline": pipeline,
            "output": str(output),
        }
        path = output / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        return path


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
        """Answers a second, from the first to the last, as the loops reckon them."""
        ended = self.at["ended_ns"][self.at["end"] == 0]
        return float((len(ended) - 1) * 1e9 / (ended.max() - ended.min()))

    @property
    def is_reduced(self) -> bool:
        """Whether frames were decoded at a part of their size."""
        return bool(self.told["decoded"]["by"] > 1)

    @property
    def decoded(self) -> str:
        """At what size frames were decoded, in words."""
        return f"decoded at 1/{self.told['decoded']['by']}" if self.is_reduced else "decoded whole"

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
    """Pipelined against sequential and GStreamer by turns, as it is and decoding whole frames."""
    others = ["sequential", *(["gstreamer"] if has_gstreamer() else [])]
    ways = ["reduced", "whole"]
    ratios: dict[tuple[str, str], list[float]] = {}
    closures: list[float] = []
    for _turn in range(TURNS):
        runs = {way: bench.pipeline(decode=way) for way in ways}
        closures.append(runs[ways[0]].closure())
        for other in others:
            fps = bench.loop_fps(other)
            for way in ways:
                ratios.setdefault((other, way), []).append(runs[way].fps / fps)
        if not runs[ways[0]].is_reduced:
            ways = ways[:1]  # the same again
    for way in ways:
        against = {other: ratios[other, way] for other in others}
        against_loops(bench, runs[way], against, chosen=way == ways[0])
    gap = max(abs(closure - 1) for closure in closures)
    name = f"{bench.title}, as fast as it can"
    tell(f"stages and waits over latency, {name}", closures, "within 0.02 of 1", ok=gap <= SMALL)
    costs_of_record(bench, name)


def costs_of_record(bench: Bench, name: str) -> None:
    """Tell what share of its frames a second the pipeline pays for writing down what it does."""
    turns = bench.costs()
    costs = [1 - turn["recorded"]["fps"] / turn["bare"]["fps"] for turn in turns]
    error = stdev(costs) / len(costs) ** 0.5
    with_it, without = (
        median(turn[which]["cpu_ms"] for turn in turns) for which in ("recorded", "bare")
    )
    tell(
        *(f"what writing down costs, {name}", costs, "at most 0.02"),
        ok=median(costs) <= SMALL,
        note=f"mean {mean(costs):.4f} +- {error:.4f}; processor time of a frame {with_it:.3f} ms, "
        f"without {without:.3f}",
    )


def against_loops(
    bench: Bench, run: "Record", ratios: dict[str, list[float]], *, chosen: bool
) -> None:
    """Tell what one way to decode reaches against the loops; ``chosen``: it is the default."""
    shares = run.shares()
    largest = max(shares, key=lambda stage: shares[stage])
    least = GAIN if shares[largest] <= HALF else 1.0
    name = f"{bench.title}, as fast as it can, {run.decoded}"
    tell(
        f"pipelined over sequential OpenCV loop, {name}",
        ratios["sequential"],
        f"at least {least}" if chosen else COMPARED,
        ok=not chosen or median(ratios["sequential"]) >= least,
        note=f"{run.fps:.1f} fps; {largest} has {shares[largest]:.0%} of the work",
    )
    what = f"pipelined over GStreamer with an appsink, {name}"
    goal = "at least 1.0" if chosen else COMPARED
    if "gstreamer" in ratios:
        ok = not chosen or median(ratios["gstreamer"]) >= 1.0
        tell(what, ratios["gstreamer"], goal, ok=ok)
    else:
        absent = {"ok": None, "note": "GStreamer's Python bindings are not installed"}
        print(json.dumps({"figure": what, "value": None, "goal": goal, **absent}), flush=True)


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
