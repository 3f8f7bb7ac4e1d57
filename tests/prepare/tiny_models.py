"""Small graphs with seeded weights, written the way exporters write them."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekit.core.model import FileRef, StepSpec
from edgekit.core.recipe import Recipe, Source

ANCHORS = {
    8: [(10, 13), (16, 30), (33, 23)],
    16: [(30, 61), (62, 45), (59, 119)],
    32: [(116, 90), (156, 198), (373, 326)],
}


class Graph:
    """Collects nodes; ``dtype`` is that of all its floats."""

    def __init__(self, dtype=np.float32):
        self.nodes = []
        self.weights = []
        self.dtype = np.dtype(dtype)
        self.random = np.random.default_rng(7)

    @property
    def kind(self):
        return helper.np_dtype_to_tensor_dtype(self.dtype)

    def node(self, operator, *inputs, outputs=1, **attributes):
        names = [f"/{operator}_{len(self.nodes)}.{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names if outputs > 1 else names[0]

    def constant(self, value, dtype=None):
        array = np.asarray(value, dtype or self.dtype)
        return self.node("Constant", value=numpy_helper.from_array(array))

    def weight(self, *shape):
        name = f"weight.{len(self.weights)}"
        scale = 1 / np.sqrt(np.prod(shape[1:]) or 1)
        array = (self.random.standard_normal(shape) * scale).astype(self.dtype)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def conv(self, source, channels_in, channels, kernel=3, stride=1):
        return self.node(
            "Conv",
            source,
            self.weight(channels, channels_in, kernel, kernel),
            self.weight(channels),
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
        )

    def model(self, inputs, outputs, *, opset=17, metadata=None):
        graph = helper.make_graph(self.nodes, "tiny", inputs, outputs, self.weights)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
        )
        for key, value in (metadata or {}).items():
            entry = model.metadata_props.add()
            entry.key, entry.value = key, value
        onnx.checker.check_model(model)
        return model


def yolov5(size=64, *, classes=2, dtype=np.float32, wrong_grid=False):
    """A detector with YOLOv5's head and with its grid of one size baked in."""
    graph = Graph(dtype)
    columns = 5 + classes
    feature, channels, blocks, rows = "images", 3, [], 0
    for stride in (2, 4, 8, 16, 32):
        feature = graph.node("Relu", graph.conv(feature, channels, 8, stride=2))
        channels = 8
        if stride not in ANCHORS:
            continue
        anchors = np.array(ANCHORS[stride])
        cells = size // stride
        head = graph.conv(feature, 8, 3 * columns, kernel=1)
        shape = graph.constant([1, 3, columns, cells, cells], np.int64)
        split = graph.node("Transpose", graph.node("Reshape", head, shape), perm=[0, 1, 3, 4, 2])
        parts = graph.constant([2, 2, columns - 4], np.int64)
        xy, wh, rest = graph.node("Split", graph.node("Sigmoid", split), parts, outputs=3, axis=4)
        y, x = np.mgrid[0:cells, 0:cells]
        grid = np.stack([y, x] if wrong_grid else [x, y], axis=-1) - 0.5
        grid = np.broadcast_to(grid, (1, 3, cells, cells, 2))
        xy = graph.node("Add", graph.node("Mul", xy, graph.constant(2)), graph.constant(grid))
        xy = graph.node("Mul", xy, graph.constant(stride))
        wh = graph.node("Pow", graph.node("Mul", wh, graph.constant(2)), graph.constant(2))
        sizes = np.broadcast_to(anchors[None, :, None, None, :], (1, 3, cells, cells, 2))
        wh = graph.node("Mul", wh, graph.constant(sizes))
        decoded = graph.node("Concat", xy, wh, rest, axis=4)
        flat = graph.constant([1, 3 * cells * cells, columns], np.int64)
        blocks.append(graph.node("Reshape", decoded, flat))
        rows += 3 * cells * cells
    graph.nodes.append(helper.make_node("Concat", blocks, ["output0"], axis=1))
    names = {index: f"thing {index}" for index in range(classes)}
    return graph.model(
        [helper.make_tensor_value_info("images", graph.kind, [1, 3, size, size])],
        [helper.make_tensor_value_info("output0", graph.kind, [1, rows, columns])],
        metadata={"names": str(names), "stride": "32"},
    )


def classifier(shape=("batch", 3, "height", "width"), *, dtype=np.float32, opset=17):
    """Convolution, global mean, and a flatten whose shape is computed from the input's."""
    graph = Graph(dtype)
    feature = graph.node("Relu", graph.conv("image", 3, 4, stride=2))
    mean = graph.node("GlobalAveragePool", feature)
    half = graph.node("Cast", mean, to=graph.kind)
    dims = graph.node("Gather", graph.node("Shape", half), graph.constant([0], np.int64), axis=0)
    wanted = graph.node("Concat", dims, graph.constant([-1], np.int64), axis=0)
    graph.nodes.append(helper.make_node("Reshape", [half, wanted], ["scores"]))
    return graph.model(
        [helper.make_tensor_value_info("image", graph.kind, list(shape))],
        [helper.make_tensor_value_info("scores", graph.kind, [shape[0], 4])],
        opset=opset,
    )


def baked_classifier(size=32):
    """A classifier whose dense layer fits one input size alone."""
    graph = Graph()
    feature = graph.conv("image", 3, 4, stride=2)
    flat = graph.node("Flatten", feature)
    weight = graph.weight(4 * (size // 2) ** 2, 5)
    graph.nodes.append(helper.make_node("MatMul", [flat, weight], ["scores"]))
    return graph.model(
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 5])],
    )


def saved(model, path):
    """Save a model and return what ``fetch_model`` would."""
    from edgekit.catalog.cache import sha256_of

    onnx.save(model, path)
    return FileRef(path, sha256_of(path), path.stat().st_size)


def recipe(task="detect", **changes):
    """A recipe as the catalog would read it."""
    steps = {
        "detect": (StepSpec("letterbox"), StepSpec("yolov5")),
        "classify": (StepSpec("resize"), StepSpec("classify")),
        "tensor": (StepSpec("tensor"), StepSpec("tensor")),
    }[task]
    values = {
        "name": "tiny",
        "title": "tiny",
        "task": task,
        "source": Source(kind="file", filename="tiny.onnx"),
        "preprocess": steps[0],
        "postprocess": steps[1],
    }
    return Recipe(**{**values, **changes})
