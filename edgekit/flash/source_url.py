"""A file that comes over HTTP: kept while it comes, and resumed where the link broke."""

import contextlib
import hashlib
import http.client
import json
import queue
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from email.message import Message
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

from edgekit.catalog.cache import FileLock
from edgekit.core.errors import FlashError
from edgekit.core.events import EventSink, Note, ignore
from edgekit.flash.downloads import ABOUT, CONTENT, LOCK, forget_old, mark_used

PIECE_BYTES: Final = 256 << 10
_AHEAD: Final = 32  # pieces
_END_S: Final = 2.0
_TIMEOUT_S: Final = 30.0
_TRIES: Final = 8  # in a row without one new byte
_LONGEST_PAUSE_S: Final = 10.0
_PASSING: Final = frozenset([408, 425, 429, 500, 502, 503, 504])
_PARTIAL: Final = 206
_ABSENT: Final = frozenset([403, 404, 410])  # object stores answer 403
_UNCHANGED: Final = 304
_UNSATISFIABLE: Final = 416

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Origin:
    """What is known of a file on a server.

    Attributes:
        whole: whether it is here from its first byte to its last.
    """

    url: str
    etag: str = ""
    modified: str = ""
    size_bytes: int | None = None
    whole: bool = False

    @property
    def validator(self) -> str:
        """What ``If-Range`` takes: a strong ETag, else the date; empty where there is neither."""
        strong = self.etag and not self.etag.startswith("W/")
        return self.etag if strong else self.modified


class Download:
    """One file from a server, through the cache. A context manager.

    Whatever arrives is kept, so that a broken link costs nothing but the rest: of this call,
    which tries again, as of the next.
    """

    def __init__(
        self,
        url: str,
        cache: Path,
        *,
        expected: bool = False,
        pause_s: float = 0.5,
        emit: EventSink = ignore,
    ) -> None:
        """``expected``: the caller knows the content's hash, so a kept file needs no question."""
        self._url = url
        self._expected = expected
        self._pause_s = pause_s
        self._emit = emit
        folder = cache / "downloads" / hashlib.sha256(url.encode()).hexdigest()[:32]
        self._about = folder / ABOUT
        self.path = folder / CONTENT
        self._lock = FileLock(folder / LOCK, emit, shown(url))
        self._origin = Origin(url)
        self._have = 0  # bytes that are kept
        self._given = 0  # bytes that were given on
        self._answer: http.client.HTTPResponse | None = None
        self._closed = threading.Event()
        self.failed = False  # this, not what was read, is why reading ended

    @property
    def size_bytes(self) -> int | None:
        """How long the file is, where the server says so."""
        return self._origin.size_bytes

    def __enter__(self) -> Self:
        self._lock.acquire()
        try:
            self._begin()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        mark_used(self.path.parent)
        self.close()
        forget_old(self.path.parent)

    def close(self) -> None:
        """Hang up; what arrived stays."""
        self._closed.set()
        self._hang_up()
        self._lock.release()

    def pieces(self) -> Iterator[bytes]:
        """Yield the file from its first byte to its last.

        Raises:
            FlashError: the server does not give it whole, or gives another one than before.
        """
        with self.path.open("ab"):
            pass
        with self.path.open("r+b", buffering=0) as file:
            while True:
                if self._given < self._have:
                    file.seek(self._given)
                    piece = file.read(min(PIECE_BYTES, self._have - self._given))
                else:
                    piece = self._receive(file)
                if not piece:
                    return
                self._given += len(piece)
                yield piece

    def whole(self) -> Path:
        """Fetch all of it; return the file."""
        for _piece in self.pieces():
            pass
        return self.path

    def discard(self) -> None:
        """Forget what is kept: it proved wrong."""
        self._hang_up()
        self._have = 0
        for file in (self._about, self.path):
            file.unlink(missing_ok=True)

    def _begin(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError, ValueError, TypeError):
            self._origin = Origin(**json.loads(self._about.read_text(encoding="utf-8")))
            self._have = self.path.stat().st_size
        size = self._origin.size_bytes
        if self._origin.whole and self._have == size and self._expected:
            return
        if self._origin.whole != (self._have == size) or not self._origin.validator:
            # What is here is not what is known of it, or nothing ties it to what the server has.
            self._origin, self._have = Origin(self._url), 0
        self._persist(self._connect)
        if self._have:
            self._emit(Note(f"{self._have / 1e6:.0f} MB of {shown(self._url)} are here already"))

    def _receive(self, file: FileIO) -> bytes:
        """Return the next new bytes; nothing at the end."""
        if self._origin.whole:
            return b""
        return self._persist(lambda: self._receive_once(file))

    def _receive_once(self, file: FileIO) -> bytes:
        if self._answer is None:
            self._connect()
        if self._origin.whole or self._answer is None:
            return b""
        piece = self._answer.read(PIECE_BYTES)
        if piece:
            self._keep(file, piece)
            return piece
        if self._origin.size_bytes is not None and self._have != self._origin.size_bytes:
            raise ConnectionResetError(f"ended after {self._have} bytes")
        self._hang_up()
        self._know(replace(self._origin, size_bytes=self._have, whole=True))
        return b""

    def _persist(self, work: Callable[[], Answer]) -> Answer:
        """Do the work again while the link breaks and the server may yet recover."""
        failed = 0
        while True:
            try:
                return work()
            except urllib.error.HTTPError as error:
                if error.code not in _PASSING:
                    raise self._refused(
                        f"the server answers {error.code} {error.reason}"
                    ) from error
                why: Exception = error
            except (OSError, http.client.HTTPException) as error:
                why = error
            self._hang_up()
            failed += 1
            pause_s = min(self._pause_s * 2 ** (failed - 1), _LONGEST_PAUSE_S)
            if failed >= _TRIES or self._closed.wait(pause_s):
                raise self._refused(f"{why} ({failed} attempts)") from why

    def _connect(self) -> None:
        """Ask for what is not here yet; set what is known of the file anew."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "edgekit"}
        if self._have:
            headers |= self._conditions()
        try:
            # Only http and https come here: is_url() chose them.
            request = urllib.request.Request(self._url, headers=headers)  # noqa: S310
            answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == _UNCHANGED:
                return
            if error.code == _UNSATISFIABLE and _total(error.headers) == self._have:
                self._know(replace(self._origin, size_bytes=self._have, whole=True))
                return
            raise
        self._answer = answer
        if answer.status == _PARTIAL:
            self._go_on(answer)
        else:
            self._begin_anew(answer)

    def _conditions(self) -> dict[str, str]:
        if not self._origin.whole:
            held = self._origin.validator
            return {"Range": f"bytes={self._have}-"} | ({"If-Range": held} if held else {})
        said = {"If-None-Match": self._origin.etag, "If-Modified-Since": self._origin.modified}
        return {name: value for name, value in said.items() if value}

    def _go_on(self, answer: http.client.HTTPResponse) -> None:
        match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != self._have:
            raise self._refused("the server gives another part than was asked for")
        if self._origin.size_bytes not in {None, _total(answer.headers)}:
            raise self._changed()
        self._know(replace(self._origin, size_bytes=_total(answer.headers)))

    def _begin_anew(self, answer: http.client.HTTPResponse) -> None:
        """Take an answer that holds the file from its first byte on."""
        had, size = self._have, answer.headers.get("Content-Length")
        if self._given:
            # What was given on cannot be taken back: the new answer must begin with the same.
            with self.path.open("rb") as kept:
                while piece := kept.read(min(PIECE_BYTES, had)):
                    if answer.read(len(piece)) != piece:
                        raise self._changed()
                    had -= len(piece)
        else:
            self._have = 0
            self.path.write_bytes(b"")
        endless = size is None and answer.headers.get("Transfer-Encoding", "") != "chunked"
        if endless and not self._expected:  # nothing would tell its end from a broken link
            raise self._refused("the server does not tell how long the file is")
        self._know(
            Origin(
                self._url,
                answer.headers.get("ETag", ""),
                answer.headers.get("Last-Modified", ""),
                None if size is None else int(size),
            )
        )

    def _know(self, origin: Origin) -> None:
        self._origin = origin
        fresh = self._about.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(origin)), encoding="utf-8")
        fresh.replace(self._about)

    def _keep(self, file: FileIO, piece: bytes) -> None:
        try:
            file.seek(self._have)
            file.write(piece)
        except OSError as error:
            message = f"{self.path} cannot be written: {error.strerror}"
            raise FlashError(message, hint="make room, or set another cache_dir") from error
        self._have += len(piece)

    def _hang_up(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def _refused(self, why: str) -> FlashError:
        self.failed = True
        at = f" after {self._have} bytes" if self._have else ""
        hint = "run it again: it goes on from there" if self._have else "check the address"
        return FlashError(f"{shown(self._url)} is not to be had{at}: {why}", hint=hint)

    def _changed(self) -> FlashError:
        message = f"{shown(self._url)} changed on the server while it was read"
        return FlashError(message, hint="run it again: it begins anew")


class Ahead:
    """Takes pieces from an iterator on a thread of its own, a few before they are asked for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgekit-download", daemon=True)

    def __iter__(self) -> Iterator[bytes]:
        self._thread.start()
        while (piece := self._queue.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(_END_S)

    def _run(self) -> None:
        try:
            for piece in self._pieces:
                if not self._put(piece):
                    return
            self._put(None)
        except BaseException as error:  # noqa: BLE001 - it is raised where the pieces are taken
            self._put(error)

    def _put(self, piece: bytes | BaseException | None) -> bool:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(piece, timeout=0.1)
                return True
        return False


def is_url(reference: str) -> bool:
    """Tell a URL from a file's name."""
    return urlsplit(reference).scheme in {"http", "https"}


def shown(url: str) -> str:
    """Return a URL without what may be secret in it: a password, a token."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


def fetch_small(url: str, most_bytes: int) -> bytes | None:
    """Fetch a small file at once; ``None``: there is none.

    Raises:
        FlashError: the server does not answer as it should.
    """
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - is_url()
            content: bytes = answer.read(most_bytes + 1)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _ABSENT:
            return None
        raise _unreachable(url, error) from error
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(url, error) from error
    return content


def _unreachable(url: str, error: Exception) -> FlashError:
    return FlashError(f"{shown(url)} is not to be had: {error}", hint="check the address")


def _total(headers: Message) -> int | None:
    match = re.search(r"/(\d+)$", headers.get("Content-Range", "") or "")
    return int(match[1]) if match else None
