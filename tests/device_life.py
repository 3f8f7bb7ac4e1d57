"""Steps that tests of a device's life share."""

import time
from pathlib import Path

from processes import has_ended


def deliver(device, bundle):
    transfer = device.push(bundle.content)
    device.install(bundle)
    return transfer


def ends(pid: int, within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if has_ended(pid):
            return True
        time.sleep(0.02)
    return False


def wait_for(path: Path, within_s: float = 10.0) -> str:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.02)
    raise AssertionError(f"{path} did not appear")
