"""The agent as one reproducible file, named by its content."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.catalog.cache import cache_root, write_atomically

MAX_AGENT_BYTES: Final = 64 << 10
"""What the packed agent may weigh at most."""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip archive can hold


@dataclass(frozen=True)
class AgentPack:
    """The packed agent: ``agent-<sha256>.pyz`` on every device."""

    path: Path
    sha256: str
    size_bytes: int

    def content(self) -> bytes:
        """Return the file's bytes."""
        return self.path.read_bytes()


def pack_agent() -> AgentPack:
    """Return the packed agent, made anew only where its sources changed."""
    import device_agent

    assert device_agent.__file__ is not None  # noqa: S101 - a package with a file
    package = Path(device_agent.__file__).parent
    key = _key(_sources(package))
    folder = cache_root() / "agent"
    for path in folder.glob(f"{key}-*.pyz"):
        _, _, sha256 = path.stem.partition("-")
        return AgentPack(path, sha256, path.stat().st_size)
    data = pack_bytes(package)
    sha256 = hashlib.sha256(data).hexdigest()
    path = folder / f"{key}-{sha256}.pyz"
    write_atomically(path, data)
    return AgentPack(path, sha256, len(data))


def _sources(package: Path) -> tuple[Path, ...]:
    return tuple(sorted(package.rglob("*.py")))


def _key(sources: tuple[Path, ...]) -> str:
    stats = [(path, path.stat()) for path in sources]
    text = repr([(str(path), s.st_size, s.st_mtime_ns, s.st_ctime_ns) for path, s in stats])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def pack_bytes(package: Path) -> bytes:
    """Pack a package and those in it as a program; equal sources give equal bytes.

    Its own ``__main__`` becomes the program's.
    """
    import zipfile

    from edgekit.device.lean_source import lean

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in _sources(package):
            name = path.relative_to(package.parent).as_posix()
            if path == package / "__main__.py":
                name = path.name
            member = zipfile.ZipInfo(name, _EPOCH)
            member.external_attr = 0o644 << 16
            member.create_system = 3  # Unix, whatever packed it
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, lean(path.read_text(encoding="utf-8")))
    return packed.getvalue()
