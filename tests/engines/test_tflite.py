"""What holds for TFLite alone."""

import hashlib
import json
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from edgekit.core.contracts import RuntimeSpec, Unsupported
from edgekit.core.errors import BuildError
from edgekit.core.events import ignore
from edgekit.core.model import FileRef
from edgekit.core.quantisation import CalibrationSet, Int8, Quantisation
from edgekit.engines import load_engine
from edgekit.toolbox.build import build
from edgekit.toolbox.environments import environment

TFLITE = load_engine("tflite")
# Reads a file with LiteRT itself, kernels plain: what stands there is what was written.
READ = """
import json, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
net = Interpreter(model_path=sys.argv[1], experimental_op_resolver_type=plain)
dtypes = sorted({np.dtype(item["dtype"]).name for item in net.get_tensor_details()})
print(json.dumps([dtypes, [item["op_name"] for item in net._get_ops_details()]]))
"""

SCALES = """
import json, sys
from ai_edge_litert.interpreter import Interpreter, OpResolverType
plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
net = Interpreter(model_path=sys.argv[1], experimental_op_resolver_type=plain)
scales = {
    item["index"]: len(item["quantization_parameters"]["scales"])
    for item in net.get_tensor_details()
}
print(json.dumps([[op["op_name"], scales[op["inputs"][1]]] for op in net._get_ops_details()]))
"""


@pytest.fixture
def make_int8(calibrate, local_target):
    """Build int8; give tensors.json, the dtypes of all tensors, and the operators in order."""

    def make(model, *layers, samples=None):
        int8 = Int8(Quantisation("minmax", layers), samples or calibrate(model))
        files = {
            file.path: file.source
            for file in build(TFLITE, model, "int8", local_target, int8=int8, emit=ignore)
        }
        python = str(environment(TFLITE.toolbox, emit=ignore).python)
        done = subprocess.run(
            [python, "-c", READ, str(files["model.tflite"])],
            capture_output=True,
            text=True,
            check=True,
        )
        return (json.loads(files["tensors.json"].read_text()), *json.loads(done.stdout))

    return make


@pytest.mark.parametrize(
    ("python", "package"),
    [("3.7.3", "tflite-runtime"), ("3.8.10", "tflite-runtime"), ("3.9.2", "ai-edge-litert")],
)
def test_runtime_old_python_takes_the_forerunner(facts, local_target, python, package):
    found = TFLITE.runtime(local_target, facts("aarch64", [python]))
    assert isinstance(found, RuntimeSpec)
    assert found.packages == (package, "numpy")


def test_runtime_armv7l_takes_numpy_from_the_board(facts, local_target):
    found = TFLITE.runtime(local_target, facts("armv7l", numpy="1.24.2"))
    assert isinstance(found, RuntimeSpec)
    assert found.packages == ("tflite-runtime",)
    assert found.system_packages == ("numpy",)


@pytest.mark.parametrize(
    ("pythons", "numpy", "words"),
    [
        (["3.11.2"], None, "which has none"),
        (["3.11.2"], "2.1.0", "needs NumPy 1"),
        (["3.13.5"], "2.2.4", "Python 3.7 to 3.11"),
    ],
)
def test_runtime_armv7l_that_cannot_be_served_says_why(facts, local_target, pythons, numpy, words):
    found = TFLITE.runtime(local_target, facts("armv7l", pythons, numpy=numpy))
    assert isinstance(found, Unsupported)
    assert words in found.reason
    assert found.hint


def test_runtime_armv6l_is_unsupported(facts, local_target):
    found = TFLITE.runtime(local_target, facts("armv6l", numpy="1.24.2"))
    assert isinstance(found, Unsupported)
    assert found.reason == "no TFLite wheel exists for armv6l"


@pytest.mark.parametrize(
    ("operators", "words"),
    [
        (("Conv", "LeakyRelu"), "no kernel for in LeakyRelu"),
        (("Add", "Relu"), "no layer with weights"),
    ],
)
def test_check_int8_refuses_what_cannot_be_all_integer(tiny, local_target, operators, words):
    model = replace(tiny, operators=operators)
    refusal = TFLITE.check(model, "int8", local_target)
    assert refusal is not None
    assert words in refusal.reason
    assert TFLITE.check(model, "fp32", local_target) is None


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_of_what_tflite_computes_otherwise_fails_on_the_host(make_model, local_target):
    with pytest.raises(BuildError) as caught:
        build(TFLITE, make_model("RandomNormalLike"), "fp32", local_target, emit=ignore)
    assert "tflite fp32 could not be built from tiny" in caught.value.message
    assert "computes something else" in caught.value.message


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_fp16_stores_the_weights_in_half_and_allows_half_arithmetic(tiny, local_target):
    import onnx

    graph = onnx.load(tiny.onnx.path).graph
    weights = onnx.numpy_helper.to_array(next(w for w in graph.initializer if w.name == "w"))
    kernel = weights.transpose(0, 2, 3, 1)  # as TFLite has it

    def data(precision):
        files = build(TFLITE, tiny, precision, local_target, emit=ignore)
        return next(f for f in files if f.path == "model.tflite").source.read_bytes()

    whole, half = data("fp32"), data("fp16")
    assert kernel.tobytes() in whole
    assert kernel.tobytes() not in half
    assert kernel.astype(np.float16).tobytes() in half
    assert b"reduced_precision_support" in half
    assert b"reduced_precision_support" not in whole


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_int8_is_all_integer_and_takes_a_picture_without_loss(tiny, make_int8):
    tensors, dtypes, operators = make_int8(tiny)
    assert set(dtypes) <= {"int8", "int32"}
    assert {"CONV_2D"} <= set(operators)
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(operators)
    (given,) = tensors["inputs"]
    assert given["scale"] == pytest.approx(1 / 255, rel=1e-6)
    assert (given["zero_point"], given["dtype"], given["axes"]) == (-128, "int8", [0, 2, 3, 1])
    assert [item["dtype"] for item in tensors["outputs"]] == ["int8", "int8"]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_int8_input_beyond_0_to_1_has_the_range_that_was_seen(tiny, make_int8, calibrate, tmp_path):
    ((name, file),) = calibrate(tiny).inputs
    path = tmp_path / "normalised.npy"
    np.save(path, np.load(file.path) * 4 - 2)
    shifted = FileRef(path, "", path.stat().st_size)
    tensors, _dtypes, _operators = make_int8(
        tiny, samples=CalibrationSet(((name, shifted),), 16, (), "normalised")
    )
    assert tensors["inputs"][0]["scale"] == pytest.approx(4 / 255, rel=1e-2)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
@pytest.mark.parametrize(("layer", "kind"), [("stem", "int8"), ("activation", "float32")])
def test_int8_float_layer_is_found_and_an_output_it_makes_stays_float(tiny, make_int8, layer, kind):
    tensors, dtypes, operators = make_int8(tiny, layer)
    assert {"int8", "float32"} <= set(dtypes)
    assert {"QUANTIZE", "DEQUANTIZE"} <= set(operators)
    kinds = {item["name"]: item["dtype"] for item in tensors["outputs"]}
    assert kinds == {"first": kind, "second": "int8"}


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_int8_joined_tensors_share_a_scale_and_are_not_rounded_twice(tmp_path, tiny, make_int8):
    tensors, dtypes, operators = make_int8(_joined(tmp_path / "joined.onnx", tiny))
    assert "CONCATENATION" in operators
    assert "QUANTIZE" not in operators
    assert set(dtypes) <= {"int8", "int32"}
    first, second = tensors["outputs"]
    assert first["scale"] == second["scale"]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_int8_matmul_has_one_scale_for_all_weights_as_its_kernels_take(
    tmp_path, tiny, calibrate, local_target
):
    model = _matmul(tmp_path / "matmul.onnx", tiny)
    int8 = Int8(Quantisation("minmax"), calibrate(model))
    files = build(TFLITE, model, "int8", local_target, int8=int8, emit=ignore)
    path = next(file.source for file in files if file.path == "model.tflite")
    python = str(environment(TFLITE.toolbox, emit=ignore).python)
    done = subprocess.run(
        [python, "-c", SCALES, str(path)], capture_output=True, text=True, check=True
    )
    # Per column, LiteRT computes nonsense and says nothing.
    assert json.loads(done.stdout) == [["BATCH_MATMUL", 1]]


def _matmul(path, tiny):
    import onnx
    from onnx import helper, numpy_helper

    weights = np.random.default_rng(5).standard_normal((8, 10)).astype(np.float32)
    shapes = {"x": (1, 5, 8), "y": (1, 5, 10)}
    x, y = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    )
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    graph = helper.make_graph(nodes, "matmul", [x], [y], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    data = path.read_bytes()
    file = FileRef(path, hashlib.sha256(data).hexdigest(), len(data))
    return replace(
        tiny,
        onnx=file,
        reference=file,
        inputs=(replace(tiny.inputs[0], shape=shapes["x"]),),
        outputs=(replace(tiny.outputs[0], name="y", shape=shapes["y"]),),
        operators=("MatMul",),
    )


def _joined(path, tiny):
    """Write a model whose two branches are joined, one of which also is an output itself."""
    import onnx
    from onnx import helper, numpy_helper

    random = np.random.default_rng(3)
    weights = [random.standard_normal((4, 3, 1, 1)).astype(np.float32) for _ in range(2)]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], name="one"),
        helper.make_node("Conv", ["x", "w1"], ["b"], name="two"),
        helper.make_node("Concat", ["a", "b"], ["joined"], name="join", axis=1),
        helper.make_node("MaxPool", ["a"], ["pooled"], name="pool", kernel_shape=[2, 2]),
    ]
    shapes = {"x": (1, 3, 9, 7), "joined": (1, 8, 9, 7), "pooled": (1, 4, 8, 6)}
    values = {
        name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    }
    held = [numpy_helper.from_array(value, f"w{n}") for n, value in enumerate(weights)]
    outputs = [values["joined"], values["pooled"]]
    graph = helper.make_graph(nodes, "joined", [values["x"]], outputs, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    specs = tuple(
        replace(tiny.outputs[0], name=name, shape=shapes[name]) for name in ("joined", "pooled")
    )
    data = path.read_bytes()
    file = FileRef(path, hashlib.sha256(data).hexdigest(), len(data))
    operators = ("Concat", "Conv", "MaxPool")
    return replace(tiny, onnx=file, reference=file, outputs=specs, operators=operators)
