"""ONNX to OpenVINO's intermediate representation, run once and compared with ONNX Runtime.

Runs inside the toolbox. The ONNX front end of the package itself converts, and NNCF quantises;
``openvino.tools`` is not used, and the package that carries the usage reporting of both is not
installed.
"""

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.core.contracts import BuildJob

Model = Any  # openvino.Model; none of these packages has types where this is checked
Port = Any  # openvino.Output
NncfOption = Any

# Shares of an output's largest value. Weights alone lose bits here: arithmetic is float32.
_TOLERANCE = {"fp32": 1e-3, "fp16": 5e-2}


def build(job: "BuildJob") -> None:
    """Write ``model.xml`` and ``model.bin``.

    fp16 stores weights as float16. int8 stores them as int8, and puts ``FakeQuantize`` operations
    with the chosen ranges where activations are to be int8: the plug-in makes integer arithmetic
    of that as it loads the files.
    """
    import openvino

    core = openvino.Core()
    path = job.output / "model.xml"
    converted = core.read_model(str(job.model))
    if job.precision == "int8":
        converted = _quantised(job, converted)
    openvino.save_model(converted, str(path), compress_to_fp16=job.precision == "fp16")
    # float32, or a CPU with bfloat16 would compute in that and be judged by it.
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(str(path), "CPU", options).create_infer_request()

    def infer(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        values = request.infer(dict(inputs))
        return {spec.name: values[spec.name] for spec in job.outputs}

    if job.precision == "int8":
        job.grade(infer)
    else:
        job.verify(infer, tolerance=_TOLERANCE[job.precision])


def _quantised(job: "BuildJob", model: Model) -> Model:
    import nncf

    if job.quantisation is None:
        raise RuntimeError("int8 needs a quantisation")
    layers = _operations(job.model, model, job.quantisation.float_layers)
    samples = _Samples.of(job)
    made = nncf.quantize(
        model,
        nncf.Dataset(samples),
        subset_size=len(samples),
        preset=_preset(job.quantisation.method),
        target_device=nncf.TargetDevice.CPU,
        ignored_scope=nncf.IgnoredScope(names=layers) if layers else None,
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix(job.settings["overflow_fix"]),
            activations_range_estimator_params=_estimator(job.quantisation.method),
        ),
    )
    if not any(node.get_type_name() == "FakeQuantize" for node in made.get_ops()):
        raise RuntimeError("NNCF found no layer that it can make int8")
    return made


def _preset(method: str) -> NncfOption:
    """Return NNCF's own preset for its own way, ranges with a zero point for all else.

    What SiLU gives reaches from -0.28 far up: NNCF's symmetric ranges waste half their steps.
    """
    import nncf

    presets = nncf.QuantizationPreset
    return presets.PERFORMANCE if method == "engine" else presets.MIXED


def _estimator(method: str) -> NncfOption:
    """Return how activation ranges are chosen; ``None`` leaves it to NNCF."""
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    return {
        "average": RangeEstimatorParametersSet.MEAN_MINMAX,
        "minmax": RangeEstimatorParametersSet.MINMAX,
        "engine": None,
    }[method]


@dataclass(frozen=True)
class _Samples:
    """Calibration samples as files, in an order that depends on their content alone.

    NNCF goes through them more than once and adds up floats as they come: in another order,
    equal samples would make files that differ in last digits.
    """

    inputs: tuple[str, ...]
    files: tuple[Path, ...]

    @classmethod
    def of(cls, job: "BuildJob") -> "_Samples":
        import numpy as np

        inputs = tuple(spec.name for spec in job.inputs)
        files = []
        for number, sample in enumerate(job.samples()):
            arrays = [np.ascontiguousarray(sample[name]) for name in inputs]
            digest = hashlib.sha256(
                b"".join(hashlib.sha256(array.tobytes()).digest() for array in arrays)
            )
            file = job.scratch / f"{digest.hexdigest()}-{number}.npz"
            np.savez(file, *arrays)
            files.append(file)
        if not files:
            raise RuntimeError("int8 needs calibration samples, and there are none")
        return cls(inputs, tuple(sorted(files)))

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        import numpy as np

        for file in self.files:
            with np.load(file, allow_pickle=False) as arrays:
                yield {name: arrays[f"arr_{place}"] for place, name in enumerate(self.inputs)}


def _operations(file: Path, model: Model, layers: tuple[str, ...]) -> list[str]:
    """Return the names of all operations that OpenVINO made of some ONNX nodes.

    Names of tensors alone are common to both: whatever lies between a node's outputs and the
    next tensor that ONNX knows, too, was made of that node.
    """
    import onnx

    graph = onnx.load(str(file), load_external_data=False).graph
    outputs = {node.name: tuple(node.output) for node in graph.node}
    ports = itertools.chain.from_iterable(node.outputs() for node in model.get_ops())
    made = {name: port for port in ports for name in port.get_names()}
    operations: set[str] = set()
    for layer in layers:
        own = [made[name] for name in outputs.get(layer, ()) if name in made]
        if not own:
            raise RuntimeError(f"the model has no layer {layer} that could stay in float")
        operations |= _behind(own)
    return sorted(operations)


def _behind(ports: list[Port]) -> set[str]:
    found: set[str] = set()
    pending = [port.get_node() for port in ports]
    while pending:
        node = pending.pop()
        name = node.get_friendly_name()
        if node.get_type_name() in ("Constant", "Parameter") or name in found:
            continue
        found.add(name)
        sources = (port.get_source_output() for port in node.inputs())
        pending += [source.get_node() for source in sources if not source.get_names()]
    return found
