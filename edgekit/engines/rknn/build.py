"""ONNX to ``model.rknn``, simulated on the host and compared with ONNX Runtime.

Runs inside the toolbox, once the vendor's terms were accepted. The toolkit simulates only in
the process that built. It is never given a target to run on: that would start an adb server,
which stays.
"""

import os
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from edgekit.core.contracts import BuildJob

# Share of an output's largest value; the simulator computes in half precision, as the NPU does.
_TOLERANCE = 5e-2
# Names of the toolkit for what edgekit calls a method.
_ALGORITHMS = {"engine": "normal", "kl": "kl_divergence"}
_IMAGE_RANK = 4


def build(job: "BuildJob") -> None:
    """Write ``model.rknn`` for the platform that the settings name."""
    _prepare_import()
    # It leaves files of its own wherever it runs.
    os.chdir(job.scratch)
    from rknn.api import RKNN

    toolkit = RKNN(verbose=False)
    options: dict[str, Any] = {"target_platform": job.settings["platform"]}
    dataset = None
    if job.quantisation is not None:
        options["quantized_algorithm"] = _ALGORITHMS[job.quantisation.method]
        dataset = str(_dataset(job))
    outputs = [spec.name for spec in job.outputs]
    path = job.output / "model.rknn"
    quantised = {"do_quantization": dataset is not None, "dataset": dataset}
    _done("config", lambda: toolkit.config(**options))
    _done("load_onnx", lambda: toolkit.load_onnx(model=str(job.model), outputs=outputs))
    _done("build", lambda: toolkit.build(**quantised))
    _done("export_rknn", lambda: toolkit.export_rknn(str(path)))
    if not path.is_file():
        raise RuntimeError("rknn-toolkit2 said that it wrote model.rknn, and did not")
    _done("init_runtime", toolkit.init_runtime)
    layouts = ["nchw" if len(spec.shape) == _IMAGE_RANK else None for spec in job.inputs]

    def infer(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        values = [inputs[spec.name] for spec in job.inputs]
        form = layouts if any(layouts) else None
        found = toolkit.inference(inputs=values, data_format=form)
        if found is None:
            raise RuntimeError("rknn-toolkit2's simulator gave no answer; its log says why")
        return dict(zip(outputs, found, strict=True))

    if job.quantisation is None:
        job.verify(infer, tolerance=_TOLERANCE)
    else:
        job.grade(infer)
    toolkit.release()


def _done(name: str, step: Callable[[], object]) -> None:
    """Take one step of the toolkit, which fails by an answer or by a traceback for a message."""
    try:
        answer = step()
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = lines[-1] if lines else type(error).__name__
        raise RuntimeError(f"rknn-toolkit2's {name} failed: {said}") from error
    if answer not in (0, None):
        raise RuntimeError(f"rknn-toolkit2's {name} failed ({answer}); its log says why")


def _dataset(job: "BuildJob") -> Path:
    """Write the calibration samples as the toolkit reads them: a line of files per sample."""
    lines = []
    for number, sample in enumerate(job.samples()):
        names = []
        for position, spec in enumerate(job.inputs):
            name = f"sample-{number}-{position}.npy"
            np.save(job.scratch / name, sample[spec.name])
            names.append(str(job.scratch / name))
        lines.append(" ".join(names))
    path = job.scratch / "dataset.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _prepare_import() -> None:
    """Let the toolkit be imported without PyTorch and without progress bars.

    It takes two names of PyTorch's for a quantiser by gradient descent, which is never asked
    for here. For x86-64 the package index has PyTorch only with CUDA, 5 GB of it.
    """
    os.environ["TQDM_DISABLE"] = "1"
    torch, nn = types.ModuleType("torch"), types.ModuleType("torch.nn")
    stand_ins = {"no_grad": _undecorated, "nn": nn}
    vars(torch).update(stand_ins)
    vars(nn)["Module"] = _Module
    sys.modules.update({"torch": torch, "torch.nn": nn})


def _undecorated() -> Callable[[Any], Any]:
    return lambda function: function


class _Module:
    """In place of ``torch.nn.Module``: may be inherited from, never made."""

    def __init__(self) -> None:
        raise RuntimeError("PyTorch is no part of the rknn toolbox")
