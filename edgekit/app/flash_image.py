"""An image as a raw file that can be looked into and edited, however it came."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edgekit.catalog.cache import KeyedCache, cache_root, remove_tree, sha256_of
from edgekit.core.errors import FlashError
from edgekit.core.events import EventSink, ignore
from edgekit.flash.decompress import HEAD_BYTES, recognise_named
from edgekit.flash.raw_file import unpack
from edgekit.flash.source import open_image
from edgekit.flash.source_url import is_url

_NAME: Final = "image.raw"
# Unpacked images are large: the last few stay, others only while somebody may be using them.
_KEPT: Final = 2
_IN_USE_S: Final = 24 * 3600


def is_raw(reference: str) -> bool:
    """Tell whether an image can be looked into as it lies there: a file, and not packed.

    Raises:
        FlashError: the file is not there, is no file, or no archive though its name says so.
    """
    if is_url(reference):
        return False
    hint = "give the path of an image, packed or not, or its http(s) address"
    path = Path(reference)
    try:
        if not path.is_file() and path.exists():
            raise FlashError(f"{reference} is no file, so no image", hint=hint)
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise FlashError(
            f"cannot read the image {reference}: {error.strerror}", hint=hint
        ) from error
    if not head:
        raise FlashError(f"the image {reference} is empty", hint="fetch it again")
    return recognise_named(head, reference) == "raw"


@contextmanager
def raw_image(
    reference: str,
    *,
    sha256: str | None,
    block_map: str | None,
    emit: EventSink = ignore,
) -> Iterator[Path]:
    """Give the image as a raw file: itself, or unpacked into the cache; it is what was promised.

    What is unpacked stays in the cache, by the hash of what it was unpacked from. Where only an
    address is known, which may hold something else tomorrow, it goes away afterwards.

    Raises:
        FlashError: the image is corrupt, cut short, or not the one that was promised.
        OSError: the cache cannot be written.
    """
    if is_raw(reference):
        _check_promised(Path(reference), sha256=sha256, block_map=block_map, emit=emit)
        yield Path(reference)
        return
    cache = KeyedCache(cache_root() / "images")

    def fill(folder: Path) -> None:
        with open_image(
            reference, sha256=sha256, cache=cache_root(), emit=emit,
            block_map=block_map,
        ) as source:  # fmt: skip
            unpack(source, folder / _NAME, emit=emit)

    key = _key(reference, sha256, block_map)
    if key is not None:
        folder = cache.build(key, fill, emit=emit, subject="the same image")
        os.utime(folder)
        _forget_old(cache.root)
        yield folder / _NAME
        return
    cache.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".once-", dir=cache.root) as name:
        fill(Path(name))
        yield Path(name) / _NAME


def _check_promised(
    raw: Path, *, sha256: str | None, block_map: str | None, emit: EventSink = ignore
) -> None:
    """Refuse a raw image that is not what its checksum and its block map, if any, promise.

    Raises:
        FlashError: its checksum is another, or what a range of the map holds.
        UsageError: ``sha256`` is none.
    """
    with open_image(
        str(raw), sha256=sha256, cache=cache_root(), emit=emit, block_map=block_map
    ) as source:
        if sha256 is None and source.block_map is None:
            return
        for _place, _view in source.extents():
            pass  # reading it to its end is the check


def _key(reference: str, sha256: str | None, block_map: str | None) -> str | None:
    mapped = "" if block_map is None else f" mapped by {block_map}"
    if sha256 is not None:
        # What was promised is part of the key: it is checked when the image is unpacked.
        return f"promised {sha256.strip().lower()}: {_origin(reference)}{mapped}"
    return None if is_url(reference) else f"{_origin(reference)}{mapped}"


def _origin(reference: str) -> str:
    return reference if is_url(reference) else sha256_of(Path(reference))


def _forget_old(root: Path) -> None:
    """Remove what was unpacked long ago. Harmless if another process does the same."""
    folders = [each for each in root.iterdir() if each.is_dir() and not each.name.startswith(".")]
    newest_first = sorted(folders, key=lambda each: each.stat().st_mtime, reverse=True)
    for folder in newest_first[_KEPT:]:
        if time.time() - folder.stat().st_mtime > _IN_USE_S:
            with contextlib.suppress(OSError):
                remove_tree(folder)
