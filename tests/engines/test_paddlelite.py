"""What holds for Paddle Lite alone: its file is made for ARM, and its twin run on x86."""

import importlib.util
import json
import subprocess
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekit.core.contracts import RuntimeSpec, Unsupported
from edgekit.core.errors import BuildError, ToolboxError
from edgekit.core.events import ignore
from edgekit.engines import load_engine
from edgekit.toolbox.build import build
from edgekit.toolbox.environments import environment
from edgekit.toolbox.runner_pack import pack_runner
from edgekit.toolbox.wheels import resolve

PADDLE = load_engine("paddlelite")
PLAN = {
    "warmup_runs": 1,
    "warmup_seconds": 0.0,
    "min_runs": 3,
    "min_seconds": 0.0,
    "max_seconds": 60.0,
}


@pytest.fixture
def toolbox():
    """The toolbox's interpreter; this machine may lack the Python that it needs."""
    try:
        return environment(PADDLE.toolbox, emit=ignore).python
    except ToolboxError as error:
        pytest.skip(f"{error.message} ({error.hint})")


@pytest.fixture
def script():
    """Load the build script, as a module."""
    spec = importlib.util.spec_from_file_location("paddlelite_build", PADDLE.build_script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("machine", ["aarch64", "armv7l"])
def test_runtime_on_arm_says_that_it_is_export_only(facts, local_target, machine):
    found = PADDLE.runtime(local_target, facts(machine, ["3.9.2"]))
    assert isinstance(found, Unsupported)
    assert found.reason == "export only: bring the runtime"
    assert "edgekit export MODEL --engine paddlelite --target local" in found.hint


def test_runtime_on_x86_with_newer_pythons_only_is_unsupported(facts, local_target):
    found = PADDLE.runtime(local_target, facts("x86_64", ["3.11.2"]))
    assert isinstance(found, Unsupported)
    assert "3.8 to 3.10" in found.reason
    assert found.export_only


@pytest.mark.parametrize(
    ("architecture", "processor"), [("aarch64", "arm"), ("armv7l", "arm"), ("x86_64", "x86")]
)
def test_file_is_made_for_the_target_s_processor(tiny, local_target, architecture, processor):
    target = replace(local_target, architecture=architecture)
    assert json.loads(PADDLE.build_settings(tiny, "fp32", target)) == {"processor": processor}


def test_default_dilations_of_pools_are_dropped_and_others_kept(script):
    def pool(number, dilations):
        return helper.make_node(
            "MaxPool", [f"t{number}"], [f"t{number + 1}"], kernel_shape=[2, 2], dilations=dilations
        )

    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, 8, 8])
        for name in ("t0", "t2")
    ]
    nodes = [pool(0, [1, 1]), pool(1, [2, 2])]
    model = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:]))
    script._make_plain(model)
    first, second = ([a.name for a in node.attribute] for node in model.graph.node)
    assert "dilations" not in first
    assert "dilations" in second
    assert [value.name for value in model.graph.input] == list(model.graph.node[0].input)


def test_kernel_shape_is_told_where_the_model_leaves_it_out(script, tiny):
    model = onnx.load(tiny.onnx.path)
    script._make_plain(model)
    [told] = [list(a.ints) for a in model.graph.node[0].attribute if a.name == "kernel_shape"]
    assert told == [3, 3]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_arm_file_is_another_than_x86_s(tiny, local_target, toolbox):
    del toolbox
    made = [
        build(PADDLE, tiny, "fp32", replace(local_target, architecture=name), emit=ignore)
        for name in ("aarch64", "x86_64")
    ]
    assert [[file.path for file in files] for files in made] == [["model.nb"]] * 2
    assert made[0][0].sha256 != made[1][0].sha256


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_of_what_does_not_convert_is_an_error(make_model, local_target, toolbox):
    del toolbox
    with pytest.raises(BuildError) as caught:
        build(PADDLE, make_model("Atanh"), "fp32", local_target, emit=ignore)
    assert "paddlelite fp32 could not be built from tiny" in caught.value.message


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_runner_on_x86_equals_the_reference(
    tiny, local_target, here, run_runner, tmp_path, toolbox
):
    import onnxruntime

    if here.machine != "x86_64":
        pytest.skip("the package's wheels are for x86-64")
    version = subprocess.run(
        [str(toolbox), "-c", "import platform; print(platform.python_version())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    device = replace(here, pythons=(replace(here.pythons[0], version=version),))
    spec = PADDLE.runtime(local_target, device)
    assert isinstance(spec, RuntimeSpec)
    files = build(PADDLE, tiny, "fp32", local_target, emit=ignore)
    frame = tmp_path / "frame.npz"
    image = np.random.default_rng(0).random(tiny.inputs[0].shape, np.float32)
    np.savez(frame, x=image)

    done, folder = run_runner(
        (*files, pack_runner(PADDLE)),
        resolve(spec, device, emit=ignore).wheels,
        tiny,
        "paddlelite",
        "fp32",
        [frame],
        python=str(toolbox),
    )

    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "result.json").read_text())
    assert result["versions"]["numpy"].startswith("1.")
    session = onnxruntime.InferenceSession(str(tiny.onnx.path), providers=["CPUExecutionProvider"])
    for output in result["outputs"]:
        [expected] = session.run([output["name"]], {"x": image})
        found = np.load(folder / output["path"])
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
