"""What holds for ncnn alone."""

import ctypes
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.contracts import RuntimeSpec, Unsupported
from edgekit.core.errors import BuildError
from edgekit.core.events import ignore
from edgekit.core.model import FileRef, TensorSpec
from edgekit.core.quantisation import Int8, Quantisation
from edgekit.core.target import Accelerator
from edgekit.engines import load_engine
from edgekit.toolbox.build import build
from edgekit.toolbox.runner_pack import pack_runner
from edgekit.toolbox.wheels import resolve

NCNN = load_engine("ncnn")


@pytest.fixture
def make_graph(tiny, tmp_path):
    """Make a model of nodes and weights; the input is ``x``, the output ``y``."""

    def make(name, nodes, weights, shape, result):
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        graph = helper.make_graph(
            [helper.make_node(kind, reads, [made], **more) for kind, reads, made, more in nodes],
            name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, result)],
            [numpy_helper.from_array(value, key) for key, value in weights.items()],
        )
        opset = [helper.make_opsetid("", 13)]
        data = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
        onnx.checker.check_model(data)
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(data)
        file = FileRef(path, hashlib.sha256(data).hexdigest(), len(data))
        return replace(
            tiny,
            name=name,
            onnx=file,
            reference=file,
            inputs=(TensorSpec("x", "float32", tuple(shape)),),
            outputs=(TensorSpec("y", "float32", tuple(result)),),
            operators=tuple(sorted({kind for kind, *_rest in nodes})),
        )

    return make


@pytest.fixture
def chain(make_graph):
    """A convolution, a depthwise one, another, and a fully connected layer."""
    random = np.random.default_rng(3)
    weights = {
        "a": random.standard_normal((16, 3, 3, 3)).astype(np.float32),
        "b": random.standard_normal((16, 1, 3, 3)).astype(np.float32),
        "c": random.standard_normal((8, 16, 1, 1)).astype(np.float32),
        "d": random.standard_normal((8, 4)).astype(np.float32),
        "e": random.standard_normal(4).astype(np.float32),
    }
    # Training leaves dead channels, whose scale must divide nothing.
    for name, channel in (("a", 3), ("b", 5), ("c", 2)):
        weights[name][channel] = 0
    weights["d"][:, 1] = 0
    nodes = [
        ("Conv", ["x", "a"], "1", {"name": "first", "pads": [1, 1, 1, 1]}),
        ("Relu", ["1"], "2", {"name": "relu"}),
        ("Conv", ["2", "b"], "3", {"name": "depthwise", "pads": [1, 1, 1, 1], "group": 16}),
        ("Relu", ["3"], "4", {"name": "relu_2"}),
        ("Conv", ["4", "c"], "5", {"name": "pointwise"}),
        ("GlobalAveragePool", ["5"], "6", {"name": "pool"}),
        ("Flatten", ["6"], "7", {"name": "flat"}),
        ("Gemm", ["7", "d", "e"], "y", {"name": "dense"}),
    ]
    return make_graph("chain", nodes, weights, [1, 3, 9, 7], [1, 4])


@pytest.fixture
def built(calibrate, local_target):
    """Build int8; give the files and each weighted layer's scale term, in the graph's order."""

    def make(model, *float_layers):
        int8 = Int8(Quantisation("minmax", float_layers), calibrate(model))
        files = build(NCNN, model, "int8", local_target, int8=int8, emit=ignore)
        param = next(file.source for file in files if file.path.endswith(".param"))
        terms = []
        for line in param.read_text().splitlines()[2:]:
            kind, _name, inputs, outputs, *rest = line.split()
            settings = dict(item.split("=") for item in rest[int(inputs) + int(outputs) :])
            if kind in {"Convolution", "ConvolutionDepthWise", "InnerProduct"}:
                terms.append((kind, int(settings.get("8", 0))))
            if kind == "Gemm":
                terms.append((kind, int(settings.get("18", 0))))
        return files, terms

    return make


@pytest.fixture
def run_once(run_runner, local_target, here, tmp_path):
    """Run built files on one input through the runner; give ``y``."""

    def run(model, files, array, precision="int8", **changes):
        frame = tmp_path / "frame.npz"
        np.savez(frame, x=array)
        pack = resolve(NCNN.runtime(local_target, here), here, emit=ignore)
        every = (*files, pack_runner(NCNN))
        done, folder = run_runner(every, pack.wheels, model, "ncnn", precision, [frame], **changes)
        assert done.returncode == 0, done.stderr
        return np.load(folder / "out-0-0.npy")

    return run


def reference(model, array):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model.onnx.path), providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": array})[0]


def test_runtime_armv7l_takes_numpy_from_the_board(facts, local_target):
    found = NCNN.runtime(local_target, facts("armv7l", numpy="1.24.2"))
    assert isinstance(found, RuntimeSpec)
    assert found.packages == ("ncnn",)
    assert found.system_packages == ("numpy",)


def test_runtime_armv7l_without_numpy_says_how_to_install_it(facts, local_target):
    found = NCNN.runtime(local_target, facts("armv7l"))
    assert isinstance(found, Unsupported)
    assert found.hint == "sudo apt install python3-numpy"


def test_runtime_armv7l_old_python_is_unsupported(facts, local_target):
    found = NCNN.runtime(local_target, facts("armv7l", ["3.7.3"], numpy="1.16.2"))
    assert isinstance(found, Unsupported)
    assert "3.9" in found.reason


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (TensorSpec("ids", "int64", (1, 16)), "int64"),
        (TensorSpec("x", "float32", (4, 3, 8, 8)), "batch of 4"),
    ],
)
def test_check_refuses_inputs_that_ncnn_cannot_take(tiny, local_target, spec, word):
    refusal = NCNN.check(replace(tiny, inputs=(spec,)), "fp32", local_target)
    assert refusal is not None
    assert word in refusal.reason


def test_check_names_the_engine_that_has_the_operator(tiny, local_target):
    model = replace(tiny, operators=("Conv", "NonMaxSuppression"))
    refusal = NCNN.check(model, "fp32", local_target)
    assert refusal is not None
    assert "NonMaxSuppression" in refusal.reason
    assert "onnxruntime" in refusal.hint


def test_check_int8_without_a_layer_for_it_says_which_there_are(tiny, local_target):
    model = replace(tiny, operators=("Add", "Relu"))
    refusal = NCNN.check(model, "int8", local_target)
    assert refusal is not None
    assert "Conv, Gemm, MatMul" in refusal.reason
    assert NCNN.check(model, "fp32", local_target) is None


def offered(precision, target, facts):
    return {knob.name: knob.values for knob in NCNN.knobs(precision, target, facts)}


@pytest.mark.parametrize(
    ("accelerator", "there"),
    [
        (Accelerator("gpu", "Mali-G52 2EE"), True),
        (Accelerator("gpu", "VideoCore IV"), False),
        (Accelerator("npu", "RKNPU2, 1 core"), False),
    ],
)
def test_knobs_offer_the_gpu_where_it_has_vulkan_but_not_for_int8(
    facts, local_target, accelerator, there
):
    target = replace(local_target, accelerators=(accelerator,))
    assert ("gpu" in offered("fp16", target, facts())) is there
    assert offered("fp16", target, facts()).get("gpu", ("off",))[0] == "off"
    assert "gpu" not in offered("int8", target, facts())


def test_knobs_offer_half_precision_beside_int8_where_the_cpu_has_it(facts, local_target):
    able = replace(facts("aarch64"), cpu_features=("asimd", "asimdhp"))
    assert offered("int8", local_target, able)["half"] == ("off", "on")
    assert "half" not in offered("int8", local_target, facts("aarch64"))
    assert "half" not in offered("fp32", local_target, able)


def need_vulkan():
    """Skip where this machine has no Vulkan loader or no driver for it."""
    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError:
        pytest.skip("no libvulkan.so.1 here (Debian: libvulkan1)")
    folders = (Path("/usr/share/vulkan/icd.d"), Path("/etc/vulkan/icd.d"))
    if not any(folder.glob("*.json") for folder in folders):
        pytest.skip("no Vulkan driver here (Debian: mesa-vulkan-drivers)")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 2e-2)])
def test_gpu_answers_as_the_cpu_does(chain, local_target, run_once, precision, tolerance):
    need_vulkan()
    files = build(NCNN, chain, precision, local_target, emit=ignore)
    array = np.random.default_rng(5).random(chain.inputs[0].shape, np.float32)
    found = run_once(chain, files, array, precision, knobs={"threads": 1, "gpu": "on"})
    expected = reference(chain, array)
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_gpu_without_a_driver_fails_in_words(chain, local_target, here, run_runner, tmp_path):
    files = (*build(NCNN, chain, "fp32", local_target, emit=ignore), pack_runner(NCNN))
    frame, nowhere = tmp_path / "frame.npz", str(tmp_path / "no-driver.json")
    np.savez(frame, x=np.zeros(chain.inputs[0].shape, np.float32))
    done, _folder = run_runner(
        files,
        resolve(NCNN.runtime(local_target, here), here, emit=ignore).wheels,
        *(chain, "ncnn", "fp32", [frame]),
        knobs={"threads": 1, "gpu": "on"},
        variables={"VK_DRIVER_FILES": nowhere, "VK_ICD_FILENAMES": nowhere},
    )
    assert done.returncode == 1
    assert "no Vulkan device" in done.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_winograd_off_answers_the_same(make_graph, local_target, run_once):
    random = np.random.default_rng(3)
    weights = {"w": random.standard_normal((16, 32, 3, 3)).astype(np.float32)}
    nodes = [("Conv", ["x", "w"], "y", {"name": "conv", "pads": [1, 1, 1, 1]})]
    model = make_graph("conv", nodes, weights, [1, 32, 16, 16], [1, 16, 16, 16])
    files = build(NCNN, model, "fp32", local_target, emit=ignore)
    array = random.random((1, 32, 16, 16), np.float32)
    expected = reference(model, array)
    for winograd in ("on", "off"):
        knobs = {"threads": 1, "winograd": winograd}
        found = run_once(model, files, array, "fp32", knobs=knobs)
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_int8_layers_hand_int8_on_and_keep_to_the_reference(chain, built, run_once):
    files, terms = built(chain)
    # 100 and more: the next layer gets int8.
    assert terms == [
        ("Convolution", 102),
        ("ConvolutionDepthWise", 101),
        ("Convolution", 2),
        ("InnerProduct", 2),
    ]
    array = np.random.default_rng(5).random(chain.inputs[0].shape, np.float32)
    expected = reference(chain, array)
    assert np.abs(run_once(chain, files, array) - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_int8_keeps_the_named_layers_in_float_and_hands_them_float(chain, built):
    # What has no weights of its own may be named as well.
    assert built(chain, "depthwise", "dense", "relu")[1] == [
        ("Convolution", 2),
        ("ConvolutionDepthWise", 0),
        ("Convolution", 2),
        ("InnerProduct", 0),
    ]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_int8_sums_of_winograd_stay_within_32_bits(make_graph, built, run_once):
    # 64 channels of equal weights and inputs: at 127 levels ncnn answers 14439 for 73152.
    weights = {"w": np.ones((16, 64, 3, 3), np.float32)}
    nodes = [("Conv", ["x", "w"], "y", {"name": "conv", "pads": [1, 1, 1, 1]})]
    model = make_graph("sums", nodes, weights, [1, 64, 16, 16], [1, 16, 16, 16])
    files, terms = built(model)
    assert terms == [("Convolution", 2)]
    array = np.ones((1, 64, 16, 16), np.float32)
    expected = reference(model, array)
    assert expected.max() == 576
    assert np.abs(run_once(model, files, array) - expected).max() < 0.02 * 576


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_int8_of_grouped_convolutions_alone_is_refused(make_graph, built):
    weights = {"w": np.ones((16, 8, 3, 3), np.float32)}
    nodes = [("Conv", ["x", "w"], "y", {"name": "conv", "pads": [1, 1, 1, 1], "group": 2})]
    model = make_graph("grouped", nodes, weights, [1, 16, 8, 8], [1, 16, 8, 8])
    with pytest.raises(BuildError) as caught:
        built(model)
    assert "none of this model's layers in int8" in caught.value.message


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_int8_matrix_products_keep_to_the_reference(make_graph, built, run_once):
    random = np.random.default_rng(3)
    weights = {"w": random.standard_normal((24, 32)).astype(np.float32)}
    weights["b"] = random.standard_normal(32).astype(np.float32)
    nodes = [("MatMul", ["x", "w"], "1", {"name": "product"}), ("Add", ["1", "b"], "y", {})]
    model = make_graph("product", nodes, weights, [1, 16, 24], [1, 16, 32])
    files, terms = built(model)
    assert terms == [("Gemm", 2)]
    assert built(model, "product")[1] == [("Gemm", 0)]
    array = random.random((1, 16, 24), np.float32)
    expected = reference(model, array)
    assert np.abs(run_once(model, files, array) - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_of_what_ncnn_lacks_fails_on_the_host(make_model, local_target):
    with pytest.raises(BuildError) as caught:
        build(NCNN, make_model("Hardmax"), "fp32", local_target, emit=ignore)
    assert "ncnn fp32 could not be built from tiny" in caught.value.message
    assert caught.value.exit_code == 4


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_fp16_files_are_half_the_size(tiny, local_target):
    def weights(precision):
        files = build(NCNN, tiny, precision, local_target, emit=ignore)
        return next(file.size_bytes for file in files if file.path.endswith(".bin"))

    assert weights("fp16") < 0.6 * weights("fp32")
