"""Paddle Lite: made for ARM, but for ARM no registry holds its runtime."""

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
from edgekit.engines.pythons import Version, newest, no_glibc

_FOLDER: Final = Path(__file__).parent
# What board.txt has wheels for, all of them for x86-64.
_OLDEST: Final[Version] = (3, 8)
_LATEST: Final[Version] = (3, 10)


class PaddleLite:
    """Paddle Lite on the CPU, float32: its file for ARM is exported, not run.

    ``model.nb`` is read by the Paddle Lite release that wrote it, 2.13: the C++ or Java library
    for ARM is built from source; ``--with_python=ON`` makes a Python package too
    (``lite/tools/build_linux.sh --arch=armv8 --with_extra=ON --with_python=ON``).
    The x86 twin of each file was run while it was made, and equals ONNX Runtime. Inputs and
    outputs keep the model's order and shapes.
    """

    name: EngineName = "paddlelite"
    precisions: tuple[Precision, ...] = ("fp32",)
    methods: tuple[CalibrationMethod, ...] = ()
    mixes = False
    tunable = False
    # One Python has all of it: Paddle Lite's optimiser, Paddle and ONNX Runtime.
    toolbox = ToolboxSpec("paddlelite", "3.10", _FOLDER / "host.txt")
    build_script = _FOLDER / "build.py"
    runner_module = "edgekit.engines.paddlelite.runner"

    def check(self, model: Model, precision: Precision, target: Target) -> Unsupported | None:
        """Refuse operators that do not convert."""
        del precision, target
        return lacking(model, self.name)

    def runtime(self, target: Target, facts: DeviceFacts) -> RuntimeSpec | Unsupported:
        """Run on x86-64 with an old enough Python; on ARM the runtime is the user's to bring."""
        refusal = no_glibc(self.name, facts)
        if refusal is not None:
            return refusal
        python = newest(facts.pythons, _OLDEST, _LATEST)
        if facts.machine != "x86_64" or python is None:
            return _export_only(facts, target)
        return RuntimeSpec(python, _FOLDER / "board.txt", ("paddlelite", "numpy"))

    def knobs(self, precision: Precision, target: Target, facts: DeviceFacts) -> tuple[Knob, ...]:
        """Nothing: the package's Python interface takes a file, and no more."""
        del precision, target, facts
        return ()

    def build_settings(self, model: Model, precision: Precision, target: Target) -> str:
        """Name the kind of processor: the file is made for it."""
        del model, precision
        return json.dumps({"processor": "x86" if target.architecture == "x86_64" else "arm"})


def _export_only(facts: DeviceFacts, target: Target) -> Unsupported:
    reason = "export only: bring the runtime"
    if facts.machine == "x86_64":
        bounds = "{}.{} to {}.{}".format(*_OLDEST, *_LATEST)
        reason += f" (its packages are for Python {bounds} on x86-64)"
    return Unsupported(
        reason,
        hint=f"edgekit export MODEL --engine paddlelite --target {target.name} writes model.nb "
        "and how to use it",
        export_only=True,
    )


ENGINE: Final = PaddleLite()
