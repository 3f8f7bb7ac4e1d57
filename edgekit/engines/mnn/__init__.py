"""MNN: made for phones; ARM kernels of its own, wheels for old Pythons and old systems too."""

import json
from pathlib import Path
from typing import Final

from edgekit.core.contracts import RuntimeSpec, ToolboxSpec, Unsupported
from edgekit.core.knobs import Knob
from edgekit.core.model import Model, TensorSpec
from edgekit.core.names import EngineName, Precision
from edgekit.core.quantisation import CalibrationMethod
from edgekit.core.target import DeviceFacts, Target
from edgekit.engines.operators import lacking
from edgekit.engines.pythons import Version, no_64_bit_wheel, runtime_of_64_bit_wheels

_FOLDER: Final = Path(__file__).parent
# What board.txt has wheels for; all of them ask for glibc 2.17, which any such Python exceeds.
_OLDEST: Final[Version] = (3, 6)
_LATEST: Final[Version] = (3, 14)


class Mnn:
    """MNN on the CPU: float32, half precision and int8.

    ``fp16``: weights are stored as fp16, and the runtime is allowed half-precision arithmetic.
    It uses that where the CPU has it (ARMv8.2 with ``asimdhp``); elsewhere, x86-64 among them,
    it widens the weights as it loads them and computes in float32: half the file, the same
    speed.

    ``int8``: convolutions and products with constant weights (symmetric, per channel), their
    inputs and outputs (with a zero point), and what merely moves or pools such values. All else,
    sigmoids and sums among it, is float32 between conversions. Only convolutions and products
    can be named to stay in float. On x86 it was slower than float32 wherever it was measured, and
    less exact than the same file on ARM (YOLOv5n: 22 dB above the noise against 31 dB).
    """

    name: EngineName = "mnn"
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    methods: tuple[CalibrationMethod, ...] = ("percentile", "minmax", "average")
    mixes = True
    tunable = False
    toolbox = ToolboxSpec("mnn", ">=3.11,<3.15", _FOLDER / "host.txt")
    build_script = _FOLDER / "build.py"
    runner_module = "edgekit.engines.mnn.runner"

    def check(self, model: Model, precision: Precision, target: Target) -> Unsupported | None:
        """Refuse unknown operators, odd inputs, and boards that no wheel is made for."""
        del precision
        return (
            no_64_bit_wheel(self.name, target.architecture)
            or _odd_input(model.inputs)
            or lacking(model, "mnn")
        )

    def runtime(self, target: Target, facts: DeviceFacts) -> RuntimeSpec | Unsupported:
        """Take the newest Python that has wheels; NumPy travels along."""
        del target
        return runtime_of_64_bit_wheels(self.name, facts, _OLDEST, _LATEST, _FOLDER / "board.txt")

    def knobs(self, precision: Precision, target: Target, facts: DeviceFacts) -> tuple[Knob, ...]:
        """Nothing yet."""
        del precision, target, facts
        return ()

    def build_settings(self, model: Model, precision: Precision, target: Target) -> str:
        """Nothing but model and precision decides: the file serves every CPU."""
        del model, precision, target
        return json.dumps({})


def _odd_input(inputs: tuple[TensorSpec, ...]) -> Unsupported | None:
    for spec in inputs:
        if spec.dtype != "float32":
            return Unsupported(
                f"mnn is fed float32 inputs; {spec} is not", hint="try --engine onnxruntime"
            )
    return None


ENGINE: Final = Mnn()
