"""Where targets and recipes stand: the user's own folders first, then edgekit's.

What is compiled for boards (``cross``) is edgekit's alone.
"""

from pathlib import Path
from typing import Literal

import edgekit
from edgekit.catalog.settings import settings
from edgekit.core.names import is_name, unknown_name

Kind = Literal["targets", "recipes"]


def builtin_folder(kind: Kind | Literal["cross"]) -> Path:
    """Return edgekit's own folder: in the wheel's data, or at the root of a source checkout."""
    package = Path(edgekit.__file__).resolve().parent
    packed = package / "data" / kind
    return packed if packed.is_dir() else package.parent / kind


def search_folders(kind: Kind) -> tuple[Path, ...]:
    """Return the folders to look in, the first wins."""
    own = tuple(folder / kind for folder in settings().catalog_path)
    return (*own, builtin_folder(kind))


def catalog_files(kind: Kind) -> dict[str, Path]:
    """Map each name to its file, sorted by name; a file is named by its stem."""
    found: dict[str, Path] = {}
    for folder in search_folders(kind):
        for file in sorted(folder.glob("*.toml")):
            if is_name(file.stem):
                found.setdefault(file.stem, file)
    return dict(sorted(found.items()))


def find_file(kind: Kind, name: str) -> Path:
    """Return the file that describes ``name``.

    Raises:
        UnknownNameError: there is none; the hint says what was probably meant.
    """
    files = catalog_files(kind)
    if name not in files:
        raise unknown_name(kind.removesuffix("s"), name, files)
    return files[name]
