"""TensorRT: the GPU of NVIDIA's Jetsons, through what JetPack has installed there.

The host prepares an ONNX file, for int8 with its ranges in it; the engine is built on the
Jetson by JetPack's own ``trtexec`` at the first load, for it is bound to module, JetPack and
TensorRT. It is kept there and here, and sent to Jetsons of the same kind.

Not verified on hardware: no Jetson was at hand.
"""

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
from edgekit.engines.pythons import newest, no_glibc, version_of

_FOLDER: Final = Path(__file__).parent
# Python of the Ubuntu that each JetPack is: its TensorRT module is made for that one alone.
# JetPack 4 is Ubuntu 18.04, 5 is 20.04, 6 is 22.04, 7 is 24.04.
_JETPACK_PYTHONS: Final = ((3, 6), (3, 8), (3, 10), (3, 12))
# Compute capability as targets note it. Source: NVIDIA, CUDA GPUs; int8 products (dp4a) came
# with sm_61, which Jetson's Maxwell and Pascal (sm_53, sm_62) lack for convolutions.
_WITHOUT_INT8: Final = "sm_53"
# As long as runner.py lets trtexec work: it says better than a timeout what went wrong.
_FIRST_LOAD_S: Final = 7200.0
# Jetsons whose last JetPack has TensorRT 8.
_OLD: Final = ("sm_53", "sm_72")


class TensorRt:
    """TensorRT on a Jetson's GPU: float32, half precision, int8."""

    name: EngineName = "tensorrt"
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    methods: tuple[CalibrationMethod, ...] = ("percentile", "minmax", "average", "kl")
    mixes = True
    tunable = False
    toolbox = ToolboxSpec("tensorrt", ">=3.11,<3.15", _FOLDER / "host.txt")
    build_script = _FOLDER / "build.py"
    runner_module = "edgekit.engines.tensorrt.runner"

    def check(self, model: Model, precision: Precision, target: Target) -> Unsupported | None:
        """Refuse what is no Jetson, int8 on Maxwell, operators that its TensorRT lacks."""
        return (
            _no_jetson(target)
            or _no_int8(precision, target)
            or lacking(model, self.name)
            or _younger_operator(model, target)
        )

    def runtime(self, target: Target, facts: DeviceFacts) -> RuntimeSpec | Unsupported:
        """Take the image's own Python: JetPack's TensorRT module is made for it."""
        refusal = _no_jetson(target) or _no_jetpack(facts.machine) or no_glibc(self.name, facts)
        if refusal is not None:
            return refusal
        usable = tuple(item for item in facts.pythons if version_of(item) in _JETPACK_PYTHONS)
        python = newest(usable, _JETPACK_PYTHONS[0], _JETPACK_PYTHONS[-1])
        if python is None:
            found = ", ".join(item.version for item in facts.pythons) or "none"
            wanted = ", ".join("{}.{}".format(*version) for version in _JETPACK_PYTHONS)
            return Unsupported(
                f"tensorrt needs the Python that JetPack is made for ({wanted}); the device has "
                f"{found}",
                hint="sudo apt install python3 python3-libnvinfer",
            )
        packages = ("python3-libnvinfer", "libnvinfer-bin")
        return RuntimeSpec(python, _FOLDER / "board.txt", ("numpy",), packages, _FIRST_LOAD_S)

    def knobs(self, precision: Precision, target: Target, facts: DeviceFacts) -> tuple[Knob, ...]:
        """Nothing: what TensorRT can turn is turned when the engine is built."""
        del precision, target, facts
        return ()

    def build_settings(self, model: Model, precision: Precision, target: Target) -> str:
        """Nothing but model and precision decides: what differs is built on the board."""
        del model, precision, target
        return json.dumps({})


def _capability(target: Target) -> str | None:
    """Return the GPU's compute capability, such as ``sm_87``."""
    notes = (item.note for item in target.accelerators if item.kind == "gpu")
    words = (word.strip(";,. ") for note in notes for word in note.split())
    return next((word for word in words if word.startswith("sm_")), None)


def _no_jetson(target: Target) -> Unsupported | None:
    is_nvidia = any(name.startswith("nvidia,") for name in target.compatible)
    if is_nvidia and _capability(target) is not None:
        return None
    return Unsupported(
        f"tensorrt runs on NVIDIA's Jetsons; {target.name} is none",
        hint="leave tensorrt out, or name a Jetson's target (see edgekit targets)",
        other_hardware=True,
    )


def _no_jetpack(machine: str) -> Unsupported | None:
    if machine == "aarch64":
        return None
    return Unsupported(
        f"JetPack is for aarch64; the device is {machine}",
        hint="use the JetPack image of this Jetson",
    )


def _no_int8(precision: Precision, target: Target) -> Unsupported | None:
    if precision != "int8" or _capability(target) != _WITHOUT_INT8:
        return None
    return Unsupported(
        f"the GPU of {target.name} (Maxwell, {_WITHOUT_INT8}) has no int8 arithmetic",
        hint="take --precision fp16, which it has",
    )


def _younger_operator(model: Model, target: Target) -> Unsupported | None:
    if _capability(target) not in _OLD:
        return None
    text = (_FOLDER / "operators-8.txt").read_text(encoding="utf-8")
    missing = [name for name in model.operators if name not in text.splitlines()]
    if not missing:
        return None
    plural = "s" if len(missing) > 1 else ""
    return Unsupported(
        f"the TensorRT 8 of {target.name}'s JetPack has no operator{plural} {', '.join(missing)}",
        hint="try --engine onnxruntime, which runs on the CPU",
    )


ENGINE: Final = TensorRt()
