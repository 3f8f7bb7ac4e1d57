"""The runner: what runs on the board beside an engine's runtime, in one reproducible zip."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Final

import edgekit
from edgekit.catalog.cache import KeyedCache, cache_root, sha256_of
from edgekit.core.bundle import RUNNER_FILE, BundleFile
from edgekit.core.contracts import Engine
from edgekit.core.errors import EngineError

_LAYOUT: Final = 1
# The oldest moment a zip can hold: contents alone decide the bytes.
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_FILE_MODE: Final = 0o100644 << 16
_OWN_ENTRY_POINT: Final = """\
import sys

from {module} import main

sys.exit(main())
"""
_ENTRY_POINT: Final = """\
import sys

from edgekit.onboard import harness
from {module} import Session

sys.exit(harness.main(Session))
"""


def pack_runner(engine: Engine, module: str | None = None) -> BundleFile:
    """Return the engine's ``runner.pyz``: harness, steps and the engine's own runner.

    Equal sources give equal bytes, on every host.

    Args:
        engine: whose it is.
        module: of the engine's, whose ``main()`` runs in the stead of the harness.

    Raises:
        EngineError: the engine has no runner.
        OSError: a source cannot be read or the cache not written.
    """
    members = _members(engine, module)
    key = json.dumps([_LAYOUT, {name: _digest(data) for name, data in members.items()}])
    cache = KeyedCache(cache_root() / "runners")

    def fill(folder: Path) -> None:
        (folder / RUNNER_FILE).write_bytes(_zip(members))

    path = cache.build(key, fill, subject="the runner") / RUNNER_FILE
    return BundleFile(RUNNER_FILE, sha256_of(path), path.stat().st_size, path)


def _members(engine: Engine, module: str | None) -> dict[str, bytes]:
    package = Path(edgekit.__file__).resolve().parent
    runner = package.parent.joinpath(*engine.runner_module.split(".")).with_suffix(".py")
    if not runner.is_file():
        raise EngineError(f"the engine {engine.name} has no runner: {runner} is missing")
    entry = _OWN_ENTRY_POINT if module else _ENTRY_POINT
    members = {"__main__.py": entry.format(module=module or engine.runner_module).encode()}
    onboard = package / "onboard"
    # An engine's runner may have neighbours, as its build may.
    for path in (*onboard.rglob("*.py"), *runner.parent.glob("runner*.py")):
        members[path.relative_to(package.parent).as_posix()] = path.read_bytes()
    # Packages on the way are empty: their real content is the host's.
    for name in list(members):
        for parent in Path(name).parents:
            if parent.parts:
                members.setdefault(f"{parent.as_posix()}/__init__.py", b"")
    return dict(sorted(members.items()))


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            # Stored, not deflated: zlib's output differs among its builds.
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # Unix, whatever the host is
            info.external_attr = _FILE_MODE
            archive.writestr(info, data)
    return buffer.getvalue()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
