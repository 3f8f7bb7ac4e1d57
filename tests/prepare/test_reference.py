"""The float reference and its cache."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import tiny_models

from edgekit.core.errors import ModelError
from edgekit.core.events import StepFinished, ignore
from edgekit.core.model import StepSpec
from edgekit.core.recipe import Samples
from edgekit.prepare.compare import compare_answers, compare_outputs
from edgekit.prepare.frames import load_frames
from edgekit.prepare.normalise import prepare_model
from edgekit.prepare.reference import load_frame, reference_outputs

# A network of random weights is sure of nothing: a low threshold gives it detections.
DETECT = {"postprocess": StepSpec("yolov5", '{"score_threshold": 0.05}')}


@pytest.fixture
def detector(tmp_path):
    recipe = tiny_models.recipe(samples=Samples(kind="shapes", count=2, seed=1), **DETECT)
    file = tiny_models.saved(tiny_models.yolov5(), tmp_path / "m.onnx")
    model = prepare_model(recipe, file, size=None, emit=ignore)
    return model, load_frames(recipe, model, images=None, emit=ignore)


def board_answers(model, reference, frames):
    """What the board would answer, had its engine computed the reference's outputs."""
    from edgekit.onboard.steps import POSTPROCESS

    step = model.pipeline.postprocess
    after = POSTPROCESS[step.name](json.loads(step.parameters_json))
    return [
        after(
            {name: np.load(path) for name, path in expected.outputs.items()},
            load_frame(frame.path).shape,
        )
        for expected, frame in zip(reference.frames, frames, strict=True)
    ]


def test_cut_heads_and_decode_on_the_board_agree_with_the_whole_graph(detector):
    model, frames = detector
    reference = reference_outputs(model, frames)
    assert reference.kind == "boxes"
    assert reference.score_threshold == 0.05
    assert all(len(frame.answers) > 3 for frame in reference.frames)
    answers = board_answers(model, reference, frames)
    error = compare_outputs(reference, [frame.outputs for frame in reference.frames], answers)
    assert error.max_abs == 0
    assert error.unmatched == 0
    assert error.max_box_px < 1e-2
    assert error.max_score < 1e-4
    assert compare_answers(reference, answers).value == 1


def test_second_call_is_cached_and_equal(detector, events):
    model, frames = detector
    first = reference_outputs(model, frames)
    assert reference_outputs(model, frames, emit=events) == first
    assert events.of(StepFinished)[0].detail == "cached"


def test_other_frames_have_another_reference(detector, events):
    model, frames = detector
    both = reference_outputs(model, frames)
    one = reference_outputs(model, frames[1:], emit=events)
    assert events.of(StepFinished)[0].detail == "1 frames"
    assert one.frames[0].answers == both.frames[1].answers


def test_damaged_cache_is_computed_anew(detector):
    model, frames = detector
    first = reference_outputs(model, frames)
    next(iter(first.frames[0].outputs.values())).unlink()
    again = reference_outputs(model, frames)
    assert all(path.is_file() for frame in again.frames for path in frame.outputs.values())


def test_bare_tensors_pass_through(tmp_path):
    recipe = tiny_models.recipe("tensor")
    file = tiny_models.saved(tiny_models.classifier((1, 3, 8, 8)), tmp_path / "m.onnx")
    model = prepare_model(recipe, file, size=None, emit=ignore)
    frames = load_frames(recipe, model, images=None, emit=ignore)
    reference = reference_outputs(model, frames)
    assert reference.kind == "none"
    assert np.load(reference.frames[0].outputs["scores"]).shape == (1, 4)


def test_model_that_answers_with_nan_is_refused(tmp_path, own_cache):
    source = tiny_models.classifier((1, 3, 8, 8))
    weight = onnx.numpy_helper.to_array(source.graph.initializer[0]).copy()
    weight[:] = np.nan
    name = source.graph.initializer[0].name
    source.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, name))
    recipe = tiny_models.recipe("tensor")
    file = tiny_models.saved(source, tmp_path / "m.onnx")
    model = prepare_model(recipe, file, size=None, emit=ignore)
    frames = load_frames(recipe, model, images=None, emit=ignore)
    with pytest.raises(ModelError, match="output scores of tiny is not finite"):
        reference_outputs(model, frames)
    assert not list((own_cache / "reference").glob("[0-9a-f]*"))


def test_cached_calls_import_nothing_heavy(detector, tmp_path):
    model, frames = detector
    reference_outputs(model, frames)
    script = f"""
import sys
from pathlib import Path
from edgekit.core.events import ignore
from edgekit.core.model import FileRef, StepSpec
from edgekit.core.recipe import Recipe, Samples, Source
from edgekit.prepare.frames import load_frames
from edgekit.prepare.normalise import prepare_model
from edgekit.prepare.reference import reference_outputs
recipe = Recipe("tiny", "tiny", "detect", Source("file", "tiny.onnx"), StepSpec("letterbox"),
                StepSpec("yolov5", {DETECT["postprocess"].parameters_json!r}),
                samples=Samples(kind="shapes", count=2, seed=1))
file = FileRef(Path({str(tmp_path / "m.onnx")!r}), {model.source_sha256!r}, 0)
model = prepare_model(recipe, file, size=None, emit=ignore)
frames = load_frames(recipe, model, images=None, emit=ignore)
assert len(reference_outputs(model, frames).frames) == 2
print(*sorted({{"onnx", "onnxruntime", "numpy", "cv2"}} & set(sys.modules)))
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
