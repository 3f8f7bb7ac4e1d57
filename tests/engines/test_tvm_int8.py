"""TVM's int8: integers through the processor's dot products, schedules that serve every scale."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

from edgekit.app.tune import TuneOptions, tune
from edgekit.app.tuned import tuned_engine
from edgekit.catalog.targets import load_target
from edgekit.core.errors import BuildError
from edgekit.core.events import ignore
from edgekit.core.model import FileRef, TensorSpec
from edgekit.core.quantisation import Quantisation
from edgekit.engines import load_engine
from edgekit.engines.tvm.cpu import description
from edgekit.toolbox.build import Int8, build
from edgekit.tune.session import Limits

TVM = load_engine("tvm")
TRIALS = 56  # all tasks have their turn
pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.toolbox]

# Convolutions in a row: padded, strided, of channels that fill no register, grouped.
NET = """
import numpy, onnx, tvm
from onnx import TensorProto, helper, numpy_helper
from pathlib import Path

random = numpy.random.default_rng(5)
def net(path, image=(1, 3, 12, 10)):
    shapes = {"a": (8, 3, 3, 3), "b": (20, 8, 1, 1), "c": (20, 1, 3, 3), "d": (6, 20, 3, 3)}
    held = [
        numpy_helper.from_array(random.standard_normal(shape).astype(numpy.float32) / 4, name)
        for name, shape in shapes.items()
    ]
    padded = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["xa"], "first", strides=[2, 2], **padded),
        helper.make_node("Relu", ["xa"], ["ra"], "relu"),
        helper.make_node("Conv", ["ra", "b"], ["xb"], "second"),
        helper.make_node("Conv", ["xb", "c"], ["xc"], "grouped", group=20, **padded),
        helper.make_node("Conv", ["xc", "d"], ["y"], "last", dilations=[2, 2], pads=[2, 2, 2, 2]),
    ]
    def value(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "net", [value("x", image)], [value("y", (1, 6, 6, 5))], held)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path

def first_schedules(module, target):
    # One schedule of each task of dot products, as tuning would propose it.
    from tvm.s_tir import meta_schedule as ms
    from tvm_build.build_dot import is_dot
    database = ms.database.MemoryDatabase()
    for task, function in pipeline.tasks_of(module, target):
        if not is_dot(function):
            continue
        context = ms.TuneContext(
            function, target=target, space_generator=pipeline.space_of(function, target),
            search_strategy=ms.search_strategy.EvolutionarySearch(
                population_size=4, init_min_unmeasured=2, genetic_num_iters=1
            ),
            rand_state=1, num_threads=1,
        )
        context.pre_tuning(
            max_trials=4, num_trials_per_iter=2, database=database,
            cost_model=ms.cost_model.RandomModel(),
        )
        candidate = context.generate_measure_candidates()[0]
        workload = database.commit_workload(function)
        database.commit_tuning_record(
            ms.database.TuningRecord(
                candidate.sch.trace, workload, [1.0], target, candidate.args_info
            )
        )
    return database
"""

ASSEMBLY = f"""{NET}
import re
target = pipeline.make_target(json.loads(sys.argv[2]))
module = pipeline.import_model(net(Path(sys.argv[1], "net.onnx")), target, "int8")
database = first_schedules(module, target)
found = pipeline.compile_model(module, target, database)
text = found.executable.mod.imports[0].inspect_source("asm")
counts = {{name: len(re.findall(rf"\\b{{name}}\\b", text)) for name in sys.argv[3:]}}
print(json.dumps([counts, len(database.get_all_tuning_records())]))
"""


@pytest.mark.parametrize(
    ("cpu", "instruction"),
    [
        (description(load_target("rk3566")), "sdot"),
        (description(load_target("rpi5")), "sdot"),
        (description(load_target("rk3399")), "smull"),
        ({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "cascadelake"}, "vpdpbusd"),
    ],
    ids=["a55", "a76", "a72", "cascadelake"],
)
def test_convolutions_are_made_of_the_processors_instruction(
    cpu, instruction, tmp_path, in_toolbox
):
    counts, scheduled = in_toolbox(ASSEMBLY, tmp_path, json.dumps(cpu), instruction, "fmla")
    assert counts[instruction] > 0
    assert scheduled == 3, "the grouped one stays in float"


SAME = f"""{NET}
from tvm_build.build_int8 import Scale, quantise
from tvm import relax

path = net(Path(sys.argv[1], "net.onnx"))
target = pipeline.make_target({{"kind": "llvm", "mcpu": sys.argv[2], "num-cores": 1}})
model = onnx.load(path)
names = [node.name for node in model.graph.node if node.op_type == "Conv"]
import onnxruntime
shown = onnx.load(path)
takes = {{node.name: node.input[0] for node in model.graph.node}}
for name in names[1:]:
    shown.graph.output.append(helper.make_empty_tensor_value_info(takes[name]))
session = onnxruntime.InferenceSession(
    shown.SerializeToString(), providers=["CPUExecutionProvider"]
)
x = random.standard_normal((1, 3, 12, 10)).astype(numpy.float32)
values = dict(zip([out.name for out in session.get_outputs()], session.run(None, {{"x": x}})))
values["x"] = x
def scale(value):
    low, high = min(0.0, float(value.min())), max(0.0, float(value.max()))
    step = (high - low) / 255
    return Scale(step, round(-low / step))
scales = {{name: scale(values[takes[name]]) for name in names if name != "grouped"}}

def rounded(value, how):
    whole = numpy.clip(numpy.floor(value / how.step + how.zero_point + 0.5), 0, 255)
    return (whole - how.zero_point) * how.step

# What integers should give: ONNX Runtime's float arithmetic on rounded numbers.
def expected(float_layers):
    import copy
    held = copy.deepcopy(model)
    sessions = []
    current = values["x"]
    for node in held.graph.node:
        weights = {{t.name: numpy_helper.to_array(t) for t in held.graph.initializer}}
        feeds = {{"in": current}}
        if node.op_type == "Conv":
            w = weights[node.input[1]].astype(numpy.float64)
            if node.name not in float_layers:
                step = numpy.abs(w).max(axis=(1, 2, 3), keepdims=True) / 127
                w = numpy.rint(w / step) * step
                feeds["in"] = rounded(current.astype(numpy.float64), scales[node.name])
            feeds["w"] = w
            made = helper.make_node("Conv", ["in", "w"], ["out"])
            made.attribute.extend(node.attribute)
        else:
            made = helper.make_node(node.op_type, ["in"], ["out"])
        feeds = {{key: value.astype(numpy.float32) for key, value in feeds.items()}}
        infos = [
            helper.make_tensor_value_info(key, TensorProto.FLOAT, v.shape)
            for key, v in feeds.items()
        ]
        graph = helper.make_graph(
            [made], "one", infos, [helper.make_empty_tensor_value_info("out")]
        )
        one = helper.make_model(graph, opset_imports=model.opset_import, ir_version=8)
        runs = onnxruntime.InferenceSession(
            one.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        (current,) = runs.run(None, feeds)
    return current

answers = {{}}
for way, scheduled in (("plain", False), ("dots", True)):
    module = pipeline.import_model(path, target, "int8", scales)
    database = first_schedules(module, target) if scheduled else None
    machine = relax.VirtualMachine(
        pipeline.compile_model(module, target, database).executable, tvm.cpu()
    )
    answers[way] = machine["main"](tvm.runtime.tensor(x)).numpy()
truth = expected({{"grouped"}})
far = {{way: float(abs(found - truth).max() / abs(truth).max()) for way, found in answers.items()}}
keys = lambda which: sorted(
    task.key
    for task, _ in pipeline.tasks_of(pipeline.import_model(path, target, "int8", which), target)
)
print(json.dumps([far, keys(scales) == keys(None), keys({{}}) == keys(None)]))
"""


@pytest.mark.parametrize("cpu", ["native", "x86-64-v2"])
def test_integers_give_what_rounded_numbers_give_and_no_scale_is_in_the_code(
    cpu, tmp_path, in_toolbox
):
    far, same_for_every_scale, same_as_float = in_toolbox(SAME, tmp_path, cpu)
    assert far["plain"] < 1e-5
    assert far["dots"] < 1e-5
    assert same_for_every_scale, "a calibration would make tuning records useless"
    assert not same_as_float


def test_tuned_int8_builds_with_every_record(tiny, calibrate, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_RECORDS_DIR", str(tmp_path / "records"))
    monkeypatch.setenv("EDGEKIT_DEVICE_ROOT", str(tmp_path / "device"))
    target = load_target("local")
    options = TuneOptions(
        str(tiny.onnx.path), "local", ("local",), Limits(trials=TRIALS), precision="int8"
    )
    report = tune(options)
    assert report.tuned.failures == 0
    engine = tuned_engine(TVM, tiny, "int8", target, emulated=False, emit=ignore)
    int8 = Int8(Quantisation("average"), calibrate(tiny))
    files = build(engine, tiny, "int8", target, int8=int8, emit=ignore)
    (facts,) = [json.loads(file.source.read_text()) for file in files if file.path == "model.json"]
    assert facts["untuned"] == 0 < facts["tasks"]


def test_model_without_such_a_layer_says_so(tiny, calibrate, tmp_path):
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.ones((7, 2), np.float32), "w")
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (1, 3, 9, 7)), ("y", (1, 3, 9, 2)))
    ]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    graph = helper.make_graph(nodes, "product", values[:1], values[1:], [weights])
    path = tmp_path / "product.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    file = FileRef(path, hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
    outputs = (TensorSpec("y", "float32", (1, 3, 9, 2)),)
    model = replace(tiny, onnx=file, outputs=outputs, operators=("MatMul",))
    int8 = Int8(Quantisation("average"), calibrate(tiny))
    with pytest.raises(BuildError, match="no convolution"):
        build(TVM, model, "int8", load_target("local"), int8=int8, emit=ignore)
