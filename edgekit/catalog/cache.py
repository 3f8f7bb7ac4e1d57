"""Content by hash, results by key, and a memory of hashes: all safe among processes.

Layout below :func:`cache_root`::

    content/<aa>/<sha256>     files by content, read-only
    content/.used/<sha256>    by its mtime: when a file was last used
    <room's own name>/<key>/  one folder per key, published whole by rename (KeyedCache); its mtime
                              is when it was last used
    stat-memo/<path hash>     sha256 of a file, valid while its stat does not change
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from edgekit.catalog.in_use import hold
from edgekit.core.events import EventSink, Note, ignore
from edgekit.core.model import FileRef

_CHUNK_BYTES: Final = 1 << 20
# A file may be written twice within one tick of its clock (2 s on FAT): a hash taken so soon
# after the last change proves nothing about what the same stat will hold later.
_RACY_NS: Final = 2_000_000_000


def cache_root() -> Path:
    """Return the cache's folder: the setting ``cache_dir``."""
    from edgekit.catalog.settings import settings

    return settings().cache_dir


class FileLock:
    """An exclusive lock among processes and threads, released by the kernel on any death.

    The lock's file stays: deleting it would let two holders lock two different files. A holder
    that asks again waits for itself: locks do not nest.

    Example:
        ``with FileLock(folder / "build.lock", emit, "the ncnn toolbox"): ...``
    """

    def __init__(self, path: Path, emit: EventSink = ignore, subject: str = "") -> None:
        self._path = path
        self._emit = emit
        self._subject = subject or path.stem
        self._descriptor: int | None = None

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take the lock; with ``blocking`` false, tell at once whether it was free.

        Raises:
            OSError: the lock's file cannot be made.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not _try_lock(descriptor):
                if not blocking:
                    os.close(descriptor)
                    return False
                self._emit(Note(f"waiting: another edgekit is working on {self._subject}"))
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give the lock back; harmless if it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return False
        raise
    return True


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hex; an unchanged file is not read again.

    The stat (device, inode, size, mtime, ctime) decides whether it is unchanged.

    Raises:
        OSError: the file cannot be read.
    """
    memo = cache_root() / "stat-memo" / hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
    state = _state(path)
    known = _recall(memo, state)
    if known is not None:
        return known
    hashed_at_ns = time.time_ns()
    digest = _hash(path)
    newest_ns = max(path.stat().st_mtime_ns, path.stat().st_ctime_ns)
    if _state(path) == state and newest_ns + _RACY_NS < hashed_at_ns:
        # A memo that cannot be written costs time later, nothing else.
        with contextlib.suppress(OSError):
            write_atomically(memo, f"{state} {digest}\n".encode())
    return digest


def _state(path: Path) -> str:
    s = path.stat()
    return f"{s.st_dev} {s.st_ino} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}"


def _recall(memo: Path, state: str) -> str | None:
    try:
        text = memo.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    stored, _, digest = text.strip().rpartition(" ")
    return digest if stored == state and len(digest) == hashlib.sha256().digest_size * 2 else None


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write ``data`` so that ``path`` holds either its former content or all of the new.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class ContentStore:
    """Files by the hash of their content, each held once, read-only.

    Args:
        root: the store's folder; ``None`` for ``content`` in the cache.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root if root is not None else cache_root() / "content"

    def path_of(self, sha256: str) -> Path:
        """Return where content with this hash stands, or would stand."""
        hold(self.root)
        return self.root / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        """Tell whether the store holds this content, without reading it."""
        return self.path_of(sha256).is_file()

    def verified(self, sha256: str) -> Path | None:
        """Return the content's path if it is there and intact; throw damaged content away.

        Content whose stat did not change since it was last hashed is not read again.
        """
        path = self.path_of(sha256)
        try:
            intact = sha256_of(path) == sha256
        except FileNotFoundError:
            return None
        if not intact:
            path.unlink(missing_ok=True)
            return None
        _stamp(self.root / ".used" / sha256)
        return path

    def add_bytes(self, data: bytes) -> FileRef:
        """Hold ``data``."""
        self.root.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(data).hexdigest()
        path = self.path_of(digest)
        if self.verified(digest) is None:
            write_atomically(path, data, mode=0o444)
        return FileRef(path, digest, len(data))

    def add_file(self, source: Path, *, expected: str | None = None) -> FileRef:
        """Hold a copy of ``source``; it is hashed while it is copied.

        Args:
            source: the file, which stays as it is.
            expected: a sha256 that was checked elsewhere; content other than that is refused.

        Raises:
            OSError: the file cannot be read or the store not written.
            ValueError: the content is not the expected one.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        if expected is not None and (held := self.verified(expected)) is not None:
            return FileRef(held, expected, held.stat().st_size)
        hold(self.root)
        descriptor, name = tempfile.mkstemp(prefix=".add-", dir=self.root)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as target, source.open("rb") as origin:
                digest, size = _copy_hashed(origin.read, target.write)
                target.flush()
                os.fsync(target.fileno())
            _refuse_other(source, digest, expected)
            path = self.path_of(digest)
            path.parent.mkdir(exist_ok=True)
            temporary.chmod(0o444)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return FileRef(path, digest, size)


def _refuse_other(source: Path, digest: str, expected: str | None) -> None:
    if expected is not None and digest != expected:
        raise ValueError(f"{source} has sha256 {digest}, expected {expected}")


def _copy_hashed(read: Callable[[int], bytes], write: Callable[[bytes], int]) -> tuple[str, int]:
    digest = hashlib.sha256()
    size = 0
    while chunk := read(_CHUNK_BYTES):
        digest.update(chunk)
        write(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


class KeyedCache:
    """Folders by key, each built once and published whole.

    A folder is either absent or complete: it is filled beside its place and renamed there.
    Of several processes that want the same key, one builds and the others wait for it.

    Args:
        root: the cache's folder, such as ``cache_root() / "models"``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path_of(self, key: str) -> Path:
        """Return where the folder for ``key`` stands, or would stand."""
        return self.root / hashlib.sha256(key.encode()).hexdigest()

    def get(self, key: str) -> Path | None:
        """Return the folder for ``key`` if it was built; it is not pruned as long as we live."""
        path = self.path_of(key)
        hold(self.root)
        return path if _used(path) else None

    def build(
        self,
        key: str,
        fill: Callable[[Path], None],
        *,
        emit: EventSink = ignore,
        subject: str = "",
    ) -> Path:
        """Return the folder for ``key``; if it is absent, let ``fill`` make its content.

        Args:
            key: any text that names all that the content depends on.
            fill: writes into the empty folder it is given; if it raises, nothing remains.
            emit: told when this call waits for another process.
            subject: what is built, in words, for that note.

        Raises:
            OSError: the cache cannot be written.
        """
        path = self.path_of(key)
        self.root.mkdir(parents=True, exist_ok=True)
        hold(self.root)
        if _used(path):
            return path
        with FileLock(self.root / ".locks" / path.name, emit, subject or "the same thing"):
            if _used(path):
                return path
            building = self.root / ".building" / path.name
            # Whoever left this folder is dead: we hold the lock.
            remove_tree(building)
            building.mkdir(parents=True)
            try:
                fill(building)
                building.rename(path)
            except BaseException:
                remove_tree(building)
                raise
        return path

    def discard(self, key: str) -> None:
        """Forget what was built for ``key``; others never see half of it."""
        path = self.path_of(key)
        with FileLock(self.root / ".locks" / path.name):
            if path.is_dir():
                doomed = self.root / ".building" / path.name
                remove_tree(doomed)
                doomed.parent.mkdir(parents=True, exist_ok=True)
                path.rename(doomed)
                remove_tree(doomed)


def _used(path: Path) -> bool:
    """Tell whether a folder is there, and note that it is used now."""
    if not path.is_dir():
        return False
    with contextlib.suppress(OSError):
        os.utime(path)
    return True


def _stamp(path: Path) -> None:
    """Note by a file's time that something is used now; one that cannot be written is no fault."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        path.touch()


def remove_tree(folder: Path) -> None:
    """Remove a folder and all below it, read-only folders too; absent is well."""

    def unlock(function: Callable[..., object], name: str, error: BaseException) -> None:
        if isinstance(error, FileNotFoundError):
            return
        parent = Path(name).parent
        parent.chmod(parent.stat().st_mode | stat.S_IRWXU)
        function(name)

    # onexc came with 3.12; 3.11, the oldest Python here, has onerror alone.
    if sys.version_info >= (3, 12):
        shutil.rmtree(folder, onexc=unlock)
    else:
        shutil.rmtree(folder, onerror=lambda function, name, info: unlock(function, name, info[1]))
