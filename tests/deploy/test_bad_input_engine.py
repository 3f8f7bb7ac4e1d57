"""Engines that break: each a row with its reason, and the others go on."""

import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import odd_onnx
import pytest
from processes import running_below

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.toolbox]

FP32 = ("--target", "local", "--precision", "fp32", "--engine", "onnxruntime,ncnn")
QUICK = (*FP32, "--quick", "--runs", "2")


@pytest.fixture
def cache_without_ncnn(tmp_path, monkeypatch):
    """The user's cache without ncnn's toolbox, and no index to make one from."""
    from edgekit.catalog.settings import settings
    from edgekit.core.events import ignore
    from edgekit.engines import load_engine
    from edgekit.toolbox.environments import environment

    whole = settings().cache_dir
    kept = environment(load_engine("onnxruntime").toolbox, emit=ignore).python.parent.parent
    cache = tmp_path / "cache"
    (cache / "toolboxes").mkdir(parents=True)
    (cache / "toolboxes" / kept.name).symlink_to(kept)
    for name in ("wheels", "content"):
        (whole / name).mkdir(exist_ok=True)  # a fresh cache has none yet
        (cache / name).symlink_to(whole / name)
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(cache))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))


def test_engine_whose_packages_cannot_be_had_is_a_row(edgekit, tmp_path, cache_without_ncnn):
    model = odd_onnx.classifier(tmp_path / "net.onnx")
    done = edgekit("deploy", model, *QUICK, "--seconds", "0")
    assert done.code == 0
    rows = done.rows()
    assert rows["ncnn", "fp32"]["status"] == "failed"
    assert "the ncnn toolbox could not be made" in rows["ncnn", "fp32"]["reason"]
    assert "a package index must be reachable" in rows["ncnn", "fp32"]["reason"]
    assert rows["onnxruntime", "fp32"]["status"] == "ok"
    assert done.result["active"]["current"] == rows["onnxruntime", "fp32"]["bundle"]


@pytest.mark.parametrize(
    ("engine", "words"), [("rknn", "local has none of these"), ("tensorrt", "local is none")]
)
def test_engine_for_hardware_that_is_not_here_has_a_row_where_it_was_named(
    edgekit, tmp_path, engine, words
):
    model = odd_onnx.classifier(tmp_path / "net.onnx")
    done = edgekit("deploy", model, "--target", "local", "--engine", engine)
    assert done.code == 4
    row = done.rows()[engine, "fp16"]
    assert row["status"] == "unsupported"
    assert words in row["reason"]


def test_nothing_that_can_be_built_is_an_engine_error(edgekit, tmp_path, cache_without_ncnn):
    model = odd_onnx.classifier(tmp_path / "net.onnx")
    done = edgekit("deploy", model, *QUICK, "--engine", "ncnn")
    assert done.code == 4
    assert done.result["chosen"] is None
    assert done.result["active"] is None


@contextlib.contextmanager
def first_runner_ended(root, kind, number):
    """Send a signal to the first runner of a kind that starts below ``root``."""
    over = threading.Event()
    struck = []

    def watch():
        while not over.is_set() and not struck:
            for pid, line in running_below(root).items():
                if "runner.pyz" in line and kind_of_run(line) == kind:
                    time.sleep(0.3 if kind == "time" else 0)  # in mid-measurement
                    os.kill(pid, number)
                    struck.append(pid)
                    return
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert struck, "no runner started"


def kind_of_run(command):
    """Tell what a runner was asked for, from the last word of its command line."""
    return json.loads(Path(command.split()[-1]).read_text(encoding="utf-8"))["kind"]


@pytest.mark.parametrize(
    ("kind", "number", "words"),
    [
        ("infer", signal.SIGSEGV, "try another engine"),
        ("time", signal.SIGSEGV, "try another engine"),
        ("time", signal.SIGKILL, "out of memory"),
    ],
)
def test_runner_that_crashes_is_a_row(edgekit, tmp_path, kind, number, words):
    model = odd_onnx.classifier(tmp_path / "net.onnx")
    with first_runner_ended(tmp_path / "device", kind, number):
        done = edgekit("deploy", model, *QUICK, "--seconds", "2")
    assert done.code == 0
    first, second = done.result["candidates"]
    assert first["status"] == "failed"
    assert f"ended by {number.name}" in first["reason"]
    assert words in first["reason"]
    assert second["status"] == "ok"
    assert done.result["active"]["current"] == second["bundle"]


def test_setting_that_crashes_in_the_search_is_a_remark(edgekit, tmp_path):
    model = odd_onnx.classifier(tmp_path / "net.onnx")
    with first_runner_ended(tmp_path / "device", "time", signal.SIGSEGV):
        done = edgekit("deploy", model, *FP32, "--runs", "2", "--seconds", "0")
    assert done.code == 0
    first, second = done.result["candidates"]
    assert "ended by SIGSEGV" in first["reason"]
    assert (first["status"], second["status"]) == ("ok", "ok")


def test_goal_that_nothing_meets_leaves_the_device_as_it_is(edgekit, tmp_path):
    quick = (*QUICK, "--seconds", "0", "--engine", "onnxruntime")
    old = edgekit("deploy", odd_onnx.classifier(tmp_path / "old.onnx"), *quick)
    new = odd_onnx.classifier(tmp_path / "new.onnx", channels=16)
    done = edgekit("deploy", new, *quick, "--goal", "latency_ms <= 0.000001")
    assert done.code == 5
    assert done.result["chosen"] is None
    assert done.result["best"]["missed"] == ["latency_ms <= 1e-06"]
    assert done.result["active"]["current"] == old.result["active"]["current"]
