"""Layers on this machine against the reference, with real engines and a fault of our own."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit.app import layer_runs
from edgekit.catalog.cache import ContentStore

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.toolbox]

LOCAL = ("--target", "local")
LAYERS = 76  # of the shipped detector


def deviating(result, side):
    limit = result["tolerance"][side]
    figure = {"largest": "relative", "rms": "rms"}[result["tolerance"]["measure"]]
    return [layer["name"] for layer in result["layers"] if layer[side][figure] > limit]


@pytest.mark.parametrize(
    ("engine", "precision", "limit"),
    [
        ("onnxruntime", "fp32", 1e-5),
        ("onnxruntime", "fp16", 5e-3),
        ("ncnn", "fp32", 1e-4),
        ("ncnn", "fp16", 5e-3),
        ("openvino", "fp32", 1e-4),
        ("mnn", "fp32", 1e-3),
        ("tflite", "fp32", 1e-4),
        ("tvm", "fp32", 1e-4),
    ],
)
def test_every_layer_of_a_sound_build_is_measured_and_passes(edgekit, engine, precision, limit):
    done = edgekit("diff", "shapes", *LOCAL, "--engine", engine, "--precision", precision)
    assert done.code == 0
    found = done.result
    assert found["passed"] is True
    assert (found["engine"], found["precision"]) == (engine, precision)
    assert len(found["layers"]) == LAYERS
    assert not [layer["remark"] for layer in found["layers"] if layer["remark"]]
    assert found["first_alone"] is None
    assert found["first_accumulated"] is None
    assert found["passing_alone"] <= limit
    assert found["passing_accumulated"] <= limit
    assert found["answer"]["relative"] <= limit
    assert found["looking"]["relative"] <= limit
    # Weights in half precision change something, or nothing was compared.
    if precision == "fp16":
        assert found["passing_alone"] > 1e-6


def test_tolerance_that_would_have_passed_passes_and_less_does_not(edgekit):
    ask = ("diff", "shapes", *LOCAL, "--engine", "ncnn", "--precision", "fp16")
    found = edgekit(*ask).result
    needed = max(found["passing_alone"], found["passing_accumulated"])
    strict = edgekit(*ask, "--tolerance", needed / 2)
    assert strict.code == 5
    assert strict.result["passed"] is False
    assert strict.result["first_accumulated"] or strict.result["first_alone"]
    assert edgekit(*ask, "--tolerance", needed * 1.001).code == 0


@pytest.mark.parametrize(
    ("engine", "precision", "filters"),
    [
        ("onnxruntime", "fp32", slice(3, 4)),
        ("ncnn", "fp32", slice(3, 4)),
        ("ncnn", "fp16", slice(3, 4)),
        # One filter of many drowns in the whole net's noise, and shows alone only.
        ("onnxruntime", "int8", slice(None, None, 4)),
    ],
)
def test_wrong_weight_is_named_alone_and_in_the_net(
    edgekit, monkeypatch, engine, precision, filters
):
    wrong = "/to_p4/to_p4.0/conv/Conv"
    assemble = layer_runs.assemble

    def corrupted(plan, model, *rest, **how):
        """Build for the device from a graph in which filters of one layer are wrong."""
        proto = onnx.load(model.onnx.path)
        found = [node for node in proto.graph.node if node.name == wrong]
        for node in found:
            weights = {tensor.name: tensor for tensor in proto.graph.initializer}[node.input[1]]
            values = numpy_helper.to_array(weights).copy()
            values[filters] *= -1
            weights.CopyFrom(numpy_helper.from_array(values, weights.name))
        assert len(found) == 1
        file = ContentStore().add_bytes(proto.SerializeToString())
        return assemble(plan, replace(model, onnx=file), *rest, **how)

    monkeypatch.setattr(layer_runs, "assemble", corrupted)
    ask = ("--engine", engine, "--precision", precision, "--calibration-count", "32")
    done = edgekit("diff", "shapes", *LOCAL, *ask)
    assert done.code == 5
    found = done.result
    assert found["first_alone"] == wrong
    assert found["first_accumulated"] == wrong
    assert deviating(found, "alone") == [wrong]
    behind = deviating(found, "accumulated")
    order = [layer["name"] for layer in found["layers"]]
    # What hangs on it deviates in the net, and nothing before it.
    assert behind[0] == wrong
    assert len(behind) > 10
    assert min(map(order.index, behind)) == order.index(wrong)
    assert found["passing_alone"] > found["tolerance"]["alone"]


def test_layers_that_fit_no_single_run_are_measured_in_several(edgekit, monkeypatch):
    monkeypatch.setattr(layer_runs, "CHUNK_BYTES", 1 << 20)
    done = edgekit("diff", "shapes", *LOCAL, "--engine", "onnxruntime")
    assert done.code == 0
    assert done.result["builds"]["alone"] > 2
    assert done.result["builds"]["accumulated"] > 2
    assert all(layer["alone"] and layer["accumulated"] for layer in done.result["layers"])


def test_layer_that_cannot_be_built_is_named_and_the_others_are_measured(edgekit, monkeypatch):
    """An engine that refuses one layer, however it is fed."""
    refused = "/stem/stem.2/Concat"
    assemble = layer_runs.assemble

    def refusing(plan, model, *rest, **how):
        from edgekit.core.errors import BuildError

        proto = onnx.load(model.onnx.path)
        alone = model.pipeline.preprocess.name == "tensor"
        if alone and any(node.name == refused for node in proto.graph.node):
            raise BuildError("no such layer here")
        return assemble(plan, model, *rest, **how)

    monkeypatch.setattr(layer_runs, "assemble", refusing)
    done = edgekit("diff", "shapes", *LOCAL, "--engine", "onnxruntime")
    assert done.code == 0
    layers = {layer["name"]: layer for layer in done.result["layers"]}
    assert layers[refused]["alone"] is None
    assert "alone not measured: no such layer here" in layers[refused]["remark"]
    assert layers[refused]["accumulated"] is not None
    missing = [name for name, layer in layers.items() if layer["alone"] is None]
    assert missing == [refused]


def test_infinity_on_the_device_is_named(edgekit, monkeypatch):
    wrong = "/narrow5/conv/Conv"
    assemble = layer_runs.assemble

    def overflowing(plan, model, *rest, **how):
        proto = onnx.load(model.onnx.path)
        for node in proto.graph.node:
            if node.name == wrong:
                weights = {t.name: t for t in proto.graph.initializer}[node.input[2]]
                values = numpy_helper.to_array(weights).copy()
                values[0] = np.inf
                weights.CopyFrom(numpy_helper.from_array(values, weights.name))
        file = ContentStore().add_bytes(proto.SerializeToString())
        return assemble(plan, replace(model, onnx=file), *rest, **how)

    monkeypatch.setattr(layer_runs, "assemble", overflowing)
    done = edgekit("diff", "shapes", *LOCAL, "--engine", "onnxruntime")
    assert done.code == 5
    assert done.result["first_alone"] == wrong
    layer = next(layer for layer in done.result["layers"] if layer["name"] == wrong)
    assert layer["alone"]["non_finite"] == 25
    assert done.result["passing_alone"] is None
    assert any("measured all the same" in line.get("text", "") for line in done.lines)


def test_what_is_active_is_what_is_compared(edgekit):
    short = ("--quick", "--runs", "2", "--seconds", "0.01", "--evaluate", "20", "--frames", "2")
    deployed = edgekit(
        "deploy", "shapes", *LOCAL, "--engine", "ncnn", "--precision", "fp16", *short
    )
    assert deployed.code == 0
    found = edgekit("diff", "shapes", *LOCAL).result
    assert (found["engine"], found["precision"]) == ("ncnn", "fp16")
    assert found["knobs"] == deployed.result["candidates"][0]["knobs"]


def test_what_cannot_be_is_refused(refused):
    assert "rknn" in refused(4, "diff", "shapes", *LOCAL, "--engine", "rknn")
    assert "takes one" in refused(2, "diff", "shapes", *LOCAL, "--engine", "ncnn,mnn")
    refused(2, "diff", "shapes", *LOCAL, "--tolerance", "nan")
    knob = ("--engine", "ncnn", "--precision", "fp32", "--knob")
    assert "winograd" in refused(2, "diff", "shapes", *LOCAL, *knob, "nonsense=1")
    assert "NAME=VALUE" in refused(2, "diff", "shapes", *LOCAL, *knob, "winograd")


@pytest.mark.parametrize("engine", ["onnxruntime", "ncnn", "tflite"])
def test_layers_of_int8_are_within_steps_of_int8_alone_and_in_the_net(edgekit, engine):
    ask = ("diff", "shapes", *LOCAL, "--engine", engine, "--precision", "int8")
    done = edgekit(*ask, "--calibration-count", "32")
    assert done.code == 0
    found = done.result
    assert found["tolerance"]["measure"] == "rms"
    assert found["quantisation"]
    assert all(layer["alone"] and layer["accumulated"] for layer in found["layers"])
    # They are int8 indeed: no float layer is a third of a step off.
    assert found["passing_alone"] > 1 / 255 / 3
    assert found["passing_accumulated"] > found["passing_alone"]
    assert found["layers"][1]["feeds"] == [found["layers"][0]["name"]]


def test_yolov5_is_compared_layer_by_layer(edgekit, model_mirror):
    done = edgekit(
        "diff", "yolov5", *LOCAL, "--engine", "ncnn", "--precision", "fp16", "--size", "320"
    )
    assert done.code == 0
    layers = done.result["layers"]
    assert layers[0]["name"] == "/model.0/conv/Conv"
    assert all(layer["alone"] and layer["accumulated"] for layer in layers)
