"""Videos and images of the host's, put where the pipeline finds them on the device."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgekit.catalog.cache import sha256_of
from edgekit.core.bundle import BundleFile
from edgekit.core.camera import PipelineSpec, SinkSpec
from edgekit.core.errors import UsageError
from edgekit.core.events import EventSink

if TYPE_CHECKING:
    from edgekit.device import Device

_FOLDER: Final = "inputs"
"""Where the agent puts what the pipeline reads, in the job's own folder."""

_IMAGES: Final = frozenset(
    {".bmp", ".jpeg", ".jpg", ".npy", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_UNLAWFUL: Final = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_MOST: Final = 100
_SINKS: Final = {"lines": "answers", "video": "video"}


@dataclass(frozen=True)
class Inputs:
    """A pipeline as the device is to run it, and what it reads of the host's.

    Attributes:
        files: by the names under which it finds them.
        kept: name of the file on the device that is to be brought home, and where to.
    """

    spec: PipelineSpec
    files: tuple[tuple[str, Path], ...] = ()
    kept: tuple[str, Path] | None = None

    def send(self, device: "Device", emit: EventSink) -> tuple[tuple[str, str], ...]:
        """Send the files; return sha256 and name of each.

        Raises:
            DiskFullError: they would not fit.
        """
        content = [_content(name, path) for name, path in self.files]
        if content:
            device.push(content, emit)
        return tuple((file.sha256, file.path) for file in content)


def inputs_of(spec: PipelineSpec, *, local: bool) -> Inputs:
    """Find out what the pipeline reads and writes on the host.

    A path that is there on this host is this host's; another, if it is absolute, the device's.
    What ``local`` runs reads it where it stands.

    Raises:
        UsageError: there is no such file, or no images in the folder.
    """
    spec, kept = _sink(spec)
    source = spec.source
    if source.kind not in {"video", "folder"}:
        return Inputs(spec, kept=kept)
    path = Path(source.name).expanduser()
    if not path.exists():
        if path.is_absolute() and not local:
            return Inputs(spec, kept=kept)
        raise UsageError(
            f"there is no {'video' if source.kind == 'video' else 'file or folder'} {source.name}",
            hint="name a file that is here; a path on the device must begin with /",
        )
    chosen = _images(path) if path.is_dir() else (path,)
    if local:
        return Inputs(_reading(spec, str(path.absolute())), kept=kept)
    if path.is_dir():
        files = tuple((_lawful(f"{at:06}-{each.name}"), each) for at, each in enumerate(chosen))
        return Inputs(_reading(spec, _FOLDER), files, kept)
    name = _lawful(path.name)
    return Inputs(_reading(spec, f"{_FOLDER}/{name}"), ((name, path),), kept)


def _reading(spec: PipelineSpec, name: str) -> PipelineSpec:
    return replace(spec, source=replace(spec.source, name=name))


def _images(folder: Path) -> Sequence[Path]:
    found = sorted(each for each in folder.iterdir() if each.suffix.lower() in _IMAGES)
    if not found:
        raise UsageError(
            f"the folder {folder} has no images", hint=f"it may hold {', '.join(sorted(_IMAGES))}"
        )
    return found


def _sink(spec: PipelineSpec) -> tuple[PipelineSpec, tuple[str, Path] | None]:
    """Have a sink with a relative path write beside the record, from where it is brought home."""
    sink = spec.sink
    if sink.kind not in {*_SINKS, "images"} or sink.path.startswith(("/", "rtsp://", "gst:")):
        return spec, None
    if sink.kind == "images":
        raise UsageError(
            f"pictures cannot be brought home to {sink.path}",
            hint="images:/PATH names a folder on the device; video:FILE is brought home",
        )
    home = Path(sink.path).expanduser()
    if not home.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {home.absolute().parent}", hint="make it first")
    if home.exists() and not home.is_file():
        raise UsageError(
            f"answers cannot be brought home to {sink.path}: it is no plain file",
            hint=f"write {sink.kind}:FILE",
        )
    name = _SINKS[sink.kind] + home.suffix
    return replace(spec, sink=SinkSpec(sink.kind, name)), (name, home)


def _lawful(name: str) -> str:
    """Return the nearest name that the agent takes, with its ending."""
    plain = _UNLAWFUL.sub("_", name).lstrip(".-") or "_"
    stem, dot, suffix = plain.rpartition(".")
    return f"{stem[: _NAME_MOST - len(suffix)]}{dot}{suffix}" if dot else plain[:_NAME_MOST]


def _content(name: str, path: Path) -> BundleFile:
    return BundleFile(name, sha256_of(path), path.stat().st_size, path)
