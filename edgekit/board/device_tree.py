"""The device tree of a system board: QEMU's machine under the name of the target's.

Source: devicetree specification 0.4, chapters 2 and 6; the kernel's bindings hwmon/ti,ina2xx.yaml
and hwmon/ti,ina3221.yaml.
"""

import json
from pathlib import Path
from typing import Final

from edgekit.board.debian_packages import said
from edgekit.core.target import Target

_CHANNELS: Final = 3
# For a target that has no monitor of its own: as if one had been put into these wires.
_ADDED_LABELS: Final = ("VDD_CPU", "VDD_GPU", "VDD_DDR")
_SHUNT_MICRO_OHM: Final = 10_000


def write_device_tree(machines_own: Path, target: Target, place: Path) -> None:
    """Write the device tree that a board is started with.

    Args:
        machines_own: the tree that QEMU makes for the machine.
        target: whose identity it shall have.
        place: where to write it.

    Raises:
        DeviceError: the device-tree compiler is missing or refused.
    """
    own = said(["dtc", "-q", "-I", "dtb", "-O", "dts", machines_own])
    source = place.with_suffix(".dts")
    # A second root node adds to the first, and what it says again replaces what was said.
    source.write_text(f"{own}\n{identity(target)}", encoding="utf-8")
    said(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", place, source])


def identity(target: Target) -> str:
    """Return the source of what is the target's: its names and its power monitors."""
    inputs = "\n".join(
        f"""\
            input@{channel} {{
                reg = <{channel}>;
                label = {json.dumps(label)};
                shunt-resistor-micro-ohms = <{_SHUNT_MICRO_OHM}>;
            }};"""
        for channel, label in enumerate(rail_labels(target))
    )
    return f"""\
/ {{
    model = {json.dumps(f"{target.soc} virtual board")};
    compatible = {", ".join(map(json.dumps, target.compatible))};
    edgekit-monitors {{
        #address-cells = <1>;
        #size-cells = <0>;
        power-monitor@40 {{
            compatible = "ti,ina226";
            reg = <0x40>;
            shunt-resistor = <{_SHUNT_MICRO_OHM}>;
        }};
        power-monitor@41 {{
            compatible = "ti,ina3221";
            reg = <0x41>;
            #address-cells = <1>;
            #size-cells = <0>;
{inputs}
        }};
    }};
}};
"""


def rail_labels(target: Target) -> tuple[str, ...]:
    """Return the labels of the INA3221's channels: the target's own rails where it has some."""
    own = [rail.label for rail in target.power_rails if rail.sensor.startswith("ina3221")]
    return tuple(own[:_CHANNELS]) if len(own) >= _CHANNELS else _ADDED_LABELS
