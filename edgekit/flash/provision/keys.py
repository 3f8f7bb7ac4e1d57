"""The device's own SSH key, made before the device exists."""

from edgekit.flash.provision.values import HostKeyPair


def new_host_key() -> HostKeyPair:
    """Make an Ed25519 key; its public half is what the first connection will be shown.

    Source: sshd(8), FILES, ``/etc/ssh/ssh_host_ed25519_key``.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return HostKeyPair(private.decode("ascii"), public.decode("ascii"))
