"""What is active on a device, as lines and as JSON."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.device.values import DeviceStatus, InstalledBundle

_BYTES_PER_MB = 1e6


def status_facts(device: str, status: "DeviceStatus") -> Mapping[str, Any]:
    """The status as plain JSON values."""
    facts = asdict(status)
    for which in ("current", "previous"):
        if facts[which]:
            facts[which]["knobs"] = dict(facts[which]["knobs"])
    return {"device": device, **facts}


def status_lines(device: str, status: "DeviceStatus") -> tuple[str, ...]:
    """What is active, what a rollback would bring back, and what the device holds."""
    if status.current is None:
        active = f"nothing is active on {device}: edgekit deploy MODEL puts something there"
    else:
        active = f"active on {device}: {_installed(status.current)}"
    before = _installed(status.previous) if status.previous else "nothing"
    free = status.disk_free_bytes
    return (
        active,
        f"rollback brings back: {before}",
        f"installed: {len(status.bundles)} bundles, {status.store_bytes / _BYTES_PER_MB:.1f} MB"
        + (f"; {free / _BYTES_PER_MB:.0f} MB free" if free is not None else ""),
    )


def _installed(bundle: "InstalledBundle") -> str:
    knobs = ", ".join(f"{name} {value}" for name, value in bundle.knobs)
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(bundle.activated_s))
    return (
        f"{bundle.name} on {bundle.engine} {bundle.precision} ({knobs}), "
        f"{bundle.bundle[:12]}, generation {bundle.generation} since {since}"
    )
