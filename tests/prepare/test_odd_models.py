"""Graphs that are lawful and odd, and some that are not lawful."""

import pytest
import tiny_models
from onnx import TensorProto, helper

from edgekit.core.errors import ModelError
from edgekit.core.events import ignore
from edgekit.prepare.normalise import prepare_model


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def graph(*nodes, shape=(4, 4), output=(4, 4), kind=TensorProto.FLOAT, domains=(), functions=()):
    imports = [helper.make_opsetid("", 17), *(helper.make_opsetid(name, 1) for name in domains)]
    inputs = [] if shape == "none" else [value("x", shape)]
    body = helper.make_graph(list(nodes), "odd", inputs, [value("y", output, kind)])
    return helper.make_model(body, opset_imports=imports, ir_version=8, functions=list(functions))


def prepare(model, tmp_path):
    file = tiny_models.saved(model, tmp_path / "odd.onnx")
    return prepare_model(tiny_models.recipe("tensor"), file, size=None, emit=ignore)


def test_operators_of_the_runtime_are_kept_and_named_with_their_domain(tmp_path):
    fused = helper.make_node("FusedMatMul", ["x", "x"], ["a"], domain="com.microsoft")
    source = graph(fused, helper.make_node("Relu", ["a"], ["y"]), domains=["com.microsoft"])
    model = prepare(source, tmp_path)
    assert model.operators == ("Relu", "com.microsoft::FusedMatMul")
    assert model.outputs[0].shape == (4, 4)


@pytest.mark.parametrize(("domain", "named"), [("", "Frob"), ("my.ops", "my.ops::Frob")])
def test_operator_that_nobody_defines_is_named(tmp_path, domain, named):
    node = helper.make_node("Frob", ["x"], ["y"], domain=domain)
    with pytest.raises(ModelError, match=f"does not define: {named}$"):
        prepare(graph(node, domains=[domain] if domain else []), tmp_path)


def test_functions_of_the_file_are_put_in_place_of_their_calls(tmp_path):
    twice = helper.make_function(
        "local",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    node = helper.make_node("Twice", ["x"], ["y"], domain="local")
    model = prepare(graph(node, domains=["local"], functions=[twice]), tmp_path)
    assert model.operators == ("Add",)


def test_output_whose_size_hangs_on_the_data_is_refused(tmp_path):
    node = helper.make_node("NonZero", ["x"], ["y"])
    with pytest.raises(ModelError, match="y has no fixed shape"):
        prepare(graph(node, output=("r", "n"), kind=TensorProto.INT64), tmp_path)


def test_scalar_output_is_lawful(tmp_path):
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    assert prepare(graph(node, output=()), tmp_path).outputs[0].shape == ()


def test_input_that_is_no_image_cannot_be_sized(tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"])
    with pytest.raises(ModelError, match=r"x \[n, t\] has a dynamic shape") as caught:
        prepare(graph(node, shape=("n", "t"), output=("n", "t")), tmp_path)
    assert "static shapes" in str(caught.value.hint)
    file = tiny_models.saved(graph(node), tmp_path / "odd.onnx")
    with pytest.raises(ModelError, match="takes no image"):
        prepare_model(tiny_models.recipe("tensor"), file, size=(8, 8), emit=ignore)


def test_input_without_a_shape_is_refused(tmp_path):
    with pytest.raises(ModelError, match="'shape' of 'type' is required"):
        prepare(graph(helper.make_node("Relu", ["x"], ["y"]), shape=None, output=None), tmp_path)


def test_model_without_inputs_is_refused(tmp_path):
    node = helper.make_node("Constant", [], ["y"], value_float=1.0)
    with pytest.raises(ModelError, match="takes no input"):
        prepare(graph(node, shape="none", output=()), tmp_path)


def test_graph_that_breaks_the_rules_is_refused(tmp_path):
    with pytest.raises(ModelError, match="breaks the rules of ONNX"):
        prepare(graph(helper.make_node("Relu", ["nowhere"], ["y"])), tmp_path)


def test_image_recipe_on_a_model_without_images_is_refused(tmp_path):
    file = tiny_models.saved(graph(helper.make_node("Relu", ["x"], ["y"])), tmp_path / "odd.onnx")
    with pytest.raises(ModelError, match="takes no image"):
        prepare_model(tiny_models.recipe("classify"), file, size=None, emit=ignore)
