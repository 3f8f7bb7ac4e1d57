"""ONNX to TFLite through onnx2tf, then run once with LiteRT and compared with ONNX Runtime.

Runs inside the toolbox. onnx2tf writes the file itself (``flatbuffer_direct``): TensorFlow is
not there. Images go in with channels last, as TFLite computes, where the file then equals the
model; ``tensors.json`` records how each input and output is laid out and quantised.

onnx2tf's own float16 file computes in float16 only, which few CPUs can. Here fp16 means:
weights stored in half, tensors between layers float32, and a note in the file by which XNNPACK
may compute in half where the CPU has the instructions. Its own int8 is not used either:
``build_int8.py`` quantises the float32 file.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import build_file as file
from . import build_int8 as int8
from . import build_islands as islands

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

    from edgekit.core.contracts import BuildJob
    from edgekit.core.model import TensorSpec

# Shares of an output's largest value. fp16 holds 11 bits; deep nets add up a few of them.
_TOLERANCE = {"fp32": 1e-3, "fp16": 5e-2, "int8": 1e-3}  # int8: of the float file it is made from
_IMAGE_RANK = 4
_CHANNELS_LAST = [0, 2, 3, 1]
_SEED = 20261121


def build(job: "BuildJob") -> None:
    """Write ``model.tflite`` and ``tensors.json``."""
    path = job.scratch / "float.tflite"
    try:
        net = _converted(job, path, channels_last=True)
    except RuntimeError as error:
        print(f"with channels last: {error}; now as the model has them")  # noqa: T201 - the log
        net = _converted(job, path, channels_last=False)
    made = job.output / "model.tflite"
    if job.precision == "int8":
        made.write_bytes(_int8(job, net, path))
        net = net.again(made)
        job.grade(net.infer)
    else:
        made.write_bytes(path.read_bytes())
    text = json.dumps(net.tensors(), sort_keys=True)
    (job.output / "tensors.json").write_text(text, encoding="utf-8")


def _converted(job: "BuildJob", path: Path, *, channels_last: bool) -> "_Net":
    """Write the float file of the precision to ``path``; it equals ONNX Runtime."""
    model = file.read(_convert(job, channels_last=channels_last))
    file.forbid_half(model)
    if job.precision == "fp16":
        file.halve(model)
    path.write_bytes(file.write(model))
    net = _Net(job, path)
    job.verify(net.infer, tolerance=_TOLERANCE[job.precision])
    return net


def _int8(job: "BuildJob", net: "_Net", path: Path) -> bytes:
    def feeds() -> Iterator[dict[str, Any]]:
        return (net.feed(sample) for sample in job.samples())

    kept: frozenset[str] = frozenset()
    if job.quantisation is not None and job.quantisation.float_layers:
        values = int8.Observer(path).values(next(feeds()))
        kept = islands.scopes(job, file.read(path.read_bytes()), values)
        print(f"stays in float: {', '.join(sorted(kept))}")  # noqa: T201 - the log
    return int8.quantise(path, feeds(), job.ranges(), kept)


def _convert(job: "BuildJob", *, channels_last: bool) -> bytes:
    import onnx2tf

    folder = job.scratch / f"tflite-{channels_last:d}"
    kept = [
        name
        for name, spec in zip(_plain("input", job.inputs), job.inputs, strict=True)
        if not (channels_last and _is_image(spec))
    ]
    try:
        onnx2tf.convert(
            input_onnx_file_path=str(_with_plain_names(job)),
            output_folder_path=str(folder),
            keep_shape_absolutely_input_names=kept or None,
            # The model has been simplified already.
            not_use_onnxsim=True,
            non_verbose=True,
        )
    except SystemExit as error:  # how onnx2tf ends on what it cannot do
        raise RuntimeError("onnx2tf cannot convert this graph; its log has the operator") from error
    made = list(folder.glob("*_float32.tflite"))
    if len(made) != 1:
        raise RuntimeError("onnx2tf ended without an error and left no float32 model")
    return made[0].read_bytes()


def _is_image(spec: "TensorSpec") -> bool:
    """Tell whether an input may go in with channels last, and its shape would show it."""
    if spec.dtype != "float32" or len(spec.shape) != _IMAGE_RANK:
        return False
    return tuple(spec.shape[axis] for axis in _CHANNELS_LAST) != spec.shape


def _plain(kind: str, specs: "tuple[TensorSpec, ...]") -> list[str]:
    return [f"{kind}_{number}" for number in range(len(specs))]


def _with_plain_names(job: "BuildJob") -> Path:
    """Write the model with inputs and outputs called ``input_0``, ``output_0`` and so on.

    onnx2tf rewrites names such as ``x:0``, and would then change the layout of an input that it
    was told to keep.
    """
    import onnx

    model = onnx.load(str(job.model))
    names = dict(zip((s.name for s in job.inputs), _plain("input", job.inputs), strict=True))
    names |= zip((s.name for s in job.outputs), _plain("output", job.outputs), strict=True)
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    _rename(model.graph.node, names)
    path = job.scratch / "plain.onnx"
    onnx.save(model, str(path))
    return path


def _rename(nodes: Iterable[Any], names: Mapping[str, str]) -> None:
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
        for place, name in enumerate(node.output):
            node.output[place] = names.get(name, name)
        for attribute in node.attribute:
            # A branch or a loop's body may read the whole graph's tensors.
            _rename(attribute.g.node, names)


class _Net:
    """A built file under LiteRT on the host.

    Attributes:
        inputs: the model's names, each with its place among the file's inputs and the axes that
            bring the model's layout to the file's.
        outputs: likewise, with the axes that bring the file's layout to the model's.
    """

    def __init__(self, job: "BuildJob", path: Path) -> None:
        self._job = job
        self._load(path)
        self.inputs = _places(job.inputs, _plain("input", job.inputs), self._given)
        self.outputs = _places(job.outputs, _plain("output", job.outputs), self._made)
        for item, spec in zip(self.inputs, job.inputs, strict=True):
            found = tuple(int(size) for size in self._given[item["place"]]["shape"])
            item["axes"] = _ways(spec.shape, found, spec.name)[0]
        self._choose_axes()

    def _load(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._net: Interpreter = Interpreter(model_path=str(path), num_threads=1)
        _allocate(self._net)
        self._given = self._net.get_input_details()
        self._made = self._net.get_output_details()

    def again(self, path: Path) -> "_Net":
        """Load another file with the same inputs and outputs, however these are quantised."""
        self._load(path)
        self.inputs = self._found_again(self.inputs, "input", self._given)
        self.outputs = self._found_again(self.outputs, "output", self._made)
        return self

    def _found_again(
        self, items: list[dict[str, Any]], kind: str, details: list[Any]
    ) -> list[dict[str, Any]]:
        specs = self._job.inputs if kind == "input" else self._job.outputs
        places = _places(specs, _plain(kind, specs), details)
        return [{**item, **place} for item, place in zip(items, places, strict=True)]

    def tensors(self) -> dict[str, Any]:
        """Return what the runner must know: places, layouts, dtypes and scales."""
        inputs = [{**item, **_quantised(self._given[item["place"]])} for item in self.inputs]
        outputs = [{**item, **_quantised(self._made[item["place"]])} for item in self.outputs]
        return {"inputs": inputs, "outputs": outputs}

    def _choose_axes(self) -> None:
        """Of the layouts that shapes allow, take the one whose values are right."""
        import numpy as np

        job = self._job
        inputs = _seeded(job.inputs)
        # Only values tell their shapes for certain: TFLite knows some no earlier.
        values = self._run(inputs)
        ways = [
            _ways(values[item["place"]].shape, spec.shape, spec.name)
            for item, spec in zip(self.outputs, job.outputs, strict=True)
        ]
        plain = all(len(found) == 1 for found in ways)
        expected = [None] * len(ways) if plain else _reference(job, inputs)
        for item, found, wanted in zip(self.outputs, ways, expected, strict=True):
            value = values[item["place"]]
            item["axes"] = found[0]
            if len(found) > 1:
                far = [np.abs(value.transpose(axes) - wanted).max() for axes in found]
                item["axes"] = found[int(np.argmin(far))]

    def feed(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the file's inputs by its own names, from the model's."""
        import numpy as np

        feed = {}
        for item in self.inputs:
            detail = self._given[item["place"]]
            value = inputs[item["name"]].transpose(item["axes"])
            scale, zero_point = detail["quantization"]
            if scale:
                limits = np.iinfo(detail["dtype"])
                value = np.rint(value / np.float32(scale)) + zero_point
                value = value.clip(limits.min, limits.max)
            feed[detail["name"]] = np.ascontiguousarray(value, dtype=detail["dtype"])
        return feed

    def _run(self, inputs: Mapping[str, Any]) -> list[Any]:
        import numpy as np

        indices = {detail["name"]: detail["index"] for detail in self._given}
        for name, value in self.feed(inputs).items():
            self._net.set_tensor(indices[name], value)
        self._net.invoke()
        values = []
        for detail in self._made:
            value = self._net.get_tensor(detail["index"])
            scale, zero_point = detail["quantization"]
            if scale:
                value = (value.astype(np.float32) - zero_point) * np.float32(scale)
            values.append(value)
        return values

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Infer once."""
        values = self._run(inputs)
        return {
            item["name"]: values[item["place"]].transpose(item["axes"]) for item in self.outputs
        }


def _quantised(detail: Mapping[str, Any]) -> dict[str, Any]:
    import numpy as np

    scale, zero_point = detail["quantization"]
    return {
        "dtype": np.dtype(detail["dtype"]).name,
        "scale": float(scale) or None,
        "zero_point": int(zero_point) if scale else None,
    }


def _allocate(net: "Interpreter") -> None:
    try:
        net.allocate_tensors()
    except RuntimeError as error:
        # onnx2tf passes on what it has no counterpart for under names such as ONNX_ATTENTION.
        foreign = sorted(set(re.findall(r"\(ONNX_(\w+)\)", str(error))))
        if not foreign:
            raise
        raise RuntimeError(f"TFLite has no operator for {', '.join(foreign)}") from error


def _places(
    specs: "tuple[TensorSpec, ...]", plain: list[str], details: list[Any]
) -> list[dict[str, Any]]:
    """Find the model's tensors in the file: by name, or where names were changed by order."""
    if len(specs) != len(details):
        raise RuntimeError(f"onnx2tf made {len(details)} tensors of the model's {len(specs)}")
    names = [detail["name"] for detail in details]
    by_name = set(plain) == set(names)
    return [
        {"name": spec.name, "place": names.index(name) if by_name else order}
        for order, (spec, name) in enumerate(zip(specs, plain, strict=True))
    ]


def _ways(found: tuple[int, ...], wanted: tuple[int, ...], name: str) -> list[list[int]]:
    """Return the transpositions that turn one shape into another, the likely ones first."""
    rank = len(found)
    axes = list(range(rank))
    usual = [axes, [0, rank - 1, *axes[1:-1]], [0, *axes[2:], 1]] if rank > 1 else [axes]
    ways: list[list[int]] = []
    for way in itertools.chain(usual, map(list, itertools.permutations(axes))):
        if tuple(found[axis] for axis in way) == wanted and way not in ways:
            ways.append(way)
    if not ways:
        raise RuntimeError(f"onnx2tf gave {name} a shape that does not fit: {found}, {wanted}")
    return ways


def _seeded(specs: "tuple[TensorSpec, ...]") -> dict[str, Any]:
    import numpy as np

    random = np.random.default_rng(_SEED)
    return {
        spec.name: random.random(spec.shape, np.float32)
        if spec.dtype == "float32"
        else np.zeros(spec.shape, spec.dtype)
        for spec in specs
    }


def _reference(job: "BuildJob", inputs: Mapping[str, Any]) -> list[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(job.model), providers=["CPUExecutionProvider"])
    values: list[Any] = session.run([spec.name for spec in job.outputs], dict(inputs))
    return values
