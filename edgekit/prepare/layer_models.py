"""A model whose layers can be looked at on a device: in the whole net, and each alone.

Imports onnx and ONNX Runtime.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgekit.catalog.cache import ContentStore
from edgekit.core.model import FileRef, Model, Pipeline, StepSpec, TensorSpec
from edgekit.onboard.steps import PREPROCESS
from edgekit.prepare.downstream import Recording, reads
from edgekit.prepare.frames import as_frame
from edgekit.prepare.layer_groups import LayerGroup, constants_of, layer_groups
from edgekit.prepare.onnx_file import operators
from edgekit.prepare.reference import load_frame

Array = NDArray[Any]

_TENSORS: Final = StepSpec("tensor")
# Every engine takes such names; published ones hold slashes, dots and colons.
_INPUT: Final = "given"
_OUTPUT: Final = "layer"
_FLOAT: Final = "float32"
_IMAGE_RANK: Final = 4


@dataclass(frozen=True)
class Shown:
    """A model that gives what layers make.

    Attributes:
        model: to be built like any other.
        frame: what it is to be fed.
        inputs: for each tensor of the original graph that it is fed, the input's name.
        outputs: for each tensor of the original graph that it gives, the output's name.
    """

    model: Model
    frame: FileRef
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


class LayerModels:
    """The layers of a model, what the reference makes of each, and models that show them.

    Args:
        model: in normal form.
        frame: what the reference is run on.
        scratch: empty folder for the tensors; the caller removes it.

    Raises:
        ModelError: ONNX Runtime cannot run the graph.
    """

    def __init__(self, model: Model, frame: FileRef, scratch: Path) -> None:
        self._model = model
        self._frame = frame
        self._proto = onnx.load(model.onnx.path)
        self._constants = constants_of(self._proto.graph)
        self._recording = Recording(self._proto, scratch, model.name)
        step = model.pipeline.preprocess
        before = PREPROCESS[step.name](json.loads(step.parameters_json))
        values = self._recording.record(before(load_frame(frame.path)))
        self._specs = {
            name: TensorSpec(name, value.dtype.name, value.shape) for name, value in values.items()
        }
        self._bytes = {name: value.nbytes for name, value in values.items()}
        self.groups = layer_groups(self._proto.graph)

    def value(self, tensor: str) -> Array:
        """Return what the reference made of a tensor."""
        return self._recording.value(0, tensor)

    def shape(self, group: LayerGroup) -> tuple[int, ...]:
        """Return the shape of a layer's first output."""
        return self._specs[group.made[0]].shape

    def refusal(self, group: LayerGroup, *, alone: bool) -> str:
        """Tell why a layer cannot be shown, empty if it can be."""
        names = (*group.given, *group.made) if alone else group.made
        odd = [self._specs[name] for name in names if self._specs[name].dtype != _FLOAT]
        if odd:
            return f"it has {odd[0].dtype} tensors"
        return "" if all(self._specs[name].elements for name in names) else "it has empty tensors"

    def chunks(
        self, groups: Sequence[LayerGroup], limit_bytes: int, *, alone: bool
    ) -> Iterator[tuple[LayerGroup, ...]]:
        """Share layers out so that what one run is fed and gives fits a board's memory."""
        chunk: list[LayerGroup] = []
        size = 0
        for group in groups:
            names = (*group.given, *group.made) if alone else group.made
            own = sum(self._bytes[name] for name in names)
            if chunk and size + own > limit_bytes:
                yield tuple(chunk)
                chunk, size = [], 0
            chunk.append(group)
            size += own
        if chunk:
            yield tuple(chunk)

    def exposed(self, groups: Sequence[LayerGroup], *, copied: bool = False) -> Shown:
        """Return the whole model, with what these layers make as outputs beside its own.

        Args:
            groups: the layers.
            copied: whether each image is given as a copy, which a maximum over single pixels
                makes: converters that cannot give what other nodes read, too, can give that. The
                copy of a NaN may be anything.
        """
        graph = self._proto.graph
        held = [value.name for value in graph.output]
        shown = [name for group in groups for name in group.made if name not in held]
        names = self._renamed(_OUTPUT, shown)
        made = onnx.ModelProto()
        made.CopyFrom(self._proto)
        images = [name for name in shown if copied and len(self._specs[name].shape) == _IMAGE_RANK]
        renamed = {name: new for name, new in names.items() if name not in images}
        _rename(made.graph.node, renamed)
        for value in made.graph.value_info:
            value.name = renamed.get(value.name, value.name)
        made.graph.node.extend(
            helper.make_node(
                "MaxPool", [name], [names[name]], name=names[name], kernel_shape=[1, 1]
            )
            for name in images
        )
        made.graph.output.extend(self._described(names[name], name) for name in shown)
        specs = (*self._model.outputs, *(self._spec(names[name], name) for name in shown))
        model = replace(
            self._model,
            onnx=_stored(made),
            outputs=specs,
            operators=operators(made),
            pipeline=Pipeline(self._model.pipeline.preprocess, _TENSORS),
        )
        inputs = {spec.name: spec.name for spec in model.inputs}
        return Shown(model, self._frame, inputs, {**{name: name for name in held}, **names})

    def exploded(self, groups: Sequence[LayerGroup]) -> Shown:
        """Return a model of these layers, none of which reads what another makes."""
        given = list(dict.fromkeys(name for group in groups for name in group.given))
        inputs = self._renamed(_INPUT, given)
        outputs = self._renamed(_OUTPUT, [name for group in groups for name in group.made])
        nodes = list(self._of_constants(groups))
        for group in groups:
            copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in group.nodes]
            # An input of one layer may be an output of another: both in one go would join them.
            own = {name: outputs[name] for name in group.made}
            _rename(copies, {**{name: inputs[name] for name in group.given}, **own})
            nodes += copies
        model = self._lone(nodes, inputs, outputs)
        fed = {inputs[name]: self.value(name) for name in given}
        return Shown(model, ContentStore().add_bytes(as_frame(fed)), inputs, outputs)

    def _lone(
        self,
        nodes: Sequence[onnx.NodeProto],
        inputs: Mapping[str, str],
        outputs: Mapping[str, str],
    ) -> Model:
        source = self._proto.graph
        read = {name for node in nodes for name in reads(node)}
        made = {name for node in nodes for name in node.output}
        kept = [tensor for tensor in source.initializer if tensor.name in read]
        infos = [info for info in source.value_info if info.name in made]
        graph = helper.make_graph(
            list(nodes),
            "layers",
            [self._described(new, name) for name, new in inputs.items()],
            [self._described(new, name) for name, new in outputs.items()],
            kept,
            value_info=infos,
        )
        proto = helper.make_model(
            graph, opset_imports=self._proto.opset_import, ir_version=self._proto.ir_version
        )
        file = _stored(proto)
        pipeline = Pipeline(_TENSORS, _TENSORS)
        return replace(
            self._model,
            onnx=file,
            reference=file,
            inputs=tuple(self._spec(new, name) for name, new in inputs.items()),
            outputs=tuple(self._spec(new, name) for name, new in outputs.items()),
            operators=operators(proto),
            pipeline=pipeline,
            reference_pipeline=pipeline,
        )

    def _of_constants(self, groups: Sequence[LayerGroup]) -> Iterator[onnx.NodeProto]:
        """Give the nodes that make constants which the layers read."""
        wanted = {name for group in groups for node in group.nodes for name in reads(node)}
        found = []
        for node in reversed(self._proto.graph.node):
            made = self._constants.intersection(node.output)
            if made and not wanted.isdisjoint(made):
                wanted |= reads(node)
                found.append(node)
        yield from reversed(found)

    def _renamed(self, prefix: str, names: Sequence[str]) -> dict[str, str]:
        """Number names behind a prefix that no tensor of the graph begins with."""
        while any(name.startswith(prefix) for name in (*self._specs, *self._constants)):
            prefix += "_"
        return {name: f"{prefix}{number}" for number, name in enumerate(dict.fromkeys(names))}

    def _spec(self, new: str, name: str) -> TensorSpec:
        return replace(self._specs[name], name=new)

    def _described(self, new: str, name: str) -> onnx.ValueInfoProto:
        spec = self._specs[name]
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
        return helper.make_tensor_value_info(new, kind, spec.shape)


def _stored(proto: onnx.ModelProto) -> FileRef:
    return ContentStore().add_bytes(proto.SerializeToString(deterministic=True))


def _rename(nodes: Iterable[onnx.NodeProto], names: Mapping[str, str]) -> None:
    """Rename tensors in place, in the bodies of If and Loop too."""
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
        for place, name in enumerate(node.output):
            node.output[place] = names.get(name, name)
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                _rename(graph.node, names)
