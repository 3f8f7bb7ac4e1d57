"""A race on this machine, with real engines: int8, the gate, the memory, goals, what breaks."""

import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.toolbox]

SHORT = ("--target", "local", "--runs", "5", "--seconds", "0.05")
ONE = ("--engine", "onnxruntime")
IMAGES = ("--evaluate", "40")


def samples(done, engine, precision):
    path = Path(done.result["run_dir"], f"samples/{engine}-{precision}.json")
    return json.loads(path.read_text())["model_ns"]


def test_race_tells_int8_and_activates_nothing(edgekit):
    done = edgekit("race", "shapes", *ONE, "--precision", "fp32,int8", *SHORT, *IMAGES)
    assert done.code == 0
    rows = done.rows()
    assert set(rows) == {("onnxruntime", each) for each in ("fp32", "int8")}
    int8 = rows["onnxruntime", "int8"]
    assert int8["quantisation"]["method"] in {"minmax", "percentile", "kl", "average"}
    assert "on the calibration side" in int8["reason"]
    assert int8["size_bytes"] < rows["onnxruntime", "fp32"]["size_bytes"] / 1.8
    low, high = int8["accuracy"]["interval"]
    assert low <= int8["accuracy"]["drop"] <= high
    assert done.result["active"] is None
    assert done.result["chosen"]["bundle"] in {row["bundle"] for row in rows.values()}
    winner = done.result["candidates"].index(
        next(r for r in rows.values() if r["bundle"] == done.result["chosen"]["bundle"])
    )
    assert winner in done.result["pareto"]
    assert done.turns() == 2 * 5


def test_second_race_measures_only_what_changed(edgekit, quiet):
    short = ("--quick", *ONE, *SHORT, *IMAGES)
    first = edgekit("race", "shapes", "--precision", "fp32", *short)
    wider = edgekit("race", "shapes", "--precision", "fp32,fp16", *short)
    before, same = first.result["candidates"][0], wider.result["candidates"][0]
    # Nobody times two runs alike to the last digit: these are the very samples of the first race,
    # and more of them only where the two were too close to be told apart.
    held = samples(first, "onnxruntime", "fp32")
    assert samples(wider, "onnxruntime", "fp32")[: len(held)] == held
    assert same["accuracy"] == before["accuracy"]
    assert first.judged() == {"compare:onnxruntime:fp32", "evaluate:onnxruntime:fp32"}
    assert wider.judged() == {"compare:onnxruntime:fp16", "evaluate:onnxruntime:fp16"}
    assert wider.result["candidates"][1]["latency_ms"] is not None
    fresh = edgekit("race", "shapes", "--precision", "fp32", *short, "--fresh")
    assert samples(fresh, "onnxruntime", "fp32") != held
    assert fresh.judged() == first.judged()


def test_search_may_turn_knobs_and_says_which(edgekit):
    done = edgekit("race", "shapes", *ONE, "--precision", "fp32", *SHORT, *IMAGES)
    (row,) = done.result["candidates"]
    assert row["knobs"]["threads"] >= 1
    assert set(row["rewrites"]) <= {"space-to-depth"}
    searched = [line for line in done.lines if line.get("step") == "search"]
    assert searched
    asked = edgekit(
        "race", "shapes", *ONE, "--precision", "fp32", "--threads", "1", "--quick", *SHORT, *IMAGES
    )
    assert asked.result["candidates"][0]["knobs"]["threads"] == 1


def test_hopelessly_slow_candidate_leaves_with_its_number_and_is_not_judged(edgekit, monkeypatch):
    # A factor at which whoever comes second is hopeless, however fast it is.
    monkeypatch.setattr("edgekit.app.search._HOPELESS", 1e-6)
    two = ("--engine", "onnxruntime,ncnn", "--precision", "fp32")
    done = edgekit("race", "shapes", *two, *SHORT, *IMAGES)
    assert done.code == 0
    first, second = done.result["candidates"]
    assert first["status"] == "ok"
    assert second["status"] == "skipped"
    assert second["latency_ms"]["p50"] > 0
    assert second["accuracy"] is None
    assert "times slower than the fastest" in second["reason"]
    assert "--engine ncnn" in second["reason"]
    assert done.judged() == {"compare:onnxruntime:fp32", "evaluate:onnxruntime:fp32"}
    assert done.result["chosen"]["engine"] == "onnxruntime"
    assert done.result["pareto"] == [0]


def test_missed_goal_yields_the_best_and_exit_code_5(edgekit):
    done = edgekit(
        "race", "shapes", *ONE, "--precision", "fp32", "--quick", *SHORT, *IMAGES,
        "--goal", "fps >= 1", "--goal", "size_mb <= 0.001",
    )  # fmt: skip
    assert done.code == 5
    assert done.result["chosen"] is None
    assert done.result["best"]["missed"] == ["size_mb <= 0.001"]


def test_int8_of_a_whole_detector_is_refused_and_the_layers_named(edgekit):
    """Boxes of 0 to 160 and scores of 0 to 1 share one scale: no score but 0 and 1 is left."""
    done = edgekit(
        "race", "shapes", "--no-head-cut", *ONE, "--precision", "fp32,int8", "--quick",
        *SHORT, *IMAGES,
    )  # fmt: skip
    rows = done.rows()
    assert rows["onnxruntime", "fp32"]["status"] == "ok"
    broken = rows["onnxruntime", "int8"]
    assert broken["status"] == "gate"
    assert broken["accuracy"]["interval"][0] > 0.01
    assert "layers that lose most" in broken["reason"]
    assert "Concat" in broken["reason"]
    assert done.result["chosen"]["precision"] == "fp32"


def test_hang_is_a_row(edgekit):
    done = edgekit("race", "shapes", *ONE, "--precision", "fp32", "--timeout", "1", "--quick",
                   "--target", "local", "--seconds", "30")  # fmt: skip
    (row,) = done.result["candidates"]
    assert done.code == 4
    assert row["status"] == "failed"
    assert "did not end within 1 s" in row["reason"]


def test_too_few_calibration_images_are_refused(refused, tmp_path):
    import cv2
    import numpy as np

    folder = tmp_path / "few"
    folder.mkdir()
    for number in range(3):
        image = np.full((64, 64, 3), number * 50, np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), image)
    said = refused(2, "race", "shapes", *ONE, *SHORT, "--calibration", folder)
    assert "3" in said
