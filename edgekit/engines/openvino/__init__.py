"""OpenVINO: Intel's engine, whose CPU plug-in runs on 64-bit ARM too."""

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
from edgekit.engines.pythons import (
    Version,
    newest,
    no_64_bit_wheel,
    no_glibc,
    no_python,
    version_of,
)

_FOLDER: Final = Path(__file__).parent
# What board.txt has wheels for.
_OLDEST: Final[Version] = (3, 8)
_LATEST: Final[Version] = (3, 14)
# Oldest glibc of the locked aarch64 wheels: up to the Python before _NEWER, and from it on.
_GLIBC: Final[Version] = (2, 31)
_NEWER: Final[Version] = (3, 10)
_GLIBC_NEWER: Final[Version] = (2, 35)


class OpenVino:
    """OpenVINO on the CPU: float32, half precision and int8.

    fp16 stores the weights as float16, on every CPU. Arithmetic is float16 where the CPU
    plug-in has it (ARMv8.2 and newer); elsewhere, on x86 above all, it is float32, and fp16
    saves memory and nothing else. ``runner.py`` reports which it was.

    int8 is made by NNCF: weights symmetric and per channel, biases corrected, activations with a
    zero point, where ``average`` is the mean of the samples' extremes and ``minmax`` the widest
    range. ``engine`` is what NNCF does unless told otherwise: ``average`` without zero points.
    NNCF's quantiles are not offered: it sorts every activation for them, which took five minutes
    for YOLOv5n at 640 pixels. What NNCF leaves in float is computed in float32.

    How much of it is computed in integers is the plug-in's choice, and the runner reports it. On
    x86 it was every convolution of YOLOv5n; on emulated ARM (dot products, no i8mm), 2026.4.1
    made every convolution float32 again, after whatever activation and with any preset. There
    int8 is a small file with the accuracy of int8 and the speed of float.
    Source: https://github.com/openvinotoolkit/openvino/pull/35280 (what ARM asks of int8)
    """

    name: EngineName = "openvino"
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    methods: tuple[CalibrationMethod, ...] = ("average", "engine", "minmax")
    mixes = True
    tunable = False
    toolbox = ToolboxSpec("openvino", ">=3.11,<3.15", _FOLDER / "host.txt")
    build_script = _FOLDER / "build.py"
    runner_module = "edgekit.engines.openvino.runner"

    def check(self, model: Model, precision: Precision, target: Target) -> Unsupported | None:
        """Refuse unknown operators, and boards that no wheel is made for."""
        del precision
        return no_64_bit_wheel(self.name, target.architecture) or lacking(model, self.name)

    def runtime(self, target: Target, facts: DeviceFacts) -> RuntimeSpec | Unsupported:
        """Take the newest Python whose wheel the board's glibc can load; NumPy travels along."""
        del target
        refusal = no_64_bit_wheel(self.name, facts.machine) or no_glibc(self.name, facts)
        if refusal is not None:
            return refusal
        if newest(facts.pythons, _OLDEST, _LATEST) is None:
            return no_python(self.name, facts, _OLDEST, _LATEST)
        glibc = _version(facts.libc_version)
        usable = tuple(
            item
            for item in facts.pythons
            if facts.machine != "aarch64" or glibc >= _glibc_for(version_of(item))
        )
        python = newest(usable, _OLDEST, _LATEST)
        if python is None:
            return _old_glibc(facts)
        return RuntimeSpec(python, _FOLDER / "board.txt", ("openvino", "numpy"))

    def knobs(self, precision: Precision, target: Target, facts: DeviceFacts) -> tuple[Knob, ...]:
        """Threads bound to a core each, or moved by the system where neighbours want the cores."""
        del precision, target, facts
        return (Knob("pinning", (1, 0)),)

    def build_settings(self, model: Model, precision: Precision, target: Target) -> str:
        """Float files serve every CPU; int8 spares a bit of the first weights on x86.

        CPUs there that lack VNNI add pairs of products in 16 bits, which overflow if both are
        large. On x86 that is NNCF's default; no ARM CPU is said to need it.
        Source: https://docs.openvino.ai/latest/pot_saturation_issue.html
        """
        del model
        if precision != "int8":
            return json.dumps({})
        x86 = target.architecture == "x86_64"
        return json.dumps({"overflow_fix": "first_layer_only" if x86 else "disable"})


def _glibc_for(python: Version) -> Version:
    return _GLIBC_NEWER if python >= _NEWER else _GLIBC


def _old_glibc(facts: DeviceFacts) -> Unsupported:
    needs = "glibc {}.{} for Python {}.{} and newer, {}.{} before".format(
        *_GLIBC_NEWER, *_NEWER, *_GLIBC
    )
    return Unsupported(
        f"openvino needs {needs}; the device has glibc {facts.libc_version}",
        hint="use a newer image (Debian 12 has glibc 2.36), or --engine onnxruntime,ncnn",
    )


def _version(text: str) -> Version:
    parts = text.split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (ValueError, IndexError):
        return 0, 0


ENGINE: Final = OpenVino()
