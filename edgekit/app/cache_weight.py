"""What folders take on their disk, and what of it would be free without them."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_BLOCK_BYTES: Final = 512  # of ``st_blocks``, whatever the file system's own blocks are


class Weight:
    """Sums up trees. A file with several names counts once, and is freed by losing all of them."""

    def __init__(self) -> None:
        self._links: dict[tuple[int, int], list[int]] = {}
        self._alone_bytes = 0
        self._shared_bytes = 0

    @property
    def taken_bytes(self) -> int:
        """What all that was added takes."""
        return self._alone_bytes + self._shared_bytes

    @property
    def freed_bytes(self) -> int:
        """What is free once all that was added is gone."""
        return self._alone_bytes + sum(
            size for size, links, seen in self._links.values() if seen >= links
        )

    def add(self, path: Path) -> None:
        """Add a file, or a folder and all below it on its file system; as far as it can be read."""
        try:
            status = path.stat(follow_symlinks=False)
        except OSError:
            return
        self._count(status)
        if not path.is_dir() or path.is_symlink():
            return
        todo = [os.fspath(path)]
        while todo:
            try:
                with os.scandir(todo.pop()) as entries:
                    for entry in entries:
                        found = entry.stat(follow_symlinks=False)
                        if found.st_dev != status.st_dev:
                            continue
                        self._count(found)
                        if entry.is_dir(follow_symlinks=False):
                            todo.append(entry.path)
            except OSError:
                continue  # gone meanwhile, or root's alone

    def _count(self, status: os.stat_result) -> None:
        size = status.st_blocks * _BLOCK_BYTES
        is_folder = stat.S_ISDIR(status.st_mode)
        if is_folder or status.st_nlink == 1:
            self._alone_bytes += size
            return
        key = (status.st_dev, status.st_ino)
        if key not in self._links:
            self._links[key] = [size, status.st_nlink, 0]
            self._shared_bytes += size
        self._links[key][2] += 1


def weigh(paths: Iterable[Path]) -> Weight:
    """Return what some trees take together."""
    weight = Weight()
    for path in paths:
        weight.add(path)
    return weight
