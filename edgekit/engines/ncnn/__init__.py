"""ncnn: made for ARM CPUs, small, 32-bit boards too."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

from edgekit.core.contracts import RuntimeSpec, ToolboxSpec, Unsupported
from edgekit.core.knobs import Knob
from edgekit.core.model import Model, TensorSpec
from edgekit.core.names import EngineName, Precision
from edgekit.core.quantisation import CalibrationMethod
from edgekit.core.target import DeviceFacts, PythonFacts, Target
from edgekit.engines.operators import lacking
from edgekit.engines.pythons import Version, newest, no_glibc, no_python

_FOLDER: Final = Path(__file__).parent
# What board.txt has wheels for; 32-bit ARM wheels begin with Python 3.9.
_OLDEST: Final[Version] = (3, 6)
_OLDEST_32: Final[Version] = (3, 9)
_LATEST: Final[Version] = (3, 14)
# GPUs for which there is no Vulkan driver.
_NO_VULKAN: Final = frozenset({"VideoCore IV"})
# What becomes of them can be int8 there; all else stays in float.
_INT8: Final = frozenset({"Conv", "Gemm", "MatMul"})


class Ncnn:
    """ncnn on the CPU: float32, half precision, and int8 by edgekit's own quantiser."""

    name: EngineName = "ncnn"
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    # Drop of YOLOv5n's mAP50-95 at 320: 0.003, 0.004, 0.018, 0.080.
    methods: tuple[CalibrationMethod, ...] = ("percentile", "average", "minmax", "kl")
    mixes = True
    tunable = False
    toolbox = ToolboxSpec("ncnn", ">=3.11,<3.15", _FOLDER / "host.txt")
    build_script = _FOLDER / "build.py"
    runner_module = "edgekit.engines.ncnn.runner"

    def check(self, model: Model, precision: Precision, target: Target) -> Unsupported | None:
        """Refuse unknown operators, batches, inputs not float32, and int8 without a use."""
        del target
        refusal = _odd_input(model.inputs) or lacking(model, self.name)
        if refusal is None and precision == "int8" and not _INT8.intersection(model.operators):
            return Unsupported(
                f"ncnn has only {', '.join(sorted(_INT8))} in int8; {model.name} has none of them",
                hint="use fp32 or fp16",
            )
        return refusal

    def runtime(self, target: Target, facts: DeviceFacts) -> RuntimeSpec | Unsupported:
        """Take the newest Python that has wheels; NumPy travels along where it has any."""
        del target
        refusal = no_glibc(self.name, facts)
        if refusal is not None:
            return refusal
        if facts.machine == "armv7l":
            return _runtime_32(facts)
        python = newest(facts.pythons, _OLDEST, _LATEST)
        if python is None:
            return no_python(self.name, facts, _OLDEST, _LATEST)
        return RuntimeSpec(python, _FOLDER / "board.txt", ("ncnn", "numpy"))

    def knobs(self, precision: Precision, target: Target, facts: DeviceFacts) -> tuple[Knob, ...]:
        """Offer what ``runner.Session`` knows; the GPU where the board has one with Vulkan."""
        knobs = [Knob("spin_count", (1000, 0), shared=0), Knob("winograd", ("on", "off"))]
        if precision == "int8":
            if "asimdhp" in facts.cpu_features:
                knobs.append(Knob("half", ("off", "on")))
        elif any(
            item.kind == "gpu" and item.name not in _NO_VULKAN for item in target.accelerators
        ):
            knobs.append(Knob("gpu", ("off", "on")))
        return tuple(knobs)

    def build_settings(self, model: Model, precision: Precision, target: Target) -> str:
        """Nothing but model and precision decides: the files serve every CPU."""
        del model, precision, target
        return json.dumps({})


def _runtime_32(facts: DeviceFacts) -> RuntimeSpec | Unsupported:
    """NumPy has no 32-bit ARM wheel: the board's own must do."""
    usable: tuple[PythonFacts, ...] = tuple(item for item in facts.pythons if item.numpy)
    python = newest(usable, _OLDEST_32, _LATEST)
    if python is not None:
        return RuntimeSpec(python, _FOLDER / "board.txt", ("ncnn",), ("numpy",))
    if newest(facts.pythons, _OLDEST_32, _LATEST) is None:
        refusal = no_python("ncnn", facts, _OLDEST_32, _LATEST)
        return replace(refusal, hint="use a newer image: Debian 11 has Python 3.9")
    return Unsupported(
        "ncnn needs NumPy on the device, which has none, and no wheel exists for 32-bit ARM",
        hint="sudo apt install python3-numpy",
    )


def _odd_input(inputs: tuple[TensorSpec, ...]) -> Unsupported | None:
    for spec in inputs:
        if spec.dtype != "float32":
            return Unsupported(
                f"ncnn takes float32 inputs; {spec} is not", hint="try --engine onnxruntime"
            )
        if len(spec.shape) > 1 and spec.shape[0] != 1:
            return Unsupported(
                f"ncnn takes one item at a time; {spec} is a batch of {spec.shape[0]}",
                hint="export the model with batch 1",
            )
    return None


ENGINE: Final = Ncnn()
