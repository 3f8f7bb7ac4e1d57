"""ONNX to OpenVINO's intermediate representation, run once and compared with ONNX Runtime.

Runs inside the toolbox. The ONNX front end of the package itself converts; ``openvino.tools``
is not used, and the package that carries its usage reporting is not installed.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.core.contracts import BuildJob

# Shares of an output's largest value. Weights alone lose bits here: arithmetic is float32.
_TOLERANCE = {"fp32": 1e-3, "fp16": 5e-2}


def build(job: "BuildJob") -> None:
    """Write ``model.xml`` and ``model.bin``; for fp16 with weights stored as float16."""
    import openvino

    core = openvino.Core()
    path = job.output / "model.xml"
    converted = core.read_model(str(job.model))
    openvino.save_model(converted, str(path), compress_to_fp16=job.precision == "fp16")
    # float32, or a CPU with bfloat16 would compute in that and be judged by it.
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(str(path), "CPU", options).create_infer_request()

    def infer(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        values = request.infer(dict(inputs))
        return {spec.name: values[spec.name] for spec in job.outputs}

    job.verify(infer, tolerance=_TOLERANCE[job.precision])
