"""Rewrites that leave the answers as they are."""

import json

import numpy as np
import onnx
import pytest
import tiny_models

from edgekit.core.events import ignore
from edgekit.core.model import StepSpec
from edgekit.core.recipe import Samples
from edgekit.prepare import space_to_depth
from edgekit.prepare.frames import load_frames
from edgekit.prepare.lossless import lossless_rewrites, rewritten
from edgekit.prepare.normalise import prepare_model
from edgekit.prepare.reference import reference_outputs
from edgekit.prepare.session import Reference, seeded_inputs

STEM = ("space-to-depth",)


def blocks_of(image):
    """Channel (dy * 2 + dx) * 3 + c of a block, written out one by one."""
    return np.concatenate(
        [image[:, c : c + 1, dy::2, dx::2] for dy in (0, 1) for dx in (0, 1) for c in range(3)],
        axis=1,
    )


def stem(kernel, pads, size=(32, 48), *, auto_pad=None, group=1, stride=2, reader="Conv"):
    graph = tiny_models.Graph()
    padding = {"auto_pad": auto_pad} if auto_pad else {"pads": pads}
    source = "image" if reader == "Conv" else graph.node(reader, "image")
    weights = graph.weight(6, 3 // group, kernel, kernel)
    feature = graph.node("Conv", source, weights, strides=[stride, stride], group=group, **padding)
    feature = graph.node("Relu", feature)
    graph.nodes.append(onnx.helper.make_node("Flatten", [feature], ["scores"]))
    value = onnx.helper.make_tensor_value_info
    return graph.model(
        [value("image", onnx.TensorProto.FLOAT, [1, 3, *size])],
        [value("scores", onnx.TensorProto.FLOAT, [1, "n"])],
    )


def prepared(source, tmp_path, **changes):
    file = tiny_models.saved(source, tmp_path / "m.onnx")
    recipe = tiny_models.recipe("classify", **changes)
    return prepare_model(recipe, file, size=None, emit=ignore)


@pytest.mark.parametrize(
    ("kernel", "pads"),
    [
        (6, [2, 2, 2, 2]),  # YOLOv5
        (3, [1, 1, 1, 1]),  # most classifiers
        (3, [0, 0, 1, 1]),  # TensorFlow's own padding
        (2, [0, 0, 0, 0]),
        (4, [1, 1, 1, 1]),
        (7, [3, 3, 3, 3]),  # ResNet
        (5, [2, 1, 2, 3]),
        (6, [0, 3, 1, 2]),
    ],
)
def test_stem_on_blocks_answers_the_same(kernel, pads, tmp_path):
    model = prepared(stem(kernel, pads), tmp_path)
    changed = rewritten(model, STEM)
    assert [str(spec) for spec in changed.inputs] == ["image float32[1, 12, 16, 24]"]
    image = seeded_inputs(model.inputs, 5)["image"]
    want = Reference(model.onnx.path, "m").run({"image": image})["scores"]
    got = Reference(changed.onnx.path, "m").run({"image": blocks_of(image)})["scores"]
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert want.max() > 0.1
    first = onnx.load(changed.onnx.path).graph.node[0]
    strides = {a.name: list(a.ints) for a in first.attribute}["strides"]
    assert strides == [1, 1]


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("kernel", [3, 4])
def test_padding_told_in_words_is_understood(auto_pad, kernel, tmp_path):
    model = prepared(stem(kernel, None, auto_pad=auto_pad), tmp_path)
    assert lossless_rewrites(model) == STEM


def test_blocks_are_ordered_by_row_column_channel():
    image = np.random.default_rng(0).random((1, 3, 6, 8), np.float32)
    np.testing.assert_array_equal(space_to_depth.blocks_of(image), blocks_of(image))


def test_preprocessing_is_told_and_the_reference_stays(tmp_path):
    model = prepared(stem(6, [2] * 4), tmp_path)
    changed = rewritten(model, STEM)
    assert json.loads(changed.pipeline.preprocess.parameters_json)["block"] == 2
    assert changed.pipeline.postprocess == model.pipeline.postprocess
    assert changed.reference == model.reference
    assert changed.reference_pipeline == model.reference_pipeline
    assert changed.outputs == model.outputs


@pytest.mark.parametrize(
    "source",
    [
        stem(6, [2] * 4, size=(31, 48)),
        stem(3, [1] * 4, group=3),
        stem(3, [1] * 4, stride=1),
        stem(1, [0] * 4),
        stem(6, [2] * 4, reader="Neg"),
    ],
)
def test_other_stems_are_left_alone(source, tmp_path):
    model = prepared(source, tmp_path)
    assert rewritten(model, STEM) is None
    assert rewritten(model, STEM) is None  # from the cache now
    assert lossless_rewrites(model) == ()


def test_models_without_planes_are_left_alone(tmp_path):
    model = prepared(
        stem(6, [2] * 4), tmp_path, preprocess=StepSpec("tensor"), postprocess=StepSpec("tensor")
    )
    assert rewritten(model, STEM) is None


def test_nothing_asked_is_nothing_changed(tmp_path):
    model = prepared(stem(6, [2] * 4), tmp_path)
    assert rewritten(model, ()) is model
    with pytest.raises(ValueError, match="no lossless rewrite"):
        rewritten(model, ("magic",))


def test_rewriting_that_answers_otherwise_is_refused(tmp_path, monkeypatch):
    original = space_to_depth._kernel_on_blocks
    monkeypatch.setattr(
        space_to_depth, "_kernel_on_blocks", lambda kernel, axes: original(kernel, axes) * 1.001
    )
    assert rewritten(prepared(stem(6, [2] * 4), tmp_path), STEM) is None


def test_rewritten_graph_is_kept_and_mended(tmp_path):
    model = prepared(stem(6, [2] * 4), tmp_path)
    first = rewritten(model, STEM)
    assert rewritten(model, STEM) == first
    first.onnx.path.write_bytes(b"short")
    assert rewritten(model, STEM) == first
    assert first.onnx.path.stat().st_size == first.onnx.size_bytes


def test_detector_keeps_its_heads(tmp_path):
    file = tiny_models.saved(tiny_models.yolov5(), tmp_path / "m.onnx")
    model = prepare_model(tiny_models.recipe(), file, size=None, emit=ignore)
    changed = rewritten(model, STEM)
    assert changed.head_cut
    assert changed.outputs == model.outputs
    assert changed.inputs[0].shape == (1, 12, 32, 32)


def test_reference_of_the_rewritten_model_is_that_of_the_original(tmp_path):
    file = tiny_models.saved(tiny_models.yolov5(), tmp_path / "m.onnx")
    recipe = tiny_models.recipe(samples=Samples("shapes", count=2))
    model = prepare_model(recipe, file, size=None, emit=ignore)
    frames = load_frames(recipe, model, images=None, emit=ignore)
    want = reference_outputs(model, frames)
    got = reference_outputs(rewritten(model, STEM), frames)
    for expected, found in zip(want.frames, got.frames, strict=True):
        assert expected.answers == found.answers
        for name, path in expected.outputs.items():
            np.testing.assert_allclose(np.load(found.outputs[name]), np.load(path), atol=1e-4)
