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
from edgekit.engines.pythons import Version, newest, no_64_bit_wheel, no_glibc, no_python

_FOLDER: Final = Path(__file__).parent
# What board.txt has wheels for.
_OLDEST: Final[Version] = (3, 6)
_LATEST: Final[Version] = (3, 14)


class OnnxRuntime:
    """ONNX Runtime on the CPU, float32."""

    name: EngineName = "onnxruntime"
    precisions: tuple[Precision, ...] = ("fp32",)
    methods: tuple[CalibrationMethod, ...] = ()
    mixes = False
    toolbox = ToolboxSpec("onnxruntime", ">=3.11,<3.15", _FOLDER / "host.txt")
    build_script = _FOLDER / "build.py"
    runner_module = "edgekit.engines.onnxruntime.runner"

    def check(self, model: Model, precision: Precision, target: Target) -> Unsupported | None:
        """Refuse unknown operators, and boards that no wheel is made for."""
        del precision
        return no_64_bit_wheel(self.name, target.architecture) or lacking(model, self.name)

    def runtime(self, target: Target, facts: DeviceFacts) -> RuntimeSpec | Unsupported:
        """Take the newest Python that has wheels; NumPy travels along."""
        del target
        refusal = no_64_bit_wheel(self.name, facts.machine) or no_glibc(self.name, facts)
        if refusal is not None:
            return refusal
        python = newest(facts.pythons, _OLDEST, _LATEST)
        if python is None:
            return no_python(self.name, facts, _OLDEST, _LATEST)
        return RuntimeSpec(python, _FOLDER / "board.txt", ("onnxruntime", "numpy"))

    def knobs(self, precision: Precision, target: Target, facts: DeviceFacts) -> tuple[Knob, ...]:
        """Nothing yet."""
        del precision, target, facts
        return ()

    def build_settings(self, model: Model, precision: Precision, target: Target) -> str:
        """Nothing but the model decides."""
        del model, precision, target
        return json.dumps({})


ENGINE: Final = OnnxRuntime()
