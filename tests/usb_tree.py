"""Devices on USB in a sysfs below a folder."""

from pathlib import Path


def plug(root: Path, path: str, usb_id: str, *, serial: str = "", release: str = " 2.00") -> Path:
    """Put a device into a socket; return its folder."""
    device = root / "sys/bus/usb/devices" / path
    device.parent.mkdir(parents=True, exist_ok=True)
    # Somebody may be looking meanwhile: it is there all at once.
    coming = root / f".{path}"
    coming.mkdir()
    vendor, product = usb_id.split(":")
    told = {"idVendor": vendor, "idProduct": product, "version": release, "serial": serial}
    for name, content in told.items():
        if content:
            (coming / name).write_text(content + "\n", encoding="ascii")
    coming.rename(device)
    return device
