"""YOLOv5's decode as ONNX nodes, for any input size.

Exported graphs have the grid of one size baked in. For another size the whole-graph
reference is made of the cut graph and this tail, which must first equal the published tail
at the published size (``edgekit.prepare.normalise``).
"""

from typing import TYPE_CHECKING

from edgekit.prepare.yolov5_head import Head, Layout

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray


def with_decode(
    model: "onnx.ModelProto", layout: Layout, size: tuple[int, int]
) -> "onnx.ModelProto":
    """Return a cut graph with the decode for input ``size`` appended: one output [1, N, 5 + C]."""
    import onnx

    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    graph = whole.graph
    blocks: list[str] = []
    for index, head in enumerate(layout.heads):
        cells = (size[0] // head.stride, size[1] // head.stride)
        blocks.append(_append_head(graph, head, layout.classes, cells, f"edgekit/decode.{index}"))
    graph.ClearField("output")
    graph.node.append(onnx.helper.make_node("Concat", blocks, [layout.decoded], axis=1))
    graph.output.append(
        onnx.helper.make_tensor_value_info(layout.decoded, onnx.TensorProto.FLOAT, None)
    )
    return whole


def _append_head(
    graph: "onnx.GraphProto", head: Head, classes: int, cells: tuple[int, int], prefix: str
) -> str:
    import numpy as np
    from onnx import helper, numpy_helper

    high, wide = cells
    anchors = len(head.anchors)
    columns = 5 + classes
    rows, across = np.mgrid[0:high, 0:wide].astype(np.float32)
    # (2 sigmoid - 0.5 + grid) stride = 2 stride sigmoid + (grid - 0.5) stride
    constants: dict[str, NDArray[np.generic]] = {
        "split": np.array([2, 2, columns - 4], np.int64),
        "shape": np.array([1, anchors, columns, high, wide], np.int64),
        "flat": np.array([1, anchors * high * wide, columns], np.int64),
        "scale": np.array(2.0 * head.stride, np.float32),
        "grid": ((np.stack((across, rows), axis=-1) - 0.5) * head.stride).astype(np.float32),
        "four": np.array(4.0, np.float32),
        "anchors": np.array(head.anchors, np.float32).reshape(1, anchors, 1, 1, 2),
    }
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(value, f"{prefix}/{name}"))

    def at(name: str) -> str:
        return f"{prefix}/{name}"

    make = helper.make_node
    graph.node.extend(
        (
            make("Reshape", [head.output, at("shape")], [at("boxes")]),
            make("Transpose", [at("boxes")], [at("cells")], perm=[0, 1, 3, 4, 2]),
            make("Sigmoid", [at("cells")], [at("sigmoid")]),
            make("Split", [at("sigmoid"), at("split")], [at("p"), at("q"), at("rest")], axis=4),
            make("Mul", [at("p"), at("scale")], [at("p.scaled")]),
            make("Add", [at("p.scaled"), at("grid")], [at("xy")]),
            make("Mul", [at("q"), at("q")], [at("q.squared")]),
            make("Mul", [at("q.squared"), at("four")], [at("q.scaled")]),
            make("Mul", [at("q.scaled"), at("anchors")], [at("wh")]),
            make("Concat", [at("xy"), at("wh"), at("rest")], [at("decoded")], axis=4),
            make("Reshape", [at("decoded"), at("flat")], [at("rows")]),
        )
    )
    return at("rows")
