"""Which port of this machine a board's sshd gets."""

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
# Below the range from which Linux takes the ports of outgoing connections (32768 and up).
PORTS: Final = range(20_022, 30_022)


def free_ports(folder: Path) -> Iterator[int]:
    """Yield free ports: that of the board's last start first, then its own place in the range."""
    with suppress(OSError, ValueError, IndexError):
        text = (folder / "known_hosts").read_text(encoding="ascii")
        last = int(text.split()[0].rpartition(":")[2])
        if last in PORTS and _is_free(last):
            yield last
    first = int.from_bytes(hashlib.sha256(os.fsencode(folder)).digest()[:4], "big")
    for offset in range(len(PORTS)):
        port = PORTS[(first + offset) % len(PORTS)]
        if _is_free(port):
            yield port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
