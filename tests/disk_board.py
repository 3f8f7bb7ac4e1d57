"""A machine that boots from a disk: its login, and whether it is there yet."""

import subprocess
import time

from edgekit.board.disk_machine import DiskMachine
from edgekit.device import SshAddress

BOOT_TIMEOUT_S = 400
_LOGIN_TIMEOUT_S = 60


def on_machine(address: SshAddress, command: str, *, check: bool = True) -> str:
    """Run a command on the machine by OpenSSH; return what it printed."""
    done = _ssh(address, command)
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done.stdout


def wait_until_up(machine: DiskMachine, address: SshAddress) -> None:
    """Wait until the machine lets one log in; fail with what it said on its console."""
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    while time.monotonic() < deadline:
        done = _ssh(address, "true")
        if done.returncode == 0:
            return
        # A host that shows another key, or takes ours not, will not change its mind.
        assert "verification failed" not in done.stderr, done.stderr
        time.sleep(1)
    raise AssertionError(f"{done.stderr}\n{machine.console[-3000:]}")


def _ssh(address: SshAddress, command: str) -> "subprocess.CompletedProcess[str]":
    options = (
        "IdentitiesOnly=yes",
        "StrictHostKeyChecking=yes",
        f'UserKnownHostsFile="{address.known_hosts}"',
        "GlobalKnownHostsFile=none",
        "BatchMode=yes",
        "ConnectTimeout=10",
    )
    command_line = [
        *("ssh", "-F", "none", "-i", str(address.identity_file)),
        *(word for option in options for word in ("-o", option)),
        *("-p", str(address.port), f"{address.user}@{address.host}", command),
    ]
    return subprocess.run(
        command_line,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LOGIN_TIMEOUT_S,
        check=False,
    )
