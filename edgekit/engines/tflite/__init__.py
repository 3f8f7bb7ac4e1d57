"""TFLite, now LiteRT: XNNPACK's kernels on the CPU."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

from edgekit.core.contracts import RuntimeSpec, ToolboxSpec, Unsupported
from edgekit.core.knobs import Knob
from edgekit.core.model import Model
from edgekit.core.names import EngineName, Precision
from edgekit.core.quantisation import CalibrationMethod
from edgekit.core.target import DeviceFacts, PythonFacts, Target
from edgekit.engines.operators import lacking
from edgekit.engines.pythons import Version, newest, no_glibc, no_python, version_of

_FOLDER: Final = Path(__file__).parent
# What board.txt has wheels for: LiteRT, and its forerunner for what LiteRT has none.
_OLDEST: Final[Version] = (3, 7)
_OLDEST_LITERT: Final[Version] = (3, 9)
_LATEST: Final[Version] = (3, 14)
_OLDEST_32: Final[Version] = (3, 7)
_LATEST_32: Final[Version] = (3, 11)

# What litert-quantizer 0.11 leaves in float wherever it stands, as building each of these alone
# shows. Not here: what onnx2tf may fuse (HardSigmoid) or compute once (Cast, comparisons).
_NEVER_INT8: Final = frozenset(
    [
        "Abs",
        "Acos",
        "ArgMax",
        "ArgMin",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "Ceil",
        "Celu",
        "Cos",
        "Cosh",
        "CumSum",
        "DepthToSpace",
        "Elu",
        "Exp",
        "Floor",
        "GlobalLpPool",
        "GlobalMaxPool",
        "LRN",
        "LeakyRelu",
        "Log",
        "LogSoftmax",
        "LpNormalization",
        "MaxUnpool",
        "Mish",
        "Neg",
        "PRelu",
        "ReduceL1",
        "ReduceLogSumExp",
        "ReduceMax",
        "ReduceProd",
        "Round",
        "Selu",
        "Sign",
        "Sin",
        "Sinh",
        "Softplus",
        "Softsign",
        "Tan",
        "ThresholdedRelu",
        "TopK",
    ]
)
# Layers with weights: without one, int8 has nothing to gain.
_WEIGHTED: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


class TfLite:
    """TFLite on the CPU: float32, half precision, and full integer.

    fp16 means weights stored in half. XNNPACK also computes in half where the CPU has the
    instructions (ARMv8.2 and newer); on others it computes in float32.
    """

    name: EngineName = "tflite"
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    # In the order of what they lost on YOLOv5n; kl may lose everything, and may win elsewhere.
    methods: tuple[CalibrationMethod, ...] = ("percentile", "average", "minmax", "kl")
    mixes = True
    tunable = False
    # onnx2tf declares Python 3.12 and needs no more than 3.11.
    toolbox = ToolboxSpec("tflite", ">=3.11,<3.15", _FOLDER / "host.txt", declared_python=False)
    build_script = _FOLDER / "build.py"
    runner_module = "edgekit.engines.tflite.runner"

    def check(self, model: Model, precision: Precision, target: Target) -> Unsupported | None:
        """Refuse unknown operators, and for int8 those that would stay in float."""
        del target
        refusal = lacking(model, self.name)
        return refusal or (_not_integer(model) if precision == "int8" else None)

    def runtime(self, target: Target, facts: DeviceFacts) -> RuntimeSpec | Unsupported:
        """Take the newest Python that has wheels; NumPy travels along where it has any."""
        del target
        refusal = _no_wheel(facts.machine) or no_glibc(self.name, facts)
        if refusal is not None:
            return refusal
        if facts.machine == "armv7l":
            return _runtime_32(facts)
        python = newest(facts.pythons, _OLDEST, _LATEST)
        if python is None:
            return no_python(self.name, facts, _OLDEST, _LATEST)
        old = version_of(python) < _OLDEST_LITERT
        package = "tflite-runtime" if old else "ai-edge-litert"
        return RuntimeSpec(python, _FOLDER / "board.txt", (package, "numpy"))

    def knobs(self, precision: Precision, target: Target, facts: DeviceFacts) -> tuple[Knob, ...]:
        """Nothing yet."""
        del precision, target, facts
        return ()

    def build_settings(self, model: Model, precision: Precision, target: Target) -> str:
        """Nothing but model and precision decides: the files serve every CPU."""
        del model, precision, target
        return json.dumps({})


def _not_integer(model: Model) -> Unsupported | None:
    floats = [name for name in model.operators if name in _NEVER_INT8]
    if floats:
        return Unsupported(
            f"tflite int8 is all integer, which it has no kernel for in {', '.join(floats)}",
            hint="try int8 with another engine, or tflite at fp16",
        )
    if not _WEIGHTED.intersection(model.operators):
        return Unsupported("the model has no layer with weights: int8 would gain nothing")
    return None


def _no_wheel(machine: str) -> Unsupported | None:
    if machine in {"aarch64", "armv7l", "x86_64"}:
        return None
    return Unsupported(
        f"no TFLite wheel exists for {machine}",
        hint="use a 64-bit or an armv7 image on the same board",
    )


def _runtime_32(facts: DeviceFacts) -> RuntimeSpec | Unsupported:
    """LiteRT and NumPy have no 32-bit ARM wheel: the forerunner and the board's own must do."""
    served = newest(facts.pythons, _OLDEST_32, _LATEST_32)
    if served is None:
        refusal = no_python("tflite", facts, _OLDEST_32, _LATEST_32)
        hint = "use an image with such a Python (Debian 12 has 3.11), or try --engine ncnn"
        return replace(refusal, hint=hint)
    usable: tuple[PythonFacts, ...] = tuple(item for item in facts.pythons if _numpy_1(item))
    python = newest(usable, _OLDEST_32, _LATEST_32)
    if python is not None:
        return RuntimeSpec(python, _FOLDER / "board.txt", ("tflite-runtime",), ("numpy",))
    if served.numpy is None:
        return Unsupported(
            "tflite needs NumPy on the device, which has none, and no wheel exists for 32-bit ARM",
            hint="sudo apt install python3-numpy",
        )
    return Unsupported(
        f"tflite on 32-bit ARM needs NumPy 1; the device has {served.numpy}",
        hint="let Python use the image's own NumPy (Debian 12 has 1.24), or try --engine ncnn",
    )


def _numpy_1(python: PythonFacts) -> bool:
    return bool(python.numpy) and str(python.numpy).split(".")[0] == "1"


ENGINE: Final = TfLite()
