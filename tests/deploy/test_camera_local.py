"""A camera's pipeline with a model that is built for it."""

import json
import shutil

import cv2
import numpy as np
import pytest
import trace_processor

from edgekit.catalog.folders import builtin_folder

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.toolbox]

ADAPT = """
[pipeline.adapt]
lighter = "int8"
late_ms = 0.001
after_s = 1
"""


@pytest.fixture
def adaptive(own_state, monkeypatch):
    """Return the name of a recipe whose pipeline soon takes the lighter bundle."""
    folder = own_state / "catalog/recipes"
    shutil.copytree(builtin_folder("recipes"), folder)
    (folder / "shapes-adaptive.toml").write_text((folder / "shapes.toml").read_text() + ADAPT)
    monkeypatch.setenv("EDGEKIT_CATALOG_PATH", str(folder.parent))
    return "shapes-adaptive"


def prepared_to_judge(done):
    """Return what was loaded that a race judges its candidates on."""
    steps = {line.get("step") for line in done.lines}
    return steps & {"frames", "reference", "evaluation", "calibration-side"}


def test_model_that_is_named_is_built_sent_and_not_activated(edgekit):
    asked = ("--target", "local", "--engine", "onnxruntime", "--frames", "60", "--queue", "block")
    done = edgekit("camera", "profile", "shapes", *asked)
    assert done.code == 0
    assert [each["runs"] for each in done.result["bundles"]] == ["onnxruntime fp32"]
    assert done.result["figures"]["delivered"] == 60
    assert not prepared_to_judge(done)
    assert edgekit("status", "--device", "local").result["current"] is None


def test_pipeline_that_is_late_goes_on_with_the_lighter_bundle(edgekit, own_state, adaptive):
    asked = ("--target", "local", "--engine", "onnxruntime", "--seconds", "6", "--queue", "block")
    done = edgekit("camera", "profile", adaptive, *asked)
    assert done.code == 0
    assert not prepared_to_judge(done)
    runs = [each["runs"] for each in done.result["bundles"]]
    assert runs == ["onnxruntime fp32", "onnxruntime int8"]
    [[_at_s, after, why]] = done.result["switches"]
    assert after == "onnxruntime int8"
    assert why.startswith("late: ")
    figures = done.result["figures"]
    assert figures["captured"] == figures["delivered"] > 0
    # Neither spins while it waits: the other stages want the cores, whichever of them runs.
    [job] = (own_state / "device/jobs").glob("*/job.json")
    table = json.loads(job.read_text())
    assert [each["knobs"]["spinning"] for each in (table, *table["lighter"])] == [0, 0]


@pytest.mark.skipif(
    bool(trace_processor.missing()), reason=trace_processor.missing() or "it is there"
)
def test_layers_that_were_profiled_before_lie_under_every_inference(edgekit, own_state):
    asked = ("--target", "local", "--engine", "onnxruntime", "--frames", "20", "--queue", "block")
    trace = own_state / "run.perfetto-trace"
    done = edgekit("camera", "profile", "shapes", *asked, "--layers", "--trace", str(trace))
    assert done.code == 0
    with trace_processor.opened(trace) as asked_of_trace:
        rows = asked_of_trace(
            "SELECT s.depth, count() AS slices FROM slice s JOIN track t ON t.id = s.track_id "
            "WHERE t.name = 'inference' GROUP BY s.depth ORDER BY s.depth"
        )
    assert rows[0] == {"depth": 0, "slices": 20}
    assert rows[1]["slices"] >= 20 * 5
    assert prepared_to_judge(done) == {"frames"}  # the layers are timed on one


def test_active_bundle_of_the_model_is_used_as_it_is(edgekit):
    deployed = edgekit("deploy", "shapes", "--target", "local", "-e", "onnxruntime", "-p", "fp32")
    assert deployed.code == 0
    active = edgekit("status", "--device", "local").result["current"]["bundle"]
    done = edgekit("camera", "profile", "shapes", "--device", "local", "--frames", "30")
    assert [each["bundle"] for each in done.result["bundles"]] == [active]
    assert not [line for line in done.lines if str(line.get("step", "")).startswith("build:")]


def test_batch_that_a_model_does_not_take_is_refused_before_it_is_built(edgekit, own_state):
    asked = ("--target", "local", "--engine", "onnxruntime", "--frames", "20", "--batch", "2")
    done = edgekit("camera", "profile", "shapes", *asked)
    assert done.code == 2
    assert "shapes takes 1 frame at once: 2" in done.result["error"]["message"]
    assert not [line for line in done.lines if str(line.get("step", "")).startswith("build:")]
    assert not list((own_state / "device").glob("bundles/*"))


@pytest.mark.board
@pytest.mark.usefixtures("virtual_boards")
def test_emulated_board_accounts_for_frames_of_a_video_and_claims_no_times(edgekit, own_state):
    writer = cv2.VideoWriter(
        str(own_state / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (160, 120)
    )
    for level in range(0, 80, 10):
        writer.write(np.full((120, 160, 3), level, np.uint8))
    writer.release()
    asked = ("--target", "rpi4", "--device", "virtual", "--engine", "ncnn", "--queue", "block")
    done = edgekit("camera", "profile", "shapes", *asked, "--source", "clip.avi", "--seconds", "0")
    assert done.code == 0
    assert done.result["emulated"] is True
    figures = done.result["figures"]
    assert (figures["captured"], figures["delivered"]) == (8, 8)
    assert (figures["delivered_fps"], figures["latency"]) == (None, None)
    assert figures["advice"] == figures["what_if"] == []
    titles = [str(line.get("title", "")) for line in done.lines]
    assert [title for title in titles if title.startswith("Install opencv_python_headless-")]


def test_layers_are_refused_where_no_model_is_named(edgekit):
    done = edgekit("camera", "profile", "--device", "local", "--source", "drawn", "--layers")
    assert done.code == 2
    assert "needs a MODEL" in done.result["error"]["message"]
