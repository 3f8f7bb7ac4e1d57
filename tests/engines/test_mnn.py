"""What holds for MNN alone."""

import hashlib
import json
import re
import subprocess
from dataclasses import asdict, replace

import numpy as np
import pytest

from edgekit.core.contracts import RuntimeSpec, Unsupported
from edgekit.core.errors import BuildError
from edgekit.core.events import ignore
from edgekit.core.model import TensorSpec
from edgekit.core.quantisation import Int8, Quantisation
from edgekit.engines import load_engine
from edgekit.toolbox import run_build
from edgekit.toolbox.build import build
from edgekit.toolbox.environments import environment
from edgekit.toolbox.runner_pack import pack_runner
from edgekit.toolbox.wheels import resolve

MNN = load_engine("mnn")
# Prints the operations that MNN ran, as it calls them itself.
RUN = """
import sys, MNN
net = MNN.Interpreter(sys.argv[1])
session = net.createSession({"backend": "CPU", "numThread": 1, "precision": "high"})
def note(tensors, operation):
    print("ran", operation.getType())
    return True
net.runSessionWithCallBackInfo(session, lambda tensors, operation: True, note)
"""


def test_runtime_armv7l_is_unsupported(facts, local_target):
    found = MNN.runtime(local_target, facts("armv7l", numpy="1.24.2"))
    assert isinstance(found, Unsupported)
    assert found.reason == "no mnn wheel exists for armv7l"
    assert "ncnn" in found.hint


def test_runtime_takes_the_pythons_of_old_images(facts, local_target):
    for version in ("3.6.9", "3.7.3"):
        found = MNN.runtime(local_target, facts("aarch64", [version], glibc="2.27"))
        assert isinstance(found, RuntimeSpec)
        assert found.python.version == version


def test_check_refuses_inputs_that_are_not_float(tiny, local_target):
    model = replace(tiny, inputs=(TensorSpec("ids", "int64", (1, 16)),))
    refusal = MNN.check(model, "fp32", local_target)
    assert refusal is not None
    assert "int64" in refusal.reason


def test_check_names_the_engine_that_has_the_operator(tiny, local_target):
    model = replace(tiny, operators=("Conv", "NonMaxSuppression"))
    refusal = MNN.check(model, "fp32", local_target)
    assert refusal is not None
    assert "NonMaxSuppression" in refusal.reason
    assert "onnxruntime" in refusal.hint


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_of_what_mnn_lacks_names_the_operator(make_model, local_target):
    with pytest.raises(BuildError) as caught:
        build(MNN, make_model("Hardmax"), "fp32", local_target, emit=ignore)
    assert "mnn fp32 could not be built from tiny" in caught.value.message
    assert "no operator Hardmax" in caught.value.message
    assert caught.value.exit_code == 4


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_of_a_torn_file_says_what_the_converter_said(tiny, local_target, tmp_path):
    torn = tmp_path / "torn.onnx"
    torn.write_bytes(tiny.onnx.path.read_bytes()[:100])
    model = replace(tiny, onnx=replace(tiny.onnx, path=torn, sha256="0" * 64))
    with pytest.raises(BuildError) as caught:
        build(MNN, model, "fp32", local_target, emit=ignore)
    assert "MNN's converter left no file" in caught.value.message
    assert "not onnx model" in caught.value.message


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_fp16_file_is_smaller(make_model, local_target):
    def size(precision):
        files = build(MNN, make_model("Relu"), precision, local_target, emit=ignore)
        return sum(file.size_bytes for file in files)

    assert size("fp16") < size("fp32")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_two_builds_give_equal_files(tiny, tmp_path):
    python = environment(MNN.toolbox, emit=ignore).python
    made = []
    for number in range(2):
        folder = tmp_path / str(number)
        job = {
            "script": str(MNN.build_script),
            "model": str(tiny.onnx.path),
            "precision": "fp32",
            "settings": {},
            "quantisation": None,
            "samples": {},
            "sources": None,
            "inputs": [asdict(spec) for spec in tiny.inputs],
            "outputs": [asdict(spec) for spec in tiny.outputs],
            "output": str(folder / "output"),
            "scratch": str(folder / "scratch"),
        }
        for name in ("output", "scratch"):
            (folder / name).mkdir(parents=True)
        (folder / "job.json").write_text(json.dumps(job))
        command = [python, "-I", "-B", run_build.__file__, folder / "job.json"]
        subprocess.run(command, check=True, capture_output=True)
        made.append((folder / "output" / "model.mnn").read_bytes())
    assert made[0] == made[1]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_runner_prints_events_alone_and_says_why_a_file_cannot_be_loaded(
    tiny, local_target, here, run_runner, tmp_path
):
    pack = resolve(MNN.runtime(local_target, here), here, emit=ignore)
    files = build(MNN, tiny, "fp32", local_target, emit=ignore)
    frame = tmp_path / "frame.npz"
    np.savez(frame, x=np.zeros(tiny.inputs[0].shape, np.float32))

    done, _ = run_runner((*files, pack_runner(MNN)), pack.wheels, tiny, "mnn", "fp32", [frame])
    assert done.returncode == 0, done.stderr
    assert all("event" in json.loads(line) for line in done.stdout.splitlines())

    torn = tmp_path / "model.mnn"
    torn.write_bytes(b"torn")
    broken = tuple(replace(file, source=torn) for file in files)
    done, _ = run_runner((*broken, pack_runner(MNN)), pack.wheels, tiny, "mnn", "fp32", [frame])
    assert done.returncode == 1
    assert done.stdout == ""
    assert "loading the mnn fp32 model failed" in done.stderr.splitlines()[-1]


def build_int8(model, calibrate, target, *layers):
    int8 = Int8(Quantisation("minmax", layers), calibrate(model))
    (file,) = build(MNN, model, "int8", target, int8=int8, emit=ignore)
    return file.source


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_int8_convolutions_are_computed_in_int8_but_for_float_layers(tiny, calibrate, local_target):
    python = environment(MNN.toolbox, emit=ignore).python

    def convolutions(*layers):
        file = build_int8(tiny, calibrate, local_target, *layers)
        command = [python, "-I", "-c", RUN, file]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return re.findall(r"ran (Convolution.*?) *$", done.stdout, re.MULTILINE)

    assert convolutions() == ["Convolution [ DT_INT8 ]"]
    assert convolutions("stem") == ["Convolution"]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_float_layer_that_mnn_does_not_quantise_fails(tiny, calibrate, local_target):
    with pytest.raises(BuildError) as caught:
        build_int8(tiny, calibrate, local_target, "pool")
    assert "pool (GlobalAveragePool) is none of the layers" in caught.value.message


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_int8_of_a_model_without_convolutions_says_so(tiny, calibrate, local_target, tmp_path):
    import onnx
    from onnx import TensorProto, helper

    shape = tiny.inputs[0].shape
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], name="r")], "g", [x], [y])
    path = tmp_path / "relu.onnx"
    opset = helper.make_opsetid("", 13)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    file = replace(tiny.onnx, path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    model = replace(
        tiny, onnx=file, outputs=(TensorSpec("y", "float32", shape),), operators=("Relu",)
    )
    with pytest.raises(BuildError) as caught:
        build_int8(model, calibrate, local_target)
    assert "no convolution that MNN could make int8" in caught.value.message


def test_build_and_runner_never_touch_the_reporting_tools():
    # The command line tools install a package through pip and report usage.
    for name in ("build.py", "build_int8.py", "runner.py"):
        source = MNN.build_script.with_name(name).read_text(encoding="utf-8")
        assert "MNN.tools" not in source
        assert not any(word in source for word in ("mnnconvert.main", "os.system"))
