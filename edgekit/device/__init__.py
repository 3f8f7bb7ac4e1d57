"""Devices: a way to reach them, and the agent that does the work there."""

from edgekit.device.address import Address, LocalAddress, SshAddress, parse_address
from edgekit.device.device import Device, check_target, connect
from edgekit.device.values import (
    DeviceStatus,
    InstalledBundle,
    RunRequest,
    RunResult,
    StandsFor,
    Watch,
)

__all__ = [
    "Address",
    "Device",
    "DeviceStatus",
    "InstalledBundle",
    "LocalAddress",
    "RunRequest",
    "RunResult",
    "SshAddress",
    "StandsFor",
    "Watch",
    "check_target",
    "connect",
    "parse_address",
]
