"""TVM for an RK3566 in instructions: what tuning saves, and int8; and how long its build takes.

On the virtual board, whose instructions QEMU counts: the same in every run, and no speed. Tuning
counts too (``--cost instructions``), with records apart from the user's own. Times of
``EDGEKIT_BENCH_TUNE`` such as ``10m`` are for float32 and for int8 each.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgekit.app.arena import frame_content
from edgekit.app.bundles import Feasible, assemble, feasible
from edgekit.app.counting import Inference, count_inference
from edgekit.app.devices import locate, open_device
from edgekit.app.models import prepared_model, resolve_recipe
from edgekit.app.tuned import with_records
from edgekit.board.user_mode import find_board
from edgekit.catalog.targets import load_target
from edgekit.core.candidate import Candidate
from edgekit.core.events import ignore
from edgekit.core.names import Precision
from edgekit.core.quantisation import Quantisation
from edgekit.prepare.calibration import load_calibration
from edgekit.prepare.frames import frames_of

EDGEKIT = str(Path(sys.executable).with_name("edgekit"))
TARGET, SIZE = "rk3566", 320
MINUTES = float(os.environ.get("EDGEKIT_BENCH_TUNE", "10m").removesuffix("m"))
MOST_TUNED = 1 / 4
MOST_INT8 = 1 / 8
MOST_BUILD_S = 60.0


def tune(precision: Precision) -> str:
    """Tune by counting; return how much was tried."""
    command = [EDGEKIT, "tune", "yolov5", "--size", str(SIZE), "--target", TARGET]
    command += ["--device", "virtual", "--cost", "instructions", "--precision", precision]
    command += ["--time", f"{MINUTES:g}m", "--json"]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    report = json.loads(done.stdout.splitlines()[-1])
    return f"{report['trials']} trials in {report['seconds']:.0f} s"


class Counter:
    """Builds the model and counts one inference of it."""

    def __init__(self, photo: Path) -> None:
        self.recipe, self.target = resolve_recipe("yolov5"), load_target(TARGET)
        self.model = prepared_model(self.recipe, (SIZE, SIZE), emit=ignore)
        (self.frame,) = frames_of([photo])

    def count(self, precision: Precision, *, tuned: bool) -> tuple[int, float]:
        """Return instructions of an inference, and seconds of the build."""
        with open_device(locate("virtual", TARGET), self.target, emit=ignore) as device:
            how = Quantisation("average") if precision == "int8" else None
            candidate = Candidate("tvm", precision, (("threads", 1),), quantisation=how)
            plan = feasible(candidate, self.model, self.target, device.facts)
            if not isinstance(plan, Feasible):
                raise SystemExit(plan.reason)
            calibration = (
                load_calibration(self.recipe, self.model, images=None, count=None, emit=ignore)
                if how
                else None
            )
            if tuned:
                known = with_records(plan, self.model, self.target, emulated=True, emit=ignore)
                if known is None:
                    raise SystemExit("tuning left no records")
                plan = known
            began = time.perf_counter()
            bundle = assemble(
                plan, self.model, self.target, device.facts, calibration=calibration, emit=ignore
            )
            took_s = time.perf_counter() - began
            bundle = replace(bundle, name="counted")
            device.push([*bundle.content, *frame_content([self.frame])], ignore)
            device.install(bundle, ignore)
            inference = Inference(bundle.identity, self.frame.sha256)
            return count_inference(device, find_board(TARGET), inference).instructions, took_s


def show(figure: str, value: float, goal: str, ok: bool, note: str) -> None:
    """Print one figure."""
    row = {"figure": f"yolov5@{SIZE}, {TARGET}: {figure}", "value": value, "goal": goal}
    print(json.dumps({**row, "ok": ok, "note": note}), flush=True)


def main() -> None:
    """Tune, build, count, and print the figures."""
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as folder:
        os.environ["EDGEKIT_RECORDS_DIR"] = folder
        photo = Path(folder, "photo.ppm")
        pixels = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
        photo.write_bytes(b"P6 320 240 255\n" + pixels.tobytes())
        counter = Counter(photo)
        untuned, _ = counter.count("fp32", tuned=False)
        took = tune("fp32")
        tuned, build_s = counter.count("fp32", tuned=True)
        note = f"{untuned / 1e6:,.0f} to {tuned / 1e6:,.0f} million, {took}; emulated, no speed"
        share = tuned / untuned
        show("instructions, tuned against untuned", share, "<= 1/4", share <= MOST_TUNED, note)
        what = "cross-compiling with records, seconds"
        show(what, build_s, "under 60", build_s < MOST_BUILD_S, "with putting the bundle together")
        took = tune("int8")
        int8, _ = counter.count("int8", tuned=True)
        note = f"{untuned / 1e6:,.0f} to {int8 / 1e6:,.0f} million, {took}; emulated, no speed"
        share = int8 / untuned
        what = "instructions, tuned int8 against untuned float32"
        show(what, share, "<= 1/8", share <= MOST_INT8, note)


if __name__ == "__main__":
    main()
