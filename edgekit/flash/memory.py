"""Memory for direct access: aligned, and in large pages where the kernel has them."""

import contextlib
import mmap


def buffer(size_bytes: int) -> memoryview:
    """Return zeroed memory that a disk can be written from and read into past the page cache."""
    # The kernel pins every page for each transfer: of large ones there are 500 times fewer.
    memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)
