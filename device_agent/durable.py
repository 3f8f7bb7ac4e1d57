"""Changes to the disk that survive a power cut at any point.

Every change that others can see goes through this module, in the order: write beside, flush
to the disk, rename into place, flush the folder. ``checkpoint`` is called before each single
operation, so that a test can end the agent at every one of them.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Union


def _pass(_operation: str, _path: str) -> None:
    return None


checkpoint: "Callable[[str, str], None]" = _pass


def make_folder(path: str) -> None:
    """Make one folder, which must not be there yet."""
    checkpoint("mkdir", path)
    os.mkdir(path, 0o755)


def write_file(path: str, data: "Union[bytes, str]", mode: int = 0o644) -> None:
    """Write a new file and flush it."""
    checkpoint("open", path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            checkpoint("write", path)
            file.write(data if isinstance(data, bytes) else data.encode("utf-8"))
        checkpoint("fsync", path)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def symlink(pointee: str, path: str) -> None:
    """Make a symbolic link, which must not be there yet."""
    checkpoint("symlink", path)
    os.symlink(pointee, path)


def link_or_copy(source: str, path: str) -> None:
    """Give a file a second name; where the file system has no links, copy it."""
    checkpoint("link", path)
    try:
        os.link(source, path)
    except OSError:
        import shutil

        shutil.copyfile(source, path)
        flush_file(path)


def flush_file(path: str) -> None:
    """Flush a file's content to the disk."""
    checkpoint("fsync", path)
    _flush(path, os.O_RDONLY)


def flush_folder(path: str) -> None:
    """Flush a folder's names to the disk."""
    checkpoint("fsync", path)
    _flush(path, os.O_RDONLY | os.O_DIRECTORY)


def _flush(path: str, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_everything() -> None:
    """Flush all that was written: cheaper than file by file where files are many."""
    checkpoint("sync", "/")
    os.sync()


def publish(made: str, place: str) -> None:
    """Rename what was made and flushed into its place, over what stood there."""
    checkpoint("rename", place)
    os.replace(made, place)
    flush_folder(os.path.dirname(place))


def discard(path: str) -> None:
    """Remove a file or a folder with all in it, if it is there.

    A folder is first renamed aside, so that nobody ever sees half of it.
    """
    if os.path.isdir(path) and not os.path.islink(path):
        import shutil

        doomed = os.path.join(os.path.dirname(path), ".doomed-" + os.path.basename(path))
        if os.path.basename(path).startswith("."):
            doomed = path
        else:
            shutil.rmtree(doomed, ignore_errors=True)
            checkpoint("rename", doomed)
            os.rename(path, doomed)
        checkpoint("rmtree", doomed)
        shutil.rmtree(doomed)
        return
    checkpoint("unlink", path)
    if os.path.lexists(path):
        os.unlink(path)
