"""Facts of a device that nobody has."""

from edgekit.core.target import DeviceFacts


def device(parts=(), usable=4):
    return DeviceFacts(
        hostname="board",
        machine="aarch64",
        kernel="",
        os_name="",
        libc="glibc",
        libc_version="2.36",
        model=None,
        compatible=(),
        cpu_parts=parts,
        cpu_features=(),
        cpu_count=usable,
        cpu_usable=usable,
        memory_total_bytes=None,
        memory_available_bytes=None,
        disk_free_bytes=None,
        pythons=(),
        agent_version="",
        home="",
        emulated=False,
    )
