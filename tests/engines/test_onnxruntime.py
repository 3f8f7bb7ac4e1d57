"""What holds for ONNX Runtime alone."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.core.contracts import Unsupported
from edgekit.core.errors import BuildError
from edgekit.core.events import ignore
from edgekit.engines import load_engine
from edgekit.toolbox import run_build
from edgekit.toolbox.build import build

SAMPLES = 8


@pytest.fixture
def job(tiny, tmp_path):
    """Make a job on the tiny model, as the toolbox would; what it imports is installed here."""

    def make(precision, model=tiny.onnx.path, *, method="minmax", float_layers=(), signed=False):
        output, scratch, stack = (tmp_path / name for name in ("output", "scratch", "x.npy"))
        output.mkdir(exist_ok=True)
        scratch.mkdir(exist_ok=True)
        samples = np.random.default_rng(3).random((SAMPLES, *tiny.inputs[0].shape[1:]), np.float32)
        np.save(stack, samples)
        return run_build.Job(
            model=Path(model),
            precision=precision,
            settings={"activations": "QInt8" if signed else "QUInt8"},
            inputs=tiny.inputs,
            outputs=tiny.outputs,
            output=output,
            scratch=scratch,
            quantisation=run_build.Quantisation(method, float_layers)
            if precision == "int8"
            else None,
            sample_files={"x": stack} if precision == "int8" else {},
        )

    return make


@pytest.fixture
def script():
    """Load the build script anew, as a module."""
    path = load_engine("onnxruntime").build_script
    spec = importlib.util.spec_from_file_location("onnxruntime_build", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built(script, job):
    script.build(job)
    return onnx.load(job.output / "model.onnx")


def zero_points(model):
    """Return the types of the tensors that activations are quantised to."""
    held = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return {held[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"}


def restored(model):
    """Return what gives floats made of integers."""
    return {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}


def rewritten(path, change):
    """Change the graph of a file and return the new file."""
    model = onnx.load(path)
    change(model.graph)
    onnx.checker.check_model(model)
    changed = path.with_name("changed.onnx")
    onnx.save(model, changed)
    return changed


def test_fp16_stores_matrices_in_half_the_bytes(script, job):
    stored = {tensor.name: tensor for tensor in built(script, job("fp16")).graph.initializer}
    assert stored["w/float16"].data_type == TensorProto.FLOAT16
    assert stored["b"].data_type == TensorProto.FLOAT


def test_fp16_weight_beyond_its_range_stays_in_float32(script, job, tiny):
    def enlarge(graph):
        values = numpy_helper.to_array(graph.initializer[0]) * np.float32(1e5)
        graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "w"))

    made = built(script, job("fp16", rewritten(tiny.onnx.path, enlarge)))
    assert {tensor.data_type for tensor in made.graph.initializer} == {TensorProto.FLOAT}


@pytest.mark.parametrize("architecture", ["aarch64", "x86_64"])
def test_int8_activations_have_the_sign_that_the_processor_likes(
    script, job, tiny, local_target, architecture
):
    target = replace(local_target, architecture=architecture)
    settings = load_engine("onnxruntime").build_settings(tiny, "int8", target)
    signed = architecture == "aarch64"
    assert ("QInt8" in settings) == signed
    types = zero_points(built(script, job("int8", signed=signed)))
    assert types == {TensorProto.INT8 if signed else TensorProto.UINT8}


def test_int8_weights_are_signed_with_a_scale_for_each_channel(script, job):
    held = {tensor.name: tensor for tensor in built(script, job("int8")).graph.initializer}
    assert held["w_quantized"].data_type == TensorProto.INT8
    assert list(held["w_scale"].dims) == [4]
    assert not numpy_helper.to_array(held["w_zero_point"]).any()


def test_int8_ranges_are_the_observers(script, job):
    made = built(script, job("int8", method="minmax"))
    held = {tensor.name: tensor for tensor in made.graph.initializer}
    seen = np.load(job("int8").sample_files["x"])
    assert numpy_helper.to_array(held["x_scale"]) == pytest.approx(seen.max() / 255)


def test_int8_ranges_are_the_same_in_many_passes(script, job, monkeypatch):
    whole = built(script, job("int8")).SerializeToString()
    monkeypatch.setattr(script, "_PASS_BYTES", 1)
    assert built(script, job("int8")).SerializeToString() == whole


def test_int8_float_layer_reads_and_gives_floats(script, job):
    made = built(script, job("int8", float_layers=("stem",)))
    [stem] = [node for node in made.graph.node if node.name == "stem"]
    assert not restored(made).intersection(stem.input)
    assert restored(made), "the others are quantised all the same"


def test_int8_normalisation_named_as_float_keeps_the_layer_it_was_folded_into(script, job, tiny):
    def normalise(graph):
        for name, value in (("s", 2.0), ("o", 0.5), ("m", 0.25), ("v", 1.0)):
            graph.initializer.append(numpy_helper.from_array(np.full(4, value, np.float32), name))
        graph.node[1].input[0] = "n"
        graph.node.insert(
            1, helper.make_node("BatchNormalization", ["c", "s", "o", "m", "v"], ["n"], name="norm")
        )

    path = rewritten(tiny.onnx.path, normalise)
    quantised, kept = (
        built(script, job("int8", path, float_layers=layers)) for layers in ((), ("norm",))
    )
    for made, is_float in ((quantised, False), (kept, True)):
        assert "BatchNormalization" not in {node.op_type for node in made.graph.node}
        [stem] = [node for node in made.graph.node if node.op_type == "Conv"]
        assert bool(restored(made).intersection(stem.input)) != is_float


def test_int8_unknown_layer_is_refused(script, job):
    with pytest.raises(RuntimeError, match="no layer named wobble"):
        script.build(job("int8", float_layers=("stem", "wobble")))


def test_int8_names_no_operator_set_that_it_does_not_use(script, job, tiny):
    made = built(script, job("int8"))
    source = onnx.load(tiny.onnx.path)
    assert [(entry.domain, entry.version) for entry in made.opset_import] == [("", 13)]
    assert made.ir_version == source.ir_version


@pytest.mark.parametrize(
    ("operators", "words"),
    [
        (("Relu", "MaxPool"), "no layer to quantise"),
        (("Conv", "DequantizeLinear", "QuantizeLinear"), "quantised already"),
    ],
)
def test_check_int8_refuses_what_it_cannot_be_made_of(tiny, local_target, operators, words):
    engine, model = load_engine("onnxruntime"), replace(tiny, operators=operators)
    refusal = engine.check(model, "int8", local_target)
    assert isinstance(refusal, Unsupported)
    assert words in refusal.reason
    assert engine.check(model, "fp32", local_target) is None


def test_runtime_armv7l_is_unsupported(facts, local_target):
    found = load_engine("onnxruntime").runtime(local_target, facts("armv7l", numpy="1.24.2"))
    assert isinstance(found, Unsupported)
    assert found.reason == "no onnxruntime wheel exists for armv7l"
    assert "ncnn" in found.hint


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("values['first'] = values['first'] * 1.01", "output first is off by"),
        ("values['first'] = values['first'][0]", "output first has shape (4, 9, 7)"),
        ("values['second'] = values['second'] * np.nan", "output second holds NaN"),
        ("del values['second']", "output second is missing"),
    ],
)
def test_build_that_computes_something_else_is_found_on_the_host(
    tiny, local_target, tmp_path, change, words
):
    script = tmp_path / "build.py"
    script.write_text(
        "import numpy as np, onnxruntime\n"
        "def build(job):\n"
        "    (job.output / 'model').write_bytes(b'x')\n"
        "    session = onnxruntime.InferenceSession(str(job.model))\n"
        "    def infer(inputs):\n"
        "        names = [spec.name for spec in job.outputs]\n"
        "        values = dict(zip(names, session.run(names, inputs)))\n"
        f"        {change}\n"
        "        return values\n"
        "    job.verify(infer, tolerance=1e-3)\n"
    )

    class Wrong(type(load_engine("onnxruntime"))):
        build_script = script

    with pytest.raises(BuildError) as caught:
        build(Wrong(), tiny, "fp32", local_target, emit=ignore)
    assert words in caught.value.message
