"""ONNX to Paddle, and that to Paddle Lite's file for ARM or x86.

Runs inside the toolbox. The same conversion for x86 is run here and compared with ONNX
Runtime, whatever the file is for: no ARM runtime is to be had that could run the other.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

    from edgekit.core.contracts import BuildJob

_TOLERANCE = 1e-4
_POOLS = ("AveragePool", "MaxPool")
_CONVOLUTIONS = ("Conv", "ConvTranspose")


def build(job: "BuildJob") -> None:
    """Write ``model.nb`` for the processor that the settings name."""
    paddle_model = _convert(job)
    files = {
        processor: _optimise(paddle_model, processor, job.scratch / processor)
        for processor in sorted({"x86", job.settings["processor"]})
    }
    _verify(job, files["x86"])
    (job.output / "model.nb").write_bytes(files[job.settings["processor"]].read_bytes())


def _convert(job: "BuildJob") -> Path:
    """Convert to Paddle's own form; return the folder of program and weights."""
    import onnx
    from x2paddle.convert import onnx2paddle

    model = onnx.load(job.model)
    _make_plain(model)
    path, folder = job.scratch / "plain.onnx", job.scratch / "paddle"
    onnx.save(model, path)
    # Its usage reporting is off. The check is ONNX's own, of a release that knows no younger
    # operator sets; the model has passed a newer one.
    onnx2paddle(str(path), str(folder), disable_feedback=True, enable_onnx_checker=False)
    found = folder / "inference_model"
    for name in ("model.pdmodel", "model.pdiparams"):
        # What comes next would end the process where one is missing.
        if not (found / name).is_file():
            raise RuntimeError(f"x2paddle ended without an error and left no {name}")
    return found


def _make_plain(model: "onnx.ModelProto") -> None:
    """Say the same in words that x2paddle takes: it makes Python names of the inputs'."""
    import onnx

    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        names = {attribute.name for attribute in node.attribute}
        if node.op_type in _CONVOLUTIONS and "kernel_shape" not in names:
            # It may be left out; the weights have it.
            kernel = shapes.get(node.input[1], [])[2:]
            node.attribute.append(onnx.helper.make_attribute("kernel_shape", kernel))
        for attribute in list(node.attribute):
            # It refuses dilations of pools, the 1 that is the default as well.
            is_default = attribute.name == "dilations" and set(attribute.ints) == {1}
            if node.op_type in _POOLS and is_default:
                node.attribute.remove(attribute)
    for number, value in enumerate(model.graph.input):
        _rename(model, value.name, f"input{number}")


def _rename(model: "onnx.ModelProto", old: str, new: str) -> None:
    if any(new in (*node.input, *node.output) for node in model.graph.node):
        raise RuntimeError(f"a tensor of the model has the name {new}, which is needed here")
    for node in model.graph.node:
        for number, name in enumerate(node.input):
            if name == old:
                node.input[number] = new
    for value in model.graph.input:
        if value.name == old:
            value.name = new


def _optimise(paddle_model: Path, processor: str, path: Path) -> Path:
    """Write Paddle Lite's file; return its path."""
    from paddlelite.lite import Opt

    opt = Opt()
    opt.set_model_file(str(paddle_model / "model.pdmodel"))
    opt.set_param_file(str(paddle_model / "model.pdiparams"))
    opt.set_valid_places(processor)
    opt.set_model_type("naive_buffer")
    opt.set_optimize_out(str(path))
    opt.run()
    made = path.with_suffix(".nb")
    if not made.is_file():
        raise RuntimeError(f"Paddle Lite's optimiser made no file for {processor}")
    return made


def _verify(job: "BuildJob", path: Path) -> None:
    from paddlelite.lite import MobileConfig, create_paddle_predictor

    config = MobileConfig()
    config.set_model_from_file(str(path))
    predictor = create_paddle_predictor(config)
    names = predictor.get_input_names()
    # x2paddle_input0: what ends the name is the input's place in the model.
    order = [int(name[len(name.rstrip("0123456789")) :]) for name in names]

    def infer(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        for place, number in enumerate(order):
            predictor.get_input(place).from_numpy(inputs[job.inputs[number].name])
        predictor.run()
        return {
            spec.name: predictor.get_output(place).numpy().copy()
            for place, spec in enumerate(job.outputs)
        }

    job.verify(infer, tolerance=_TOLERANCE)
