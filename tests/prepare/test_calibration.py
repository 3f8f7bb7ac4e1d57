"""Calibration sets: the same for the same images, whatever they are called."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import tiny_models

from edgekit.core.errors import UsageError
from edgekit.core.events import Note, StepFinished, ignore
from edgekit.core.model import FileRef, Model, Pipeline, StepSpec, TensorSpec
from edgekit.core.recipe import Calibration
from edgekit.prepare.calibration import load_calibration

IMAGE = (TensorSpec("images", "float32", (1, 3, 16, 16)),)
TENSORS = (TensorSpec("x", "float32", (1, 4)), TensorSpec("ids", "int64", (1, 7)))


def model(inputs=IMAGE):
    file = FileRef(None, "0" * 64, 0)
    before = StepSpec("tensor")
    if inputs is IMAGE:
        before = StepSpec("letterbox", '{"size": [16, 16]}')
    pipeline = Pipeline(before, StepSpec("tensor"))
    return Model("tiny", file, file, "0" * 64, inputs, (), (), False, pipeline, pipeline)


def calibrate(images=None, *, recipe=None, inputs=IMAGE, count=None, emit=ignore):
    return load_calibration(
        recipe or tiny_models.recipe(), model(inputs), images=images, count=count, emit=emit
    )


def draw(folder, count=10, prefix="", order=None):
    folder.mkdir(parents=True)
    for place, index in enumerate(order or range(count)):
        image = np.random.default_rng(index).integers(0, 255, (20, 30, 3), np.uint8)
        cv2.imwrite(str(folder / f"{prefix}{place}.png"), image)
    return folder


def test_frames_are_preprocessed_and_stacked(tmp_path):
    found = calibrate(draw(tmp_path / "a"))
    ((name, file),) = found.inputs
    assert name == "images"
    stack = np.load(file.path)
    assert stack.shape == (10, 3, 16, 16)
    assert stack.dtype == np.float32
    assert found.count == 10
    assert list(found.frames) == sorted(set(found.frames))
    assert len(np.unique(stack.reshape(10, -1), axis=0)) == 10
    assert stack.max() <= 1


def test_order_and_names_of_the_images_do_not_count(tmp_path):
    first = calibrate(draw(tmp_path / "a"))
    second = calibrate(draw(tmp_path / "b", prefix="z", order=[*range(9, -1, -1)]))
    assert first.identity == second.identity
    assert first.frames == second.frames


def test_other_images_or_other_preprocessing_are_another_set(tmp_path):
    folder = draw(tmp_path / "a", 12)
    whole, some = calibrate(folder), calibrate(folder, count=9)
    assert some.count == 9
    assert whole.identity != some.identity
    half = model()
    before = StepSpec("letterbox", '{"size": [16, 16], "mean": 0.5}')
    half = Model(
        **{**vars(half), "pipeline": Pipeline(before, half.pipeline.postprocess)},
    )
    other = load_calibration(tiny_models.recipe(), half, images=folder, count=None, emit=ignore)
    assert other.frames == whole.frames
    assert other.identity != whole.identity


def test_image_that_is_there_twice_counts_once(tmp_path):
    folder = draw(tmp_path / "a", order=[*range(9), 0])
    assert calibrate(folder).count == 9


def test_unreadable_images_are_left_out_with_a_warning(tmp_path, events):
    folder = draw(tmp_path / "a")
    (folder / "0.png").write_bytes(b"no image")
    assert calibrate(folder, emit=events).count == 9
    assert [note.warning for note in events.of(Note) if "0.png" in note.text] == [True]


def test_too_few_images_are_refused(tmp_path, events):
    with pytest.raises(UsageError, match="7 calibration frames are too few") as caught:
        calibrate(draw(tmp_path / "a", 7), emit=events)
    assert "--calibration" in caught.value.hint
    assert not events.of(StepFinished)[-1].ok


def test_recipe_names_its_frames(tmp_path, monkeypatch, events):
    draw(tmp_path / "data" / "set", 20)
    monkeypatch.setenv("EDGEKIT_DATA_PATH", str(tmp_path / "data"))
    recipe = tiny_models.recipe(calibration=Calibration("images", "set", 11, 3))
    assert calibrate(recipe=recipe, emit=events).count == 11
    assert not events.of(Note)


@pytest.mark.parametrize("calibration", [None, Calibration("images", "gone", 9)])
def test_drawn_scenes_serve_with_a_warning(calibration, events):
    recipe = tiny_models.recipe(calibration=calibration)
    assert calibrate(recipe=recipe, count=9, emit=events).count == 9
    (note,) = events.of(Note)
    assert note.warning
    assert "--calibration" in note.text


def test_bare_tensors_are_drawn_with_a_warning(events):
    found = calibrate(inputs=TENSORS, emit=events)
    assert {name for name, _ in found.inputs} == {"x", "ids"}
    assert np.load(dict(found.inputs)["ids"].path).shape == (found.count, 7)
    (note,) = events.of(Note)
    assert "random" in note.text


def test_bare_tensors_of_the_user_are_taken(tmp_path, events):
    for index in range(9):
        x = np.full((1, 4), index, np.float32)
        np.savez(tmp_path / f"{index}.npz", x=x, ids=np.zeros((1, 7), np.int64))
    (tmp_path / "9.npz").write_bytes(b"no archive")
    found = calibrate(tmp_path, inputs=TENSORS, emit=events)
    assert found.count == 9
    stack = np.load(dict(found.inputs)["x"].path)
    assert sorted(stack[:, 0].tolist()) == list(range(9))
    assert "9.npz" in events.of(Note)[0].text


def test_bare_tensors_that_do_not_fit_are_refused(tmp_path):
    np.savez(tmp_path / "0.npz", x=np.zeros((1, 5), np.float32))
    with pytest.raises(UsageError, match=r"0\.npz does not fit"):
        calibrate(tmp_path, inputs=TENSORS)


def test_damaged_set_is_made_again(tmp_path):
    folder = draw(tmp_path / "a")
    before = calibrate(folder)
    path = before.inputs[0][1].path
    path.write_bytes(b"short")
    assert calibrate(folder) == before
    assert np.load(path).shape == (10, 3, 16, 16)


def test_second_call_imports_nothing_heavy(tmp_path, events):
    folder = draw(tmp_path / "a")
    before = calibrate(folder)
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(tiny_models.__file__).rpartition("/")[0]!r})
from edgekit.core.events import ignore
from edgekit.core.model import *
from edgekit.core.recipe import Recipe, Source
from edgekit.prepare.calibration import load_calibration
file = FileRef(None, "0" * 64, 0)
pipeline = Pipeline(StepSpec("letterbox", '{{"size": [16, 16]}}'), StepSpec("tensor"))
inputs = (TensorSpec("images", "float32", (1, 3, 16, 16)),)
model = Model("tiny", file, file, "0" * 64, inputs, (), (), False, pipeline, pipeline)
recipe = Recipe("tiny", "tiny", "detect", Source("file", "x"), *vars(pipeline).values())
held = load_calibration(recipe, model, images=Path({str(folder)!r}), count=None, emit=ignore)
heavy = {{"numpy", "cv2", "onnx", "onnxruntime"}} & set(sys.modules)
print(held.identity, *heavy)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [before.identity]
