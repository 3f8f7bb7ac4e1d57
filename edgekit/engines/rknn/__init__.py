"""RKNN: the NPU of Rockchip's RK3562, RK3566, RK3568, RK3576 and RK3588.

The vendor's toolkit converts on the host and simulates there; on the board its small Python
package drives the NPU through ``librknnrt.so``, which comes with the board's image.

Not verified on hardware: no board with such an NPU was at hand.
"""

import json
from pathlib import Path
from typing import Final

from edgekit.core.contracts import Licence, RuntimeSpec, ToolboxSpec, Unsupported
from edgekit.core.knobs import Knob
from edgekit.core.model import Model
from edgekit.core.names import EngineName, Precision
from edgekit.core.quantisation import CalibrationMethod
from edgekit.core.target import DeviceFacts, Target
from edgekit.engines.operators import lacking
from edgekit.engines.pythons import Version, newest, no_glibc, no_python

_FOLDER: Final = Path(__file__).parent
# What board.txt has wheels for.
_OLDEST: Final[Version] = (3, 7)
_LATEST: Final[Version] = (3, 12)
# Device-tree name of the chip -> what the toolkit calls the NPU in it. The RK3568 runs what was
# made for the RK3566: one build serves both.
_PLATFORMS: Final = {
    "rockchip,rk3562": "rk3562",
    "rockchip,rk3566": "rk3566",
    "rockchip,rk3568": "rk3566",
    "rockchip,rk3576": "rk3576",
    "rockchip,rk3588": "rk3588",
    "rockchip,rk3588s": "rk3588",
}
_LICENCE: Final = Licence(
    "RKNN SDK License",
    "https://github.com/airockchip/rknn-toolkit2/blob/master/LICENSE",
    "to make and test applications for Rockchip's products; no reverse engineering",
)


class Rknn:
    """Rockchip's NPU, half precision and int8.

    int8 is calibrated by the toolkit itself: its plain quantiser (``engine``) or its search by
    Kullback-Leibler divergence (``kl``).
    """

    name: EngineName = "rknn"
    precisions: tuple[Precision, ...] = ("fp16", "int8")
    methods: tuple[CalibrationMethod, ...] = ("engine", "kl")
    mixes = False
    tunable = False
    toolbox = ToolboxSpec("rknn", ">=3.11,<3.13", _FOLDER / "host.txt", licence=_LICENCE)
    build_script = _FOLDER / "build.py"
    runner_module = "edgekit.engines.rknn.runner"

    def check(self, model: Model, precision: Precision, target: Target) -> Unsupported | None:
        """Refuse boards without such an NPU, unknown operators, inputs that are not float32."""
        del precision
        return _no_npu(target) or _odd_input(model) or lacking(model, self.name)

    def runtime(self, target: Target, facts: DeviceFacts) -> RuntimeSpec | Unsupported:
        """Take the newest Python that the vendor's package has a wheel for."""
        refusal = _no_npu(target) or _no_wheel(facts.machine) or no_glibc(self.name, facts)
        if refusal is not None:
            return refusal
        python = newest(facts.pythons, _OLDEST, _LATEST)
        if python is None:
            return no_python(self.name, facts, _OLDEST, _LATEST)
        packages = ("rknn-toolkit-lite2", "numpy", "psutil", "ruamel-yaml")
        return RuntimeSpec(python, _FOLDER / "board.txt", packages, ("librknnrt.so",))

    def knobs(self, precision: Precision, target: Target, facts: DeviceFacts) -> tuple[Knob, ...]:
        """On an NPU of several cores: whichever is free, one, or as many as share a model."""
        del precision, facts
        platform = _platform(target)
        if platform == "rk3588":
            return (Knob("npu_cores", ("auto", "0", "0-1", "0-2")),)
        return (Knob("npu_cores", ("auto", "0", "0-1")),) if platform == "rk3576" else ()

    def build_settings(self, model: Model, precision: Precision, target: Target) -> str:
        """The files are made for one kind of NPU."""
        del model, precision
        return json.dumps({"platform": _platform(target)})


def _platform(target: Target) -> str | None:
    found = (_PLATFORMS.get(name) for name in target.compatible)
    return next((name for name in found if name), None)


def _no_npu(target: Target) -> Unsupported | None:
    if _platform(target) is not None:
        return None
    chips = ", ".join(sorted({name.partition(",")[2].upper() for name in _PLATFORMS}))
    return Unsupported(
        f"rknn drives the NPU of {chips}; {target.name} has none of these",
        hint="leave rknn out, or name the target of a board with such an NPU",
        other_hardware=True,
    )


def _no_wheel(machine: str) -> Unsupported | None:
    if machine == "aarch64":
        return None
    return Unsupported(
        f"no rknn-toolkit-lite2 wheel exists for {machine}",
        hint="use a 64-bit image on the same board",
    )


def _odd_input(model: Model) -> Unsupported | None:
    odd = [str(spec) for spec in model.inputs if spec.dtype != "float32"]
    if not odd:
        return None
    return Unsupported(
        f"rknn is fed float32 here; the model's input is {', '.join(odd)}",
        hint="export the model with float32 inputs",
    )


ENGINE: Final = Rknn()
