"""The content-addressed store: what is missing, content coming in, and output going out."""

import os

from device_agent import durable
from device_agent.layout import check_relative, check_sha256
from device_agent.lock import DeviceLock
from device_agent.probe import free_bytes
from device_agent.protocol import DATA_CHUNK_BYTES, VerbError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import hashlib
    from typing import Dict, Iterator, List, Tuple

    from device_agent.layout import Layout
    from device_agent.server import Answer, Call

MARGIN_BYTES = 4 << 20
"""What is left free: file systems and the rest of the board need some room themselves."""


def missing(call: "Call") -> "Answer":
    """Tell which content is not here, and from which byte each may go on.

    Args in the request: ``content``, a list of ``[sha256, size_bytes]``.

    Raises:
        VerbError: ``disk_full`` if what is missing would not fit.
    """
    wanted = _wanted(call)
    call.layout.make()
    offsets: "Dict[str, int]" = {}
    needed_bytes = 0
    for sha256, size_bytes in wanted:
        if _size(call.layout.content(sha256)) == size_bytes:
            continue
        arrived = _size(os.path.join(call.layout.partial, sha256))
        offsets[sha256] = arrived if 0 <= arrived <= size_bytes else 0
        needed_bytes += size_bytes - offsets[sha256]
    if needed_bytes:
        check_room(call.layout, needed_bytes)
    return {"missing": offsets}


def _wanted(call: "Call") -> "List[Tuple[str, int]]":
    wanted = []
    for entry in call.arg("content", list):
        if not isinstance(entry, list) or [type(part) for part in entry] != [str, int]:
            raise VerbError("bad_request", f"missing: {entry!r} is not [sha256, size_bytes]")
        wanted.append((check_sha256(entry[0]), entry[1]))
    return wanted


def check_room(layout: "Layout", needed_bytes: int) -> None:
    """Refuse what would not fit.

    Raises:
        VerbError: ``disk_full``, with the free and the needed bytes.
    """
    free = free_bytes(layout.root)
    if free is not None and free < needed_bytes + MARGIN_BYTES:
        raise VerbError(
            "disk_full",
            f"{needed_bytes} bytes are to be written to {layout.root} where {free} are free",
            {"free_bytes": free, "needed_bytes": needed_bytes},
        )


def put(call: "Call") -> "Answer":
    """Take in content from byte ``offset`` on, check it, and put it into the store.

    What arrived stays in ``partial`` if the link breaks, and the next call goes on from there.
    """
    sha256 = check_sha256(call.arg("sha256", str))
    size_bytes, offset = call.arg("size_bytes", int), call.arg("offset", int)
    if not 0 <= offset <= size_bytes:
        raise VerbError("bad_request", f"put: offset {offset} of {size_bytes} bytes")
    incoming = call.channel.content(size_bytes - offset)
    try:
        call.layout.make()
        with DeviceLock(call.layout.lock, "put"):
            digest = _receive(call, sha256, size_bytes, offset, incoming)
            _settle(call.layout, sha256, digest)
    except (VerbError, OSError):
        for _piece in incoming:  # what is on its way must be taken before the next request
            pass
        raise
    return {"received_bytes": size_bytes - offset}


def _receive(
    call: "Call", sha256: str, size_bytes: int, offset: int, incoming: "Iterator[bytes]"
) -> str:
    import hashlib

    path = os.path.join(call.layout.partial, sha256)
    digest = hashlib.sha256()
    durable.checkpoint("open", path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if os.fstat(descriptor).st_size < offset:
            raise VerbError("bad_request", f"put: less than {offset} bytes of {sha256} are here")
        check_room(call.layout, size_bytes - offset)
        os.ftruncate(descriptor, offset)
        _hash_file(descriptor, digest)
        for piece in incoming:
            digest.update(piece)
            left = memoryview(piece)
            while left:
                durable.checkpoint("write", path)
                left = left[os.write(descriptor, left) :]
        durable.checkpoint("fsync", path)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def _hash_file(descriptor: int, digest: "hashlib._Hash") -> None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    while True:
        block = os.read(descriptor, 1 << 20)
        if not block:
            return
        digest.update(block)


def _settle(layout: "Layout", sha256: str, digest: str) -> None:
    partial = os.path.join(layout.partial, sha256)
    if digest != sha256:
        durable.discard(partial)
        raise VerbError(
            "hash_mismatch",
            f"content announced as {sha256} arrived as {digest} and was thrown away",
            {"sha256": sha256, "arrived": digest},
        )
    place = layout.content(sha256)
    durable.publish(partial, place)
    os.chmod(place, 0o444)  # after the rename: a partial file must stay one that can be resumed


def get(call: "Call") -> "Answer":
    """Send a file that a job wrote."""
    import hashlib

    folder = call.layout.job(call.arg("job", str))
    path = os.path.join(folder, check_relative(call.arg("path", str)))
    if not os.path.realpath(path).startswith(os.path.realpath(folder) + os.sep):
        raise VerbError("bad_request", f"get: {path} leads out of the job's folder")
    digest = hashlib.sha256()
    size_bytes = 0
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by the `with` below
    except FileNotFoundError as error:
        raise VerbError("not_found", f"the job wrote no {path}") from error
    with file:
        while True:
            piece = file.read(DATA_CHUNK_BYTES)
            if not piece:
                break
            digest.update(piece)
            size_bytes += len(piece)
            call.channel.send_content(piece)
    return {"size_bytes": size_bytes, "sha256": digest.hexdigest()}


def _size(path: str) -> int:
    """Return a file's size, -1 where there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
