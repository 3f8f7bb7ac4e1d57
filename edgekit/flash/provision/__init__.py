"""Provisions a device before its first boot, by editing its image offline."""

from edgekit.flash.provision.apply import methods_of, provision
from edgekit.flash.provision.keys import new_host_key
from edgekit.flash.provision.values import HomeFile, HostKeyPair, Provision, Unit, Wifi

__all__ = [
    "HomeFile",
    "HostKeyPair",
    "Provision",
    "Unit",
    "Wifi",
    "methods_of",
    "new_host_key",
    "provision",
]
