"""Models that show layers compute what the model computes."""

import numpy as np
import onnx
import onnxruntime
import pytest

from edgekit.core.events import ignore
from edgekit.prepare.frames import load_frames
from edgekit.prepare.layer_calibration import layer_calibration
from edgekit.prepare.layer_models import LayerModels
from edgekit.prepare.reference import load_frame


@pytest.fixture
def layers(shapes_model, shapes_recipe, tmp_path):
    frame = load_frames(shapes_recipe, shapes_model, images=None, emit=ignore)[0]
    return LayerModels(shapes_model, frame, tmp_path)


def run(shown, inputs):
    onnx.checker.check_model(str(shown.model.onnx.path), full_check=True)
    session = onnxruntime.InferenceSession(str(shown.model.onnx.path))
    assert [value.name for value in session.get_inputs()] == [s.name for s in shown.model.inputs]
    names = [spec.name for spec in shown.model.outputs]
    assert [value.name for value in session.get_outputs()] == names
    values = dict(zip(names, session.run(names, dict(inputs)), strict=True))
    for spec in shown.model.outputs:
        assert values[spec.name].shape == spec.shape
    return values


@pytest.mark.parametrize("copied", [False, True])
def test_exposed_model_gives_every_layer_and_its_own_outputs(layers, shapes_model, copied):
    shown = layers.exposed(layers.groups, copied=copied)
    found = run(shown, {"images": layers.value("images")})
    assert {spec.name for spec in shapes_model.outputs} <= set(found)
    for group in layers.groups:
        for tensor in group.made:
            np.testing.assert_allclose(
                found[shown.outputs[tensor]], layers.value(tensor), rtol=0, atol=1e-4
            )
    assert shown.model.pipeline.preprocess == shapes_model.pipeline.preprocess


def test_exploded_model_computes_each_layer_from_what_it_is_fed(layers):
    groups = layers.groups[3:6]
    shown = layers.exploded(groups)
    fed = load_frame(shown.frame.path)
    found = run(shown, fed)
    for group in groups:
        for tensor in group.made:
            np.testing.assert_allclose(
                found[shown.outputs[tensor]], layers.value(tensor), rtol=0, atol=1e-5
            )
    # What one layer makes of another input is no other layer's business.
    first = shown.inputs[groups[0].given[0]]
    other = run(shown, {**fed, first: fed[first] + 1})
    changed = [
        group.name
        for group in groups
        for tensor in group.made
        if not np.array_equal(other[shown.outputs[tensor]], found[shown.outputs[tensor]])
    ]
    readers = [group.name for group in groups if groups[0].given[0] in group.given]
    assert changed == readers


def test_names_are_plain_and_new(layers):
    for shown in (layers.exposed(layers.groups), layers.exploded(layers.groups)):
        names = [spec.name for spec in (*shown.model.inputs, *shown.model.outputs)]
        assert all(name.isidentifier() for name in names)
        assert len(set(names)) == len(names)


def test_chunks_hold_all_layers_within_the_limit(layers):
    whole = list(layers.chunks(layers.groups, 1 << 40, alone=True))
    assert whole == [layers.groups]
    limit = 400_000
    parts = list(layers.chunks(layers.groups, limit, alone=True))
    assert sum(parts, ()) == layers.groups
    for part in parts:
        sizes = [
            layers.value(name).nbytes for group in part for name in (*group.given, *group.made)
        ]
        assert len(part) == 1 or sum(sizes) <= limit


def test_layer_calibration_is_what_the_net_feeds(layers, shapes_model, shapes_recipe, tmp_path):
    from edgekit.prepare.calibration import load_calibration

    whole = load_calibration(shapes_recipe, shapes_model, images=None, count=8, emit=ignore)
    groups = layers.groups[:2]
    inputs = layers.exploded(groups).inputs
    folder = tmp_path / "calibration"
    folder.mkdir()
    made = layer_calibration(shapes_model, whole, inputs, folder, 1 << 30)
    assert made.count == 8
    stacks = {name: np.load(file.path) for name, file in made.inputs}
    assert set(stacks) == set(inputs.values())
    own = np.load(dict(whole.inputs)["images"].path)
    np.testing.assert_array_equal(stacks[inputs["images"]], own)
    fed = stacks[inputs[groups[1].given[0]]]
    session = onnxruntime.InferenceSession(str(layers.exposed(groups).model.onnx.path))
    for number in range(8):
        (expected,) = session.run([layers.exposed(groups).outputs[groups[0].made[0]]], {
            "images": own[number : number + 1]
        })  # fmt: skip
        np.testing.assert_allclose(fed[number], expected[0], rtol=0, atol=1e-5)
    few = tmp_path / "few"
    few.mkdir()
    own_bytes = sum(stack[0].nbytes for stack in stacks.values())
    assert layer_calibration(shapes_model, whole, inputs, few, 3 * own_bytes).count == 3
