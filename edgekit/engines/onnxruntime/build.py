"""ONNX Runtime takes the model as it is; here it is loaded once, so that a fault shows early.

Runs inside the toolbox. The graph is not optimised offline: what ONNX Runtime would save is
made for this machine's instruction set, and the board has another.
"""

import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.core.contracts import BuildJob


def build(job: "BuildJob") -> None:
    """Write ``model.onnx``."""
    import onnxruntime

    copy = job.output / "model.onnx"
    shutil.copyfile(job.model, copy)
    session = onnxruntime.InferenceSession(str(copy), providers=["CPUExecutionProvider"])
    names = [spec.name for spec in job.outputs]

    def infer(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    # Equal by construction; what is checked is that it runs and gives finite values.
    job.verify(infer, tolerance=1e-5)
