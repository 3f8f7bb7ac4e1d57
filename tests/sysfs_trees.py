"""Trees of the kernel's files, from one text file each.

A line is ``path = content`` or ``path -> target``; ``#`` begins a remark.
"""

from pathlib import Path


def unfold(text_file: Path, folder: Path) -> str:
    """Write the tree below ``folder``, and return that folder's name."""
    for line in text_file.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        path, mark, rest = line.split(" ", 2)
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if mark == "->":
            (file.parent / rest).mkdir(parents=True, exist_ok=True)
            file.symlink_to(rest)
        else:
            assert mark == "=", line
            file.write_text(rest + "\n", encoding="utf-8")
    return str(folder)
