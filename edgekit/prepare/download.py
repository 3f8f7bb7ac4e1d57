"""One file over HTTP: resumed where it broke off, retried with growing pauses."""

import contextlib
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.core.events import EventSink, StepProgress

_CHUNK_BYTES: Final = 1 << 18
_PROGRESS_SECONDS: Final = 0.1
# Statuses that a later attempt may not meet. Source: RFC 9110 section 15, RFC 6585 section 4.
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_PARTIAL: Final = 206
_UNSATISFIABLE: Final = 416
_AGENT: Final = "edgekit"


class DownloadError(Exception):
    """The file is not to be had from this address; the message says why."""


@dataclass(frozen=True)
class Patience:
    """How often to try while nothing arrives; any byte that does starts the count anew."""

    attempts: int = 4
    first_pause_s: float = 0.5
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Download:
    """What to fetch and where it grows.

    Attributes:
        url: ``http`` or ``https``.
        part: the file that grows; it stays for the next call if this one breaks off.
        size_bytes: what was promised, ``None`` where nothing was.
        timeout_s: seconds of silence until the connection counts as broken.
        step: id of the step that progress is told under.
    """

    url: str
    part: Path
    size_bytes: int | None
    timeout_s: float
    step: str


def download(wanted: Download, *, emit: EventSink, patience: Patience | None = None) -> bool:
    """Bring ``wanted.part`` to its full length.

    Returns:
        Whether it began with bytes that an earlier call had left: such bytes may be of
        another version of the file where the server names none.

    Raises:
        DownloadError: after the last attempt, or at once where trying again is no use.
    """
    if urllib.parse.urlsplit(wanted.url).scheme not in ("http", "https"):
        raise DownloadError(f"{wanted.url} is no http or https address")
    wanted.part.parent.mkdir(parents=True, exist_ok=True)
    patience = patience or Patience()
    resumed = _length(wanted.part) > 0
    failures = 0
    while True:
        before = _length(wanted.part)
        try:
            _attempt(wanted, emit)
        except _TransientError as error:
            failures = 1 if _length(wanted.part) > before else failures + 1
            if failures >= patience.attempts:
                raise DownloadError(str(error)) from error
            patience.sleep(patience.first_pause_s * 2 ** (failures - 1))
        else:
            return resumed


def forget(part: Path) -> None:
    """Remove a partial file and what is known of it."""
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


class _TransientError(Exception):
    """This attempt broke; another may not."""


def _attempt(wanted: Download, emit: EventSink) -> None:
    held = _length(wanted.part)
    if wanted.size_bytes is not None and held == wanted.size_bytes:
        return
    try:
        with urllib.request.urlopen(  # noqa: S310 (download() admits http and https alone)
            _request(wanted, held), timeout=wanted.timeout_s
        ) as response:
            _receive(wanted, response, held, emit)
    except urllib.error.HTTPError as error:
        with error:
            _refused(wanted, error, held)
    except urllib.error.URLError as error:
        raise _TransientError(f"{wanted.url}: {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _TransientError(f"{wanted.url}: {error or type(error).__name__}") from error


def _request(wanted: Download, held: int) -> urllib.request.Request:
    # identity: a compressed transfer has neither the length nor the ranges of the file.
    headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity"}
    if held:
        headers["Range"] = f"bytes={held}-"
        version = _version(wanted.part)
        if version:
            headers["If-Range"] = version
    return urllib.request.Request(wanted.url, headers=headers)  # noqa: S310 (as above)


def _refused(wanted: Download, error: urllib.error.HTTPError, held: int) -> None:
    if error.code == _UNSATISFIABLE and held:
        if error.headers.get("Content-Range", "") == f"bytes */{held}":
            return  # all of it was here already
        forget(wanted.part)
        raise _TransientError(f"{wanted.url}: the partial file is of another version") from error
    reason = f"{wanted.url}: HTTP {error.code} {error.reason}".rstrip()
    if error.code in _PASSING:
        raise _TransientError(reason) from error
    raise DownloadError(reason) from error


def _receive(
    wanted: Download, response: http.client.HTTPResponse, held: int, emit: EventSink
) -> None:
    if held and response.status != _PARTIAL:
        held = 0  # the server knows no ranges, or the file has changed: all of it comes anew
    elif held and not response.headers.get("Content-Range", "").startswith(f"bytes {held}-"):
        forget(wanted.part)
        raise _TransientError(f"{wanted.url}: the server sent another range than was asked for")
    length = response.headers.get("Content-Length")
    total = held + int(length) if length and length.isdigit() else wanted.size_bytes
    if wanted.size_bytes is not None and total is not None and total != wanted.size_bytes:
        raise DownloadError(
            f"{wanted.url} is {total:,} bytes long, promised were {wanted.size_bytes:,}"
        )
    _note_version(wanted.part, response)
    done = _write(wanted, response, held, total, emit)
    if total is not None and done != total:
        raise _TransientError(f"{wanted.url}: broke off after {done:,} of {total:,} bytes")


def _write(
    wanted: Download,
    response: http.client.HTTPResponse,
    held: int,
    total: int | None,
    emit: EventSink,
) -> int:
    done = held
    told_at = 0.0
    with wanted.part.open("ab" if held else "wb", buffering=0) as stream:
        while chunk := response.read(_CHUNK_BYTES):
            try:
                rest = memoryview(chunk)
                while rest:  # an unbuffered write may take only a part
                    rest = rest[stream.write(rest) :]
            except OSError as error:  # a full disk, which another attempt would not empty
                raise DownloadError(f"cannot write {wanted.part}: {error.strerror}") from error
            done += len(chunk)
            if total is not None and done > total:
                raise DownloadError(f"{wanted.url} sends more than {total:,} bytes")
            now = time.monotonic()
            if now - told_at >= _PROGRESS_SECONDS or done == total:
                emit(StepProgress(wanted.step, done, total, "B"))
                told_at = now
    return done


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".version")


def _version(part: Path) -> str:
    """Return the validator that the server gave with the first bytes, or nothing."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return _version_file(part).read_text(encoding="ascii")
    return ""


def _note_version(part: Path, response: http.client.HTTPResponse) -> None:
    tag = response.headers.get("ETag", "")
    # RFC 9110 section 13.1.5: a weak tag must not stand in If-Range.
    version = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
    _version_file(part).write_text(version, encoding="ascii", errors="replace")


def _length(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0
