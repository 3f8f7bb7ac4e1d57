"""What cannot be meant: one error, a hint, exit code 2, and nothing touched."""

import os

import pytest

DEPLOY = ("deploy", "shapes", "--target", "local")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("deploy", "shapes", "--target", "rk3556"), ("rk3556", "rk3566")),
        (("deploy", "shapes", "--target", "rk3556", "--device", "virtual"), ("did you mean",)),
        (("deploy", "shapse", "--target", "local"), ("shapse", "did you mean shapes")),
        (("deploy", "shapes"), ("no device", "--target local")),
        (("deploy", "shapes", "--target", "rk3566"), ("no device", "--device virtual")),
        (("deploy", "shapes", "--device", "virtual"), ("virtual", "--target")),
        (("deploy", "shapes", "--device", "pi@10.0.0.9"), ("no target", "--target NAME")),
        (("deploy", "shapes", "--device", "pi@host:99999"), ("pi@host:99999", "user@host")),
        (("deploy", "shapes", "--target", "local", "--device", "benchpi"), ("benchpi", "add")),
        (("deploy", "./none.onnx", "--target", "local"), ("none.onnx", "path")),
        ((*DEPLOY, "--engine", "tenssorrt"), ("tenssorrt", "tensorrt")),
        ((*DEPLOY, "--engine", "auto,ncn"), ("'ncn'", "ncnn")),
        ((*DEPLOY, "--precision", "fp18"), ("fp18", "fp16")),
        ((*DEPLOY, "--goal", "fsp >= 1"), ("fsp", "fps")),
        ((*DEPLOY, "--goal", "fast"), ("fast", "fps >= 10")),
        ((*DEPLOY, "--size", "big"), ("big", "320")),
        ((*DEPLOY, "--size", "0"), ("'0'", "320")),
        ((*DEPLOY, "--threads", "0"), ("--threads", "--help")),
        ((*DEPLOY, "--max-drop", "2"), ("--max-drop", "--help")),
        ((*DEPLOY, "--max-drop", "nan"), ("nan is not a number",)),
        ((*DEPLOY, "--frames", "0"), ("--frames", "--help")),
        ((*DEPLOY, "--images", "/no/such/folder"), ("/no/such/folder",)),
        ((*DEPLOY, "--bogus"), ("--bogus", "deploy --help")),
        (("deploy",), ("MODEL", "deploy --help")),
        (("delpoy", "shapes"), ("deploy",)),
        (("devices", "add", "local", "pi@host"), ("local", "choose another")),
        (("devices", "add", "virtual", "pi@host"), ("virtual", "choose another")),
        (("devices", "add", "Büro", "pi@host"), ("Büro", "lower-case")),
        (("devices", "add", "pi", "p i@host"), ("p i@host", "user@host")),
        (("devices", "remove", "pi"), ("'pi'", "devices add")),
        (("run", "none.jpg", "--device", "local"), ("none.jpg",)),
        (("status", "--device", "benchpi"), ("benchpi", "devices add")),
    ],
)
def test_what_cannot_be_meant_is_one_error_with_a_hint(refused, own_state, arguments, words):
    said = refused(2, *arguments)
    for word in words:
        assert word in said
    assert not (own_state / "device").exists()


def test_name_of_a_device_that_is_kept_is_suggested(refused, edgekit):
    assert edgekit("devices", "add", "bench-pi", "pi@10.0.0.9").code == 0
    assert "did you mean bench-pi" in refused(2, "status", "--device", "benchpi")
    assert "did you mean bench-pi" in refused(2, "devices", "remove", "benchpi")
    assert "already" in refused(2, "devices", "add", "bench-pi", "pi@10.0.0.10")
    assert edgekit("devices", "list").result["devices"][0]["address"] == "10.0.0.9"


def test_error_with_json_is_the_last_line(edgekit):
    done = edgekit("deploy", "shapes", "--target", "local", "--size", "big")
    assert done.code == 2
    assert done.result["error"]["exit_code"] == 2
    assert "320" in done.result["error"]["hint"]


def test_size_that_the_model_cannot_take_names_one_that_it_can(refused):
    assert "--size 32" in refused(2, *DEPLOY, "--size", "7")


def test_folder_without_images_is_refused(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    said = refused(2, *DEPLOY, "--images", tmp_path / "empty")
    assert "no image in" in said
    assert ".jpg" in said


def test_folder_of_broken_images_is_refused(refused, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"no jpeg")
    assert "can be read" in refused(2, *DEPLOY, "--images", tmp_path / "broken")


def test_folder_for_runs_that_cannot_be_made_is_told_before_the_device_is_touched(
    refused, own_state, monkeypatch
):
    (own_state / "file").write_text("")
    monkeypatch.setenv("EDGEKIT_RUNS_DIR", str(own_state / "file" / "runs"))
    assert "EDGEKIT_RUNS_DIR" in refused(2, *DEPLOY)
    assert not (own_state / "device").exists()


def test_cache_that_cannot_be_made_is_no_bug(refused, own_state, monkeypatch):
    (own_state / "file").write_text("")
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(own_state / "file" / "cache"))
    assert "EDGEKIT_CACHE_DIR" in refused(2, *DEPLOY)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to whom no folder is closed but these")
def test_device_root_in_a_file_system_that_takes_nothing_is_refused(refused, monkeypatch):
    monkeypatch.setenv("EDGEKIT_DEVICE_ROOT", "/proc/edgekit")
    said = refused(3, "status", "--device", "local")
    assert "/proc/edgekit" in said
    assert "EDGEKIT_DEVICE_ROOT" in said


def test_device_root_that_is_a_file_is_refused(refused, own_state):
    (own_state / "device").write_text("mine")
    assert "EDGEKIT_DEVICE_ROOT" in refused(3, *DEPLOY)
    assert (own_state / "device").read_text() == "mine"


def test_setting_that_is_no_number_names_its_variable(refused, monkeypatch):
    monkeypatch.setenv("EDGEKIT_THREADS", "many")
    said = refused(2, "status", "--device", "local")
    assert "EDGEKIT_THREADS='many' is no integer" in said


def test_run_and_rollback_where_nothing_is_active_say_what_to_do(refused, tmp_path):
    import cv2
    import numpy as np

    cv2.imwrite(str(tmp_path / "grey.png"), np.full((32, 32, 3), 114, np.uint8))
    said = refused(3, "run", tmp_path / "grey.png", "--device", "local")
    assert "edgekit deploy" in said
    assert "deploy something first" in refused(3, "rollback", "--device", "local")
