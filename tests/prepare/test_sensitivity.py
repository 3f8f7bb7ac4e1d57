"""Which layers lose most in int8."""

import numpy as np
import onnx
import pytest
import tiny_models

from edgekit.catalog.cache import cache_root
from edgekit.core.events import StepFinished, StepProgress, ignore
from edgekit.core.model import StepSpec
from edgekit.core.quantisation import LayerLoss, Sensitivity
from edgekit.core.recipe import Calibration
from edgekit.prepare import layer_noise
from edgekit.prepare.calibration import load_calibration
from edgekit.prepare.layer_noise import rounded_weights
from edgekit.prepare.normalise import prepare_model
from edgekit.prepare.sensitivity import quantisable, sensitivity_of
from edgekit.toolbox.ranges import Ranges

RECIPE = tiny_models.recipe(calibration=Calibration("shapes", count=8))


def prepared(source, tmp_path, recipe=RECIPE, **how):
    file = tiny_models.saved(source, tmp_path / "m.onnx")
    return prepare_model(recipe, file, size=None, emit=ignore, **how)


def losses(model, recipe=RECIPE, emit=ignore, **how):
    calibration = load_calibration(recipe, model, images=None, count=None, emit=ignore)
    return sensitivity_of(model, calibration, Ranges, emit=emit, **how)


def chain(scales):
    """Layers one after the other; the second layer's channels are as large as ``scales``."""
    graph = tiny_models.Graph()
    first = graph.node("MatMul", "x", graph.weight(8, 8))
    weight = onnx.numpy_helper.from_array(np.diag(scales).astype(np.float32), "diagonal")
    graph.weights.append(weight)
    second = graph.node("MatMul", first, "diagonal")
    back = np.diag(1 / np.asarray(scales)).astype(np.float32)
    graph.weights.append(onnx.numpy_helper.from_array(back, "back"))
    graph.nodes.append(onnx.helper.make_node("MatMul", [second, "back"], ["y"], name="last"))
    graph.nodes[1].name, graph.nodes[0].name = "uneven", "first"
    value = onnx.helper.make_tensor_value_info
    return graph.model(
        [value("x", onnx.TensorProto.FLOAT, [1, 8])], [value("y", onnx.TensorProto.FLOAT, [1, 8])]
    )


TENSORS = tiny_models.recipe("tensor", calibration=Calibration("shapes", count=8))


def test_layer_whose_channels_share_too_wide_a_scale_is_the_worst(tmp_path):
    found = losses(prepared(chain([1, 1, 1, 1, 1, 1, 1000, 1000]), tmp_path, TENSORS), TENSORS)
    assert found.layers[0].name == "uneven"
    assert found.layers[0].share > 0.9
    assert found.layers[1].decibels > found.layers[0].decibels + 20
    assert {layer.name for layer in found.layers} == {"first", "uneven", "last"}
    assert all(layer.weighted and layer.suffers == "y" for layer in found.layers)


def test_even_channels_lose_alike(tmp_path):
    found = losses(prepared(chain([1] * 8), tmp_path, TENSORS), TENSORS)
    decibels = [layer.decibels for layer in found.layers]
    # Uniform noise of a 255th of the range: about 6 dB a bit, less what the range wastes.
    assert all(30 < each < 60 for each in decibels)


def test_whole_detector_loses_its_classes_where_boxes_share_their_scale(tmp_path):
    whole = losses(prepared(tiny_models.yolov5(), tmp_path, cut_head=False))
    worst = whole.layers[0]
    assert worst.operator == "Concat"
    assert worst.suffers in {"output0 classes", "output0 objectness"}
    assert worst.decibels < 10
    assert not worst.weighted
    cut = losses(prepared(tiny_models.yolov5(), tmp_path))
    assert cut.layers[0].decibels > worst.decibels + 10
    assert {layer.suffers.split()[1] for layer in cut.layers} <= {"boxes", "objectness", "classes"}


def test_layers_that_only_move_values_are_left_out(tmp_path):
    whole = losses(prepared(tiny_models.yolov5(), tmp_path, cut_head=False))
    assert not {layer.operator for layer in whole.layers} & {"Reshape", "Transpose", "Split"}
    assert abs(sum(layer.share for layer in whole.layers)) > 0


def test_worst_layers_with_weights_are_planned_for_float():
    layers = tuple(
        LayerLoss(name, "Conv" if weighted else "Concat", weighted, place, "y", 0.1)
        for place, (name, weighted) in enumerate(
            [("join", False), ("z", True), ("a", True), ("m", True)]
        )
    )
    found = Sensitivity(layers, "minmax", 4)
    assert found.float_plan(0) == ()
    assert found.float_plan(2) == ("a", "z")
    assert found.float_plan(99) == ("a", "m", "z")


def test_result_is_kept_by_model_set_and_method(tmp_path, events, monkeypatch):
    model = prepared(tiny_models.yolov5(), tmp_path)
    first = losses(model, emit=events)
    progress = events.of(StepProgress)
    assert progress[-1].done == progress[-1].total == len(first.layers)
    assert losses(model, emit=events) == first
    assert events.of(StepFinished)[-1].detail == "cached"
    other = losses(model, method="minmax", samples=2)
    assert (other.method, other.samples) == ("minmax", 2)
    assert [layer.decibels for layer in other.layers] != [layer.decibels for layer in first.layers]
    for file in (cache_root() / "sensitivity").glob("*/sensitivity.json"):
        file.write_text("broken")
    assert losses(model) == first


def test_method_that_only_an_engine_has_is_taken_as_minmax(tmp_path):
    model = prepared(chain([1] * 8), tmp_path, TENSORS)
    assert losses(model, TENSORS, method="engine") == losses(model, TENSORS, method="minmax")


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_weights_are_rounded_for_each_channel(axis):
    weights = np.random.default_rng(0).standard_normal((4, 5, 3)).astype(np.float32)
    scaled = np.moveaxis(weights, axis, 0)
    scaled[0] *= 1000
    scaled[1] = 0
    rounded = np.moveaxis(rounded_weights(weights, axis), axis, 0)
    for channel, values in zip(rounded, scaled, strict=True):
        assert len(np.unique(channel)) <= 255
        step = np.abs(values).max() / 127
        assert np.abs(channel - values).max() <= step / 2 * 1.001
    assert (rounded[1] == 0).all()


@pytest.mark.parametrize(
    ("operator", "attributes", "axis"),
    [
        ("Conv", {}, 0),
        ("ConvTranspose", {}, 1),
        ("Gemm", {}, 1),
        ("Gemm", {"transB": 1}, 0),
        ("MatMul", {}, -1),
    ],
)
def test_channel_axis_is_that_of_the_outputs(operator, attributes, axis):
    node = onnx.helper.make_node(operator, ["x", "w"], ["y"], **attributes)
    assert layer_noise._channel_axis(node) == axis


def test_model_without_weights_is_not_quantisable(tmp_path):
    graph = tiny_models.Graph()
    graph.nodes.append(onnx.helper.make_node("Relu", ["x"], ["y"]))
    value = onnx.helper.make_tensor_value_info
    source = graph.model(
        [value("x", onnx.TensorProto.FLOAT, [1, 8])], [value("y", onnx.TensorProto.FLOAT, [1, 8])]
    )
    assert not quantisable(prepared(source, tmp_path, TENSORS))
    assert quantisable(prepared(chain([1] * 8), tmp_path, TENSORS))


def test_other_postprocessing_is_judged_by_whole_outputs(tmp_path):
    recipe = tiny_models.recipe(
        "classify", calibration=Calibration("shapes", count=8), postprocess=StepSpec("classify")
    )
    source = tiny_models.classifier((1, 3, 32, 32))
    found = losses(prepared(source, tmp_path, recipe), recipe)
    assert {layer.suffers for layer in found.layers} == {"scores"}
