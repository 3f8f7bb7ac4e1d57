"""ONNX Runtime: the reference among engines; runs the model as it is."""

import json
from pathlib import Path
from typing import Final

from edgekit.core.contracts import RuntimeSpec, ToolboxSpec, Unsupported
from edgekit.core.knobs import Knob
from edgekit.core.model import Model
from edgekit.core.names import EngineName, Precision
from edgekit.core.quantisation import CalibrationMethod
from edgekit.core.target import DeviceFacts, Target
from edgekit.engines.operators import lacking
from edgekit.engines.pythons import Version, no_64_bit_wheel, runtime_of_64_bit_wheels

_FOLDER: Final = Path(__file__).parent
# What board.txt has wheels for.
_OLDEST: Final[Version] = (3, 6)
_LATEST: Final[Version] = (3, 14)
_WEIGHTED: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_QUANTISED: Final = frozenset({"DequantizeLinear", "QLinearConv", "QLinearMatMul"})


class OnnxRuntime:
    """ONNX Runtime on the CPU: float32, half the bytes, and eight bits.

    fp16 stores the weights as float16 and computes in float32: the CPU provider has next to no
    float16 arithmetic and would cast around each layer. The file is half as large; load time,
    memory and latency are float32's.

    int8 is static: quantised tensors around every layer that has an integer kernel, weights per
    channel and symmetric, ranges by our own observers. Inputs and outputs stay float32.
    """

    name: EngineName = "onnxruntime"
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    # Not kl: it clips too much here.
    methods: tuple[CalibrationMethod, ...] = ("average", "percentile", "minmax")
    mixes = True
    tunable = False
    toolbox = ToolboxSpec("onnxruntime", ">=3.11,<3.15", _FOLDER / "host.txt")
    build_script = _FOLDER / "build.py"
    runner_module = "edgekit.engines.onnxruntime.runner"

    def check(self, model: Model, precision: Precision, target: Target) -> Unsupported | None:
        """Refuse unknown operators, boards without a wheel, and what int8 cannot be made of."""
        refusal = no_64_bit_wheel(self.name, target.architecture) or lacking(model, self.name)
        if refusal is not None or precision != "int8":
            return refusal
        if _QUANTISED.intersection(model.operators):
            return Unsupported(
                "the model is quantised already", hint="--precision fp32 runs it as it is"
            )
        if not _WEIGHTED.intersection(model.operators):
            return Unsupported(
                f"the model has no layer to quantise (none of {', '.join(sorted(_WEIGHTED))})",
                hint="--precision fp32 runs it",
            )
        return None

    def runtime(self, target: Target, facts: DeviceFacts) -> RuntimeSpec | Unsupported:
        """Take the newest Python that has wheels; NumPy travels along."""
        del target
        return runtime_of_64_bit_wheels(self.name, facts, _OLDEST, _LATEST, _FOLDER / "board.txt")

    def knobs(self, precision: Precision, target: Target, facts: DeviceFacts) -> tuple[Knob, ...]:
        """Whether waiting threads spin, or sleep and leave the cores to their neighbours."""
        del precision, target, facts
        return (Knob("spinning", (1, 0), shared=0),)

    def build_settings(self, model: Model, precision: Precision, target: Target) -> str:
        """Choose the sign of int8 activations by the processor; nothing else decides.

        ONNX Runtime keeps signed activations on ARM and turns them into unsigned ones
        elsewhere, which costs: YOLOv5n at 320 took 15.5 ms signed and 5.6 ms unsigned on an
        x86-64 with VNNI, one thread, where float32 took 6.9 ms.

        Source: ``session.qdqisint8allowed`` in onnxruntime_session_options_config_keys.h
        """
        del model
        if precision != "int8":
            return json.dumps({})
        signed = target.architecture == "aarch64"
        return json.dumps({"activations": "QInt8" if signed else "QUInt8"})


ENGINE: Final = OnnxRuntime()
