"""Write each engine's ``operators.txt``: what ``Engine.check`` refuses rests on it.

    python scripts/list_operators.py [ENGINE ...]

Nothing is copied from documentation. ``onnxruntime``: the CPU kernels that the package
registers, and the operators that ONNX defines as functions of others. Others: an operator is
listed if at least one graph of that single operator converts, runs, and equals ONNX Runtime
through edgekit's own build; graphs are made here and taken from ONNX's backend tests.
Run it after ``lock_engines.py``; each but onnxruntime takes half an hour.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgekit.core.errors import BuildError
from edgekit.core.events import ignore
from edgekit.core.model import FileRef, Model, Pipeline, StepSpec, TensorSpec
from edgekit.core.target import Target
from edgekit.engines import load_engine
from edgekit.toolbox.build import build

ENGINES = Path(__file__).resolve().parents[1] / "edgekit" / "engines"
TARGET = Target("local", "", "", "x86_64", (), "native", "x86_64-linux-gnu")
OPSET = 17
GRAPHS_PER_OPERATOR = 6
RANK_OF_IMAGES = 4
# What converters compute themselves, once, where shapes are static.
FOLDED = frozenset({"Constant", "ConstantOfShape", "Range", "Shape"})
HEADER = "# ONNX operators (default domain). Made by scripts/list_operators.py: {how}.\n"


def onnxruntime_operators() -> set[str]:
    """Return what ONNX Runtime's CPU provider runs."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kernels = {
        kernel.op_name
        for kernel in state.get_all_opkernel_def()
        if kernel.domain == "" and kernel.provider == "CPUExecutionProvider"
    }
    functions = {
        schema.name
        for schema in onnx.defs.get_all_schemas()
        if schema.domain == "" and (schema.has_function or schema.has_context_dependent_function)
    }
    # Constants are taken out of the graph before any kernel is looked for.
    return kernels | functions | {"Constant"}


def candidates() -> dict[str, list[onnx.ModelProto]]:
    """Return single-operator graphs by operator."""
    graphs: dict[str, list[onnx.ModelProto]] = {}
    for model in (*made_here(), *backend_tests()):
        *_, before, last = [""] * 2 + [node.op_type for node in model.graph.node]
        # What gives no floats stands before a Cast that makes them.
        name = before if model.graph.name == before else last
        graphs.setdefault(name, []).append(model)
    return {name: found[:GRAPHS_PER_OPERATOR] for name, found in sorted(graphs.items())}


def graph_of(
    op: str,
    constants: dict[str, np.ndarray],
    outputs: int = 1,
    shape: tuple[int, ...] = (1, 8, 6, 6),
    **attributes: object,
) -> onnx.ModelProto:
    """Return ``op`` on one image-like input, all else constant; shapes inferred."""
    names = [f"y{number}" for number in range(outputs)]
    node = helper.make_node(op, ["x", *constants], names, **attributes)
    # A real model begins with a convolution, and pnnx learns from it where the batch axis is.
    nodes = [helper.make_node("Identity", ["image"], ["x"]), node]
    if len(shape) == RANK_OF_IMAGES:
        nodes[0] = helper.make_node("Conv", ["image", "pointwise"], ["x"])
        constants = {**constants, "pointwise": weight(shape[1], shape[1], 1, 1) / shape[1]}
    graph = helper.make_graph(
        nodes,
        op,
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info(name) for name in names],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def weight(*shape: int) -> np.ndarray:
    """Return random float32 values in 0..1, the same in every run."""
    return np.random.default_rng(sum(shape)).random(shape, np.float32)


def ints(*values: int) -> np.ndarray:
    """Return an int64 vector."""
    return np.array(values, np.int64)


def made_here() -> Iterator[onnx.ModelProto]:
    """Give the graphs that vision models are made of."""
    yield from weighted()
    yield from shaped()
    yield from reduced()
    yield from judged()
    yield from plain()


def judged() -> Iterator[onnx.ModelProto]:
    """Give operators whose results are no floats, or that take some: a Cast follows."""
    other = {"other": weight(1, 8, 6, 6)}
    for name in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"):
        yield as_floats(graph_of(name, other))
    for name in ("ArgMax", "ArgMin"):
        yield as_floats(graph_of(name, {}, axis=1))
    yield graph_of("CumSum", {"axis": np.array(1, np.int64)})
    yield first_only(graph_of("TopK", {"k": ints(3)}, outputs=2, axis=1))


def as_floats(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with its output cast to float32."""
    graph = model.graph
    output = graph.output[0]
    graph.node.append(helper.make_node("Cast", [output.name], ["floats"], to=1))
    shape = [size.dim_value for size in output.type.tensor_type.shape.dim]
    graph.output[0].CopyFrom(helper.make_tensor_value_info("floats", onnx.TensorProto.FLOAT, shape))
    return model


def first_only(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph without its outputs after the first."""
    del model.graph.output[1:]
    return model


def plain() -> Iterator[onnx.ModelProto]:
    """Give every operator that needs no attribute, on equal shapes."""
    for name in sorted({schema.name for schema in onnx.defs.get_all_schemas()}):
        try:
            schema = onnx.defs.get_schema(name, OPSET)
        except onnx.defs.SchemaError:  # of another domain, or younger
            continue
        if schema.deprecated:
            continue
        required = [a for a, value in schema.attributes.items() if value.required]
        if required or schema.max_output != 1:
            continue
        operands = {
            f"c{number}": weight(1, 8, 6, 6) + 0.5 for number in range(schema.min_input - 1)
        }
        try:
            yield graph_of(schema.name, operands)
        except onnx.shape_inference.InferenceError:
            continue


def weighted() -> Iterator[onnx.ModelProto]:
    """Give operators with weights."""
    yield graph_of("Conv", {"w": weight(4, 8, 3, 3), "b": weight(4)}, pads=[1, 1, 1, 1])
    yield graph_of("Conv", {"w": weight(8, 1, 3, 3)}, group=8, strides=[2, 2])
    yield graph_of("ConvTranspose", {"w": weight(8, 4, 2, 2)}, strides=[2, 2])
    yield graph_of("BatchNormalization", {k: weight(8) + 0.5 for k in ("s", "b", "m", "v")})
    yield graph_of("InstanceNormalization", {"s": weight(8), "b": weight(8)})
    yield graph_of("LayerNormalization", {"s": weight(6), "b": weight(6)})
    yield graph_of("PRelu", {"slope": weight(8, 1, 1)})
    yield graph_of("Gemm", {"w": weight(10, 8), "b": weight(10)}, shape=(1, 8), transB=1)
    yield graph_of("MatMul", {"w": weight(8, 10)}, shape=(1, 5, 8))


def shaped() -> Iterator[onnx.ModelProto]:
    """Give operators that move values about."""
    yield graph_of("Reshape", {"shape": ints(1, 8, 36)})
    yield graph_of("Flatten", {}, axis=1)
    yield graph_of("Transpose", {}, perm=[0, 2, 3, 1])
    yield graph_of("Squeeze", {"axes": ints(2)}, shape=(1, 8, 1, 6))
    yield graph_of("Unsqueeze", {"axes": ints(2)}, shape=(1, 8, 6))
    yield graph_of("Slice", {"a": ints(1), "b": ints(5), "axes": ints(2), "step": ints(2)})
    yield graph_of("Split", {"sizes": ints(4, 4)}, outputs=2, axis=1)
    yield graph_of("Concat", {"c": weight(1, 8, 6, 6)}, axis=1)
    yield graph_of("Pad", {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1)})
    yield graph_of("Pad", {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1), "value": np.float32(0)})
    yield graph_of("Pad", {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1)}, mode="reflect")
    yield graph_of("Pad", {"pads": ints(0, 2, 0, 0, 0, 2, 0, 0), "value": np.float32(0)})
    yield graph_of("Expand", {"shape": ints(1, 8, 6, 6)}, shape=(1, 8, 1, 1))
    yield graph_of("Tile", {"repeats": ints(1, 1, 2, 2)})
    yield graph_of("Gather", {"indices": ints(0, 2)}, axis=1)
    yield graph_of("Gather", {"indices": np.array(1, np.int64)}, axis=1)
    yield graph_of("Gather", {"indices": np.array(1, np.int64)}, axis=2)
    yield graph_of("Dropout", {})


def reduced() -> Iterator[onnx.ModelProto]:
    """Give operators that reduce, limit and scale."""
    yield graph_of("Clip", {"low": np.float32(0.2), "high": np.float32(0.8)})
    yield graph_of("Pow", {"power": np.float32(2)})
    yield graph_of("ReduceMean", {}, axes=[2, 3], keepdims=1)
    yield graph_of("ReduceSum", {"axes": ints(2, 3)}, keepdims=1)
    yield graph_of("Softmax", {}, axis=1)
    yield graph_of("Cast", {}, to=1)
    for pool in ("MaxPool", "AveragePool"):
        yield graph_of(pool, {}, kernel_shape=[2, 2], strides=[2, 2])
    for kind in ("DepthToSpace", "SpaceToDepth"):
        yield graph_of(kind, {}, blocksize=2)
    empty = np.array([], np.float32)
    for mode in ("nearest", "linear"):
        scales = np.array([1, 1, 2, 2], np.float32)
        options = {"coordinate_transformation_mode": "half_pixel"} if mode == "linear" else {
            "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"
        }  # fmt: skip
        yield graph_of("Resize", {"roi": empty, "scales": scales}, mode=mode, **options)


def backend_tests() -> Iterator[onnx.ModelProto]:
    """Give ONNX's own tests of one float operator, all inputs but the first made constant."""
    from onnx.backend.test.loader import load_model_tests

    for case in load_model_tests(kind="node"):
        model, data = case.model, case.data_sets
        folder = Path(case.model_dir) if case.model_dir else None
        if folder is not None:
            model = onnx.load(folder / "model.onnx")
            files = sorted((folder / "test_data_set_0").glob("input_*.pb"))
            inputs = [onnx.load_tensor(file) for file in files]
        elif model is not None and data:
            inputs = [value for value in map(_tensor, data[0][0]) if value is not None]
        else:
            continue
        if len(model.graph.node) != 1 or not model.graph.input or model.graph.node[0].domain:
            continue
        if len(inputs) != len(model.graph.input) or not plain_floats(model):
            continue
        for value, tensor in zip(list(model.graph.input)[1:], inputs[1:], strict=True):
            tensor.name = value.name
            model.graph.initializer.append(tensor)
        del model.graph.input[1:]
        yield model


def _tensor(value: object) -> onnx.TensorProto | None:
    if isinstance(value, onnx.TensorProto):
        return value
    return numpy_helper.from_array(value) if isinstance(value, np.ndarray) else None


def plain_floats(model: onnx.ModelProto) -> bool:
    """Tell whether first input and all outputs are tensors of known float shape."""
    values = [model.graph.input[0], *model.graph.output]
    kinds = [value.type.tensor_type for value in values]
    sizes = [size.dim_value for kind in kinds for size in kind.shape.dim]
    return all(kind.elem_type == onnx.TensorProto.FLOAT for kind in kinds) and all(sizes)


def works(engine: str, model: onnx.ModelProto) -> bool:
    """Tell whether ``engine`` runs the graph and equals ONNX Runtime."""
    if not plain_floats(model):
        return False
    data = model.SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        path.write_bytes(data)
        file = FileRef(path, hashlib.sha256(data).hexdigest(), len(data))
        step = StepSpec("tensor")
        pipeline = Pipeline(step, step)
        specs = [
            tuple(
                TensorSpec(
                    v.name, "float32", tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
                )
                for v in values
            )
            for values in (model.graph.input, model.graph.output)
        ]
        one = Model("one", file, file, file.sha256, *specs, (), False, pipeline, pipeline)
        try:
            build(load_engine(engine), one, "fp32", TARGET, emit=ignore, timeout_s=60)
        except BuildError:
            return False
    return True


def proven_operators(engine: str) -> set[str]:
    """Return the operators of which at least one graph works under ``engine``."""
    with tempfile.TemporaryDirectory(prefix="edgekit-operators-") as cache:
        os.environ["EDGEKIT_CACHE_DIR"] = cache
        graphs = candidates()

        def first(name: str) -> bool:
            good = next((n for n, model in enumerate(graphs[name]) if works(engine, model)), None)
            print(
                name,
                f"of {len(graphs[name])}:",
                "no" if good is None else f"graph {good}",
                flush=True,
            )
            return good is not None

        with ThreadPoolExecutor(2) as pool:
            results = dict(zip(graphs, pool.map(first, graphs), strict=True))
    return FOLDED | {name for name, good in results.items() if good}


def main() -> None:
    """List the engines named on the command line, or all."""
    proven = "each proven by a graph that equals ONNX Runtime, or folded"
    ways: dict[str, tuple[Callable[[], set[str]], str]] = {
        "onnxruntime": (onnxruntime_operators, "the CPU kernels that onnxruntime registers"),
        **{name: (partial(proven_operators, name), proven) for name in ("ncnn", "mnn", "tflite")},
    }
    for engine in sys.argv[1:] or ways:
        find, how = ways[engine]
        names = sorted(find())
        text = HEADER.format(how=how) + "".join(f"{name}\n" for name in names)
        (ENGINES / engine / "operators.txt").write_text(text, encoding="utf-8")
        print(f"{engine}: {len(names)} operators")


if __name__ == "__main__":
    main()
