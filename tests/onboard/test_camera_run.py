"""A whole job of kind ``camera`` in the runner's harness, with a session that knows each frame."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgekit.onboard.camera.pixels import to_rgb
from edgekit.onboard.camera.sources import make_source

SIZE = [48, 64]
DRAWN = {"kind": "drawn", "name": "", "width": 320, "height": 240, "format": "YUYV", "fps": 0}
PIPELINE = {
    "source": DRAWN,
    "queue": {"depth": 2, "policy": "block"},
    "queues": {},
    "sink": {"kind": "none", "path": ""},
    "seconds": 0,
    "frames": 40,
    "placement": {},
    "batch": 1,
    "memory_mb": 64,
    "preview": None,
    "adapt": None,
}
RUNNER = """
import sys, time
import numpy as np
from edgekit.onboard import harness
from edgekit.onboard.camera.sources.drawn import number_of

class Session:
    def __init__(self, folder, job, precision, knobs):
        if knobs.get("refuse_load"):
            raise RuntimeError("it was not to be loaded")
        self.nap_s = knobs.get("nap_s", 0)
        self.reads_numbers = knobs.get("reads_numbers", 0)
        self.rows = knobs.get("rows")
        self.fail_at, self.calls = knobs.get("fail_at", 0), 0

    def run(self, inputs):
        self.calls += 1
        if self.calls == self.fail_at:
            raise RuntimeError("out of luck")
        time.sleep(self.nap_s)
        if self.rows:
            return {"y": np.array([self.rows], np.float32)}
        if not self.reads_numbers:
            return {"y": inputs["images"].mean(axis=(2, 3))}
        rgb = np.rint(inputs["images"][0].transpose(1, 2, 0) * 255).astype(np.uint8)
        return {"y": np.array([[number_of(rgb), -1, -1]], np.float32)}

    def versions(self):
        return {"session": "1"}

sys.exit(harness.main(Session, sys.argv[1:]))
"""
ROOT = Path(__file__).resolve().parents[2]


def job(folder, *, pipeline=None, size=SIZE, **changes):
    """Write a job; return its path."""
    images = {"name": "images", "dtype": "float32", "shape": [1, 3, *size]}
    table = {
        "folder": str(folder),
        "job": {
            "inputs": [images],
            "outputs": [{"name": "y", "dtype": "float32", "shape": [1, 3]}],
            "preprocess": {"name": "resize", "parameters": {"size": size}},
            "postprocess": {"name": "classify", "parameters": {"top_k": 1}},
        },
        "engine": "test",
        "precision": "fp32",
        "knobs": {"threads": 1, **changes.pop("knobs", {})},
        "kind": "camera",
        "bundle": "heavy",
        "pipeline": {**PIPELINE, **(pipeline or {})},
        "output": str(folder),
        **changes,
    }
    path = folder / "job.json"
    path.write_text(json.dumps(table))
    return path


def start(folder, **changes):
    """Start the runner on a job of these changes."""
    return launch(job(folder, **changes))


def launch(path):
    """Start the runner, as an agent does."""
    return subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def finished(folder, process, *, timeout=60):
    """Wait for the runner; return its events, its record and the rows by column."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    record = json.loads((folder / "camera.json").read_text())
    rows = np.load(folder / "frames.npy")
    at = {name: rows[:, index] for index, name in enumerate(record["columns"])}
    counts = record["counts"]
    dropped = sum(sum(causes.values()) for causes in counts["dropped"].values())
    assert counts["captured"] == counts["delivered"] + dropped == len(rows)
    return events, record, at


def run(folder, **changes):
    return finished(folder, start(folder, **changes))


def test_every_frame_of_a_source_is_inferred_once_and_in_order(tmp_path):
    _, record, at = run(tmp_path)
    assert record["counts"] == {"captured": 40, "delivered": 40, "dropped": {}, "lost": 0}
    assert at["number"].tolist() == list(range(40))
    assert record["stages"] == ["decode", "preprocess", "inference", "postprocess", "sink"]
    assert record["bundles"] == ["heavy"]
    assert record["broken"] == ""
    assert record["source"]["kind"] == "drawn"
    assert (at["bundle"] == 0).all()
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["camera"]["files"] == ["camera.json", "frames.npy"]
    assert result["versions"]["session"] == "1"


def test_stages_and_waits_make_up_the_latency(tmp_path):
    _, record, at = run(tmp_path, knobs={"nap_s": 0.002})
    parts = at["arrived_ns"] - at["captured_ns"]
    before = at["arrived_ns"]
    for stage in record["stages"]:
        parts = parts + (at[f"{stage}.end_ns"] - at[f"{stage}.start_ns"])
        parts = parts + (at[f"{stage}.start_ns"] - at[f"{stage}.offered_ns"])
        assert (at[f"{stage}.offered_ns"] >= before).all()
        before = at[f"{stage}.end_ns"]
    latency = at["ended_ns"] - at["captured_ns"]
    assert abs(parts.sum() / latency.sum() - 1) < 0.02


def test_more_than_can_be_inferred_is_dropped_with_its_cause(tmp_path):
    changes = {"queue": {"depth": 2, "policy": "latest"}, "frames": 300}
    _, record, _ = run(tmp_path, pipeline=changes, knobs={"nap_s": 0.02})
    counts = record["counts"]
    assert counts["delivered"] < 300
    assert set().union(*counts["dropped"].values()) == {"latest"}


def test_each_second_is_told(tmp_path):
    events, record, _ = run(tmp_path, pipeline={"frames": 0, "seconds": 2.6}, knobs={"nap_s": 0.01})
    seconds = [event for event in events if event["phase"] == "second"]
    assert len(seconds) == 2
    for event in seconds:
        assert event["event"] == "camera"
        assert event["fps"] > 0
        assert event["latency_ms"] > 10
        assert set(event["stages"]) == set(record["stages"])
    assert seconds[0]["delivered"] < seconds[1]["delivered"] <= record["counts"]["delivered"]
    assert record["span_ns"][1] - record["span_ns"][0] > 2.6e9


def test_work_that_takes_longer_than_a_second_is_seen_in_each(tmp_path):
    events, _, _ = run(tmp_path, knobs={"nap_s": 1.3}, pipeline={"frames": 0, "seconds": 3.3})
    seconds = [event for event in events if event["phase"] == "second"]
    assert len(seconds) >= 3
    for event in seconds:
        # A little of the next second may be in it.
        assert 0 < event["stages"]["inference"]["busy"] < 1.2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_with_its_record(tmp_path, number):
    process = start(tmp_path, pipeline={"frames": 0}, knobs={"nap_s": 0.01})
    assert json.loads(process.stdout.readline())["phase"] == "second"
    began = time.monotonic()
    process.send_signal(number)
    _, record, _ = finished(tmp_path, process)
    assert time.monotonic() - began < 30
    assert record["broken"] == ""
    assert set(record["counts"]["dropped"]) == set()


def test_inference_that_fails_is_told_and_the_record_kept(tmp_path):
    # The first call is on a blank frame, before the line begins.
    _, record, at = run(tmp_path, knobs={"fail_at": 11})
    assert record["broken"] == "inference failed: RuntimeError: out of luck"
    assert record["counts"]["dropped"]["inference"]["failed"] == 1
    assert np.count_nonzero(at["end"] == record["ends"].index("delivered")) <= 10


def test_lighter_bundle_takes_over_when_late(tmp_path):
    adapt = {"late_ms": 20.0, "back_ms": 1.0, "after_s": 1.0, "back_after_s": 60.0}
    adapt.update(hot_c=0.0, back_c=0.0)
    heavy = json.loads(job(tmp_path).read_text())
    lighter = {**heavy, "bundle": "light", "knobs": {"threads": 1, "nap_s": 0.001}}
    _, record, at = run(
        tmp_path,
        pipeline={"frames": 0, "seconds": 5, "adapt": adapt},
        knobs={"nap_s": 0.1},
        lighter=[lighter],
    )
    assert record["bundles"] == ["heavy", "light"]
    [(at_ns, before, after, why)] = record["switches"]
    assert (before, after) == (0, 1)
    assert "late" in why
    # No frame is lost by it, and each says which it was.
    bundles = at["bundle"][np.argsort(at["number"])]
    assert (np.diff(bundles) >= 0).all()
    assert set(bundles) == {0, 1}
    light = at["bundle"] == 1
    assert (at["preprocess.start_ns"][light] >= at_ns - 1_000_000_000).all()
    spent = at["inference.end_ns"] - at["inference.start_ns"]
    assert np.median(spent[light]) < np.median(spent[~light])


def test_stage_is_placed_on_its_cores(tmp_path):
    _, _, at = run(tmp_path, pipeline={"placement": {"decode": "0", "inference": "0"}})
    assert set(at["decode.core"]) == {0}
    assert set(at["inference.core"]) == {0}


def test_sink_that_cannot_go_on_ends_it_with_its_record(tmp_path):
    _, record, _ = run(tmp_path, pipeline={"sink": {"kind": "lines", "path": "/dev/full"}})
    assert "sink" in record["broken"]
    assert record["counts"]["dropped"]["sink"]


def numbered_video(path, count):
    """Write a video whose frames hold their numbers in their pixels."""
    source = make_source({**DRAWN, "format": "RGB3"})
    source.open()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (320, 240))
    for _number in range(count):
        captured = source.read(1)
        writer.write(np.ascontiguousarray(to_rgb(captured)[..., ::-1]))
        captured.release()
    writer.release()
    source.close()


@pytest.mark.parametrize(("policy", "nap_s"), [("block", 0.001), ("latest", 0.01)])
def test_frames_of_a_numbered_video_come_in_order_and_are_those_that_are_told(
    tmp_path, policy, nap_s
):
    video = tmp_path / "numbered.avi"
    numbered_video(video, 200)
    _, record, at = run(
        tmp_path,
        pipeline={
            "source": {**DRAWN, "kind": "video", "name": str(video), "width": 0, "height": 0}
            | {"format": ""},
            "queue": {"depth": 2, "policy": policy},
            "sink": {"kind": "lines", "path": str(tmp_path / "answers.jsonl")},
            "frames": 0,
        },
        knobs={"nap_s": nap_s, "reads_numbers": 1},
        size=[240, 320],
    )
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    # What the pixels say is what the line counted, whatever was dropped before.
    assert [line["answers"][0][1] for line in lines] == [line["number"] for line in lines]
    numbers = [line["number"] for line in lines]
    assert numbers == sorted(set(numbers))
    delivered = at["end"] == record["ends"].index("delivered")
    by_number = np.argsort(at["number"][delivered])
    assert numbers == at["number"][delivered][by_number].tolist()
    stamps = [line["captured_ns"] for line in lines]
    assert stamps == at["captured_ns"][delivered][by_number].tolist()
    assert record["counts"]["captured"] == 200
    if policy == "block":
        assert numbers == list(range(200))
    else:
        assert len(numbers) < 200


HD = {**DRAWN, "width": 1280, "height": 720, "format": "NV12"}


@pytest.mark.parametrize(
    ("changes", "by"),
    [
        ({"decode": "reduced"}, 4),
        ({"decode": "reduced", "sink": {"kind": "lines", "path": "/dev/null"}}, 4),
        ({"decode": "reduced", "sink": {"kind": "memory", "path": ""}}, 1),
        ({"decode": "reduced", "preview": {"fps": 5, "width": 400}}, 2),
        ({"decode": "whole"}, 1),
        ({}, 1),  # as asked by an edgekit that knew of no other
    ],
)
def test_picture_is_as_small_as_whoever_looks_at_it_allows(tmp_path, changes, by):
    _, record, _ = run(tmp_path, pipeline={"source": HD, "frames": 3, **changes})
    assert record["decoded"] == {"by": by, "width": 1280 // by, "height": 720 // by}
    assert record["counts"]["delivered"] == 3


def test_most_demanding_of_two_bundles_decides_how_small(tmp_path):
    heavy = json.loads(job(tmp_path, size=[180, 320]).read_text())
    adapt = {"late_ms": 1e6, "back_ms": 1.0, "after_s": 1.0, "back_after_s": 60.0}
    adapt.update(hot_c=0.0, back_c=0.0)
    asked = {"source": HD, "frames": 3, "decode": "reduced", "adapt": adapt}
    _, record, _ = run(tmp_path, pipeline=asked, lighter=[{**heavy, "bundle": "larger"}])
    assert record["bundles"] == ["heavy", "larger"]
    assert record["decoded"]["by"] == 2


@pytest.mark.parametrize("decode", ["reduced", "whole"])
def test_boxes_and_previews_are_of_the_whole_frame_however_it_was_decoded(tmp_path, decode):
    # One row of a detector: a box of the input's middle half, which is the frame's.
    rows = [[32, 24, 32, 24, 0.9, 1.0]]
    path = job(
        tmp_path,
        pipeline={
            "source": HD,
            "frames": 4,
            "decode": decode,
            "sink": {"kind": "lines", "path": str(tmp_path / "answers.jsonl")},
            "preview": {"fps": 1000, "width": 320},
        },
        knobs={"rows": rows},
    )
    table = json.loads(path.read_text())
    described = table["job"]
    described["outputs"] = [{"name": "y", "dtype": "float32", "shape": [1, 1, 6]}]
    described["postprocess"] = {
        "name": "yolov5",
        "parameters": {"size": SIZE, "fit": "stretch"},
    }
    path.write_text(json.dumps(table))
    events, record, _ = finished(tmp_path, launch(path))
    assert record["decoded"]["by"] == (4 if decode == "reduced" else 1)
    for line in (tmp_path / "answers.jsonl").read_text().splitlines():
        [box] = json.loads(line)["answers"]
        assert box[:4] == pytest.approx([320, 180, 960, 540], abs=0.01)
    shown = [event for event in events if event["phase"] == "preview"]
    assert shown
    for event in shown:
        assert (event["width"], event["height"]) == (320, 180)
        [box] = event["answers"]
        assert box[:4] == pytest.approx([80, 45, 240, 135], abs=0.1)


def test_folder_of_images_of_several_sizes_is_inferred_whole(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for number, size in enumerate([(64, 48), (32, 24), (64, 48), (16, 90)]):
        cv2.imwrite(str(images / f"{number}.png"), np.zeros((*size, 3), np.uint8))
    source = {**DRAWN, "kind": "folder", "name": str(images), "width": 0, "height": 0}
    asked = {"source": {**source, "format": ""}, "frames": 0}
    _, record, _ = run(tmp_path, pipeline=asked)
    assert record["counts"] == {"captured": 4, "delivered": 4, "dropped": {}, "lost": 0}


def test_camera_that_is_not_there_is_told_before_a_model_is_loaded(tmp_path):
    source = {**DRAWN, "kind": "v4l2", "name": "/dev/video977"}
    process = start(tmp_path, pipeline={"source": source}, knobs={"refuse_load": 1})
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "there is no camera /dev/video977" in err.splitlines()[-1]


def test_job_that_cannot_be_meant_ends_in_words(tmp_path):
    for changes, words in [
        ({"source": {**DRAWN, "kind": "telescope"}}, "telescope"),
        ({"batch": 4}, "infers 1 frame(s) at once, not 4"),
        ({"placement": {"decode": "977"}}, "977"),
    ]:
        process = start(tmp_path, pipeline=changes)
        _, err = process.communicate(timeout=60)
        told = (tmp_path / "camera.json").read_text() if process.returncode == 0 else err
        assert words in told
        assert process.returncode == 1 or json.loads(told)["broken"]
