"""TVM: what it is told of a CPU, boards it refuses, code for another machine, tuning records."""

import json
from dataclasses import replace

import pytest

from edgekit.catalog.targets import load_target, target_names
from edgekit.core.contracts import RuntimeSpec, Unsupported
from edgekit.core.events import Note
from edgekit.core.target import Cluster
from edgekit.engines import load_engine
from edgekit.engines.tvm.cpu import GLIBC, description
from edgekit.toolbox.build import build
from edgekit.toolbox.toolchains import glibc_needed

TVM = load_engine("tvm")
ELF_AARCH64 = 183


def test_description_names_the_core_and_what_all_cores_have():
    assert description(load_target("rk3566")) == {
        "kind": "llvm",
        "mtriple": "aarch64-linux-gnu",
        "mcpu": "cortex-a55",
        "mattr": ["+crc", "+dotprod", "+fullfp16", "+lse", "+neon", "+rdm"],
        "num-cores": 4,
    }


def test_description_of_big_little_is_of_the_fast_cores():
    found = description(load_target("rk3399"))
    assert found["mcpu"] == "cortex-a72"
    assert found["num-cores"] == 2
    assert "+dotprod" not in found["mattr"]


def test_description_of_this_machine_leaves_the_cpu_to_the_toolbox():
    found = description(load_target("local"))
    assert found["mcpu"] == "native"
    assert "mattr" not in found


def test_description_of_a_32_bit_system_asks_for_nothing_of_64_bit_cores():
    assert description(load_target("rpi3-32")) == {
        "kind": "llvm",
        "mtriple": "armv7l-linux-gnueabihf",
        "mfloat-abi": "hard",
        "mcpu": "cortex-a7",
        "mattr": ["+neon", "+vfp3", "+vfp4"],
        "num-cores": 4,
    }


@pytest.mark.parametrize("name", target_names())
def test_check_of_every_target(name, tiny):
    assert TVM.check(tiny, "fp32", load_target(name)) is None


@pytest.mark.parametrize(
    ("name", "half"), [("rk3566", True), ("rpi4", False), ("rpi3-32", False), ("local", True)]
)
def test_check_fp16_only_where_the_cpu_computes_in_it(name, half, tiny):
    refusal = TVM.check(tiny, "fp16", load_target(name))
    assert (refusal is None) == half
    assert half or (name in refusal.reason and refusal.hint == "use fp32")


def test_check_names_an_input_it_cannot_take(tiny, local_target):
    odd = replace(tiny, inputs=(replace(tiny.inputs[0], dtype="string"),))
    assert "string" in TVM.check(odd, "fp32", local_target).reason


@pytest.mark.parametrize(
    ("machine", "glibc", "word"),
    [("riscv64", "2.36", "riscv64"), ("armv7l", "2.24", "2.24"), ("aarch64", "2.24", "2.24")],
)
def test_runtime_of_a_board_that_no_wheel_serves_says_so(facts, local_target, machine, glibc, word):
    found = TVM.runtime(local_target, facts(machine, glibc=glibc))
    assert isinstance(found, Unsupported)
    assert word in found.reason
    assert found.hint


def test_runtime_takes_libraries_and_no_python_of_tvms(facts, local_target):
    found = TVM.runtime(local_target, facts("aarch64", ["3.6.9"], GLIBC))
    assert isinstance(found, RuntimeSpec)
    assert found.packages == ("numpy",)
    assert all(
        file.endswith(".so") and "compiler" not in file
        for excerpt in found.excerpts
        for file in excerpt.files
    )


def test_runtime_armv7l_is_compiled_and_takes_numpy_from_the_board(facts, local_target):
    found = TVM.runtime(local_target, facts("armv7l", ["3.11.2"], numpy="1.24.2"))
    assert isinstance(found, RuntimeSpec)
    assert found.compiled
    assert (found.packages, found.excerpts, found.system_packages) == ((), (), ("numpy",))


@pytest.mark.parametrize(
    ("pythons", "numpy", "words"),
    [(["3.11.2"], None, "python3-numpy"), (["2.7.18"], "1.16.2", "install python3")],
)
def test_runtime_armv7l_that_lacks_something_says_what(facts, local_target, pythons, numpy, words):
    found = TVM.runtime(local_target, facts("armv7l", pythons, numpy=numpy))
    assert isinstance(found, Unsupported)
    assert words in found.hint


def test_build_settings_tell_cpus_apart(tiny):
    texts = {name: TVM.build_settings(tiny, "fp32", load_target(name)) for name in target_names()}
    assert texts["rk3566"] == texts["rk3568"]
    assert texts["rk3566"] != texts["rk3588"]
    two = replace(load_target("rk3566"), clusters=(Cluster("cortex-a55", 2, 1800),))
    assert TVM.build_settings(tiny, "fp32", two) != texts["rk3566"]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_for_an_a55_is_code_for_it_on_an_old_glibc(tiny):
    events = []
    files = build(TVM, tiny, "fp32", load_target("rk3566"), emit=events.append)
    found = {file.path: file.source.read_bytes() for file in files}
    assert set(found) == {"libsession.so", "model.json", "model.so", "tvm-run"}
    for name in ("libsession.so", "model.so", "tvm-run"):
        assert found[name][:4] == b"\x7fELF"
        assert int.from_bytes(found[name][18:20], "little") == ELF_AARCH64
        assert glibc_needed(found[name]) <= (2, 27)
    facts = json.loads(found["model.json"])
    assert "cortex-a55" in facts["target"]
    assert 0 < facts["untuned"] == facts["tasks"]
    (note,) = [event.text for event in events if isinstance(event, Note)]
    assert f"{facts['tasks']} of {facts['tasks']} tasks have no tuning record" in note
    assert "100% of the arithmetic; the costliest: fused_conv2d" in note


RECORDS = """
import numpy, tvm
from pathlib import Path
from tvm import relax
from tvm.s_tir import meta_schedule as ms

target = pipeline.make_target({"kind": "llvm", "mcpu": "native", "num-cores": 1})
module = pipeline.import_model(Path(sys.argv[1]), target)
plain = pipeline.compile_model(module, target)
(task, function), *_ = pipeline.tasks_of(module, target)
database = ms.database.MemoryDatabase()
workload = database.commit_workload(function)
# An empty trace is no record to TVM.
schedule = tvm.s_tir.Schedule(function)
schedule.parallel(schedule.get_loops(schedule.get_sblock("conv2d_nhwc"))[1])
arguments = ms.arg_info.ArgInfo.from_prim_func(function["main"])
database.commit_tuning_record(
    ms.database.TuningRecord(schedule.trace, workload, [1e-3], target, arguments)
)
# Imported anew: records must fit what the next process makes of the same model.
again = pipeline.import_model(Path(sys.argv[1]), target)
tuned = pipeline.compile_model(again, target, database)
x = numpy.random.default_rng(1).random((1, 3, 9, 7), numpy.float32)

def answers_of(executable):
    machine = relax.VirtualMachine(executable, tvm.cpu())
    return [value.numpy() for value in machine["main"](tvm.runtime.tensor(x))]

answers = [answers_of(item.executable) for item in (plain, tuned)]
far = max(float(abs(one - other).max()) for one, other in zip(*answers))
names = lambda tasks: [item.name for item in tasks]
print(json.dumps({
    "all": names(plain.tasks), "plain": names(plain.untuned), "tuned": names(tuned.untuned),
    "recorded": task.name, "share": [plain.untuned_share, tuned.untuned_share], "far": far,
}))
"""


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_records_are_applied_and_what_lacks_one_is_named(tiny, in_toolbox):
    found = in_toolbox(RECORDS, tiny.onnx.path)
    assert found["plain"] == found["all"]
    assert found["recorded"].startswith("fused_conv2d")
    assert [found["recorded"], *found["tuned"]] == found["all"]
    before, after = found["share"]
    assert before == 1
    assert after < 0.5
    assert found["far"] < 1e-5


CLIP = """
import onnx
from pathlib import Path
from onnx import TensorProto, helper, numpy_helper
import numpy

def value(name):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3, 8, 8))

w = numpy_helper.from_array(numpy.ones((3, 3, 1, 1), numpy.float32), "w")
low, high = (numpy_helper.from_array(numpy.float32(v), n) for v, n in ((0, "low"), (6, "high")))
nodes = [
    helper.make_node("Conv", ["x", "w"], ["a"]),
    helper.make_node("Clip", ["a", "low", "high"], ["b"]),
    helper.make_node("Conv", ["b", "w"], ["c"]),
    helper.make_node("Clip", ["c", "low"], ["y"]),
]
graph = helper.make_graph(nodes, "clips", [value("x")], [value("y")], [w, low, high])
path = Path(sys.argv[1], "clips.onnx")
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
target = pipeline.make_target({"kind": "llvm", "mcpu": "native", "num-cores": 1})
tasks = pipeline.tasks_of(pipeline.import_model(path, target), target)
print(json.dumps([task.name for task, _ in tasks]))
"""


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_clip_of_six_lies_in_the_convolution_and_no_layout_is_changed_between(tmp_path, in_toolbox):
    names = in_toolbox(CLIP, tmp_path)
    convolutions = [name for name in names if "conv2d" in name]
    assert "relu" in convolutions[0] + convolutions[1]
    # To NHWC at the input, and back at the output.
    assert len([name for name in names if "transpose" in name and "conv2d" not in name]) <= 2


HALF = """
import re
from pathlib import Path

description = json.loads(sys.argv[2])
target = pipeline.make_target(description)
counts = {}
for precision in ("fp32", "fp16"):
    module = pipeline.import_model(Path(sys.argv[1]), target, precision)
    ((_, function), *_) = pipeline.tasks_of(module, target)
    import tvm

    assembly = tvm.compile(function, target=target).mod.inspect_source("asm")
    forms = {
        "half": r"fmadd\\s+h|fml[as]\\s+v\\d+\\.[48]h",
        "single": r"fmadd\\s+s|fml[as]\\s+v\\d+\\.[24]s",
    }
    counts[precision] = {form: len(re.findall(text, assembly)) for form, text in forms.items()}
print(json.dumps(counts))
"""


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_fp16_multiplies_and_adds_in_half_precision_on_an_a55(tiny, in_toolbox):
    cpu = json.dumps(description(load_target("rk3566")))
    found = in_toolbox(HALF, tiny.onnx.path, cpu)
    assert found["fp32"]["single"] > 0 == found["fp32"]["half"]
    assert found["fp16"]["half"] > 0 == found["fp16"]["single"]


HIDDEN = """
text = "processor : 0\\nflags\\t\\t: fpu avx avx2 fma f16c\\nvmx flags : avx512f\\n"
print(json.dumps([pipeline._hidden(text), pipeline._hidden("Features : asimd\\n")]))
"""


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_native_code_uses_nothing_that_a_virtual_machine_hides(in_toolbox):
    hidden, on_arm = in_toolbox(HIDDEN)
    assert "-avx512f" in hidden
    assert not {"-avx", "-avx2", "-fma", "-f16c"} & set(hidden)
    assert on_arm == []
